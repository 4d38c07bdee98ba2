// virtio-net (virtio 1.2, 5.1): queue 0 receives, 1 transmits; one buffer is a 12-byte header and a frame. No
// offloads are negotiated, so the header is zero on the way out and ignored on the way in. Sent frames are
// reclaimed when the next is made: no notices.
#include "drivers/net.h"

#include "base/string.h"
#include "drivers/virtqueue.h"

#define TYPE_NET     1
#define QUEUE_RX     0
#define QUEUE_TX     1
#define HEADER_BYTES 12u
#define BUFFER_BYTES 2048u
#define RX_COUNT     32u
#define TX_COUNT     16u

static struct {
    struct virtqueue rx, tx;
    bool present;
    uint16_t receiving, sending; // ids
    uint8_t n_free, free[TX_COUNT];
} net;

static uint8_t rx_buffers[RX_COUNT][BUFFER_BYTES] KERNEL_COLD;
static uint8_t tx_buffers[TX_COUNT][BUFFER_BYTES] KERNEL_COLD;

void net_driver_init(void)
{
    const struct cell_device *dev = virtqueue_find_device(TYPE_NET);
    net.present =
        virtqueue_init(&net.rx, dev, QUEUE_RX, false) && virtqueue_init(&net.tx, dev, QUEUE_TX, true);
    if (!net.present)
        return;
    for (uint8_t i = 0; i < TX_COUNT; i++)
        net.free[i] = (uint8_t)(TX_COUNT - 1 - i);
    net.n_free = TX_COUNT;
    for (uint16_t i = 0; i < RX_COUNT; i++)
        virtqueue_add(&net.rx, i, rx_buffers[i], BUFFER_BYTES, true);
    virtqueue_kick(&net.rx);
}

bool net_driver_receive(const uint8_t **ret_frame, size_t *ret_len)
{
    uint32_t len;
    while (net.present && virtqueue_take(&net.rx, &net.receiving, &len)) {
        net.receiving %= RX_COUNT;
        if (len > HEADER_BYTES && len <= BUFFER_BYTES) {
            *ret_frame = rx_buffers[net.receiving] + HEADER_BYTES;
            *ret_len = len - HEADER_BYTES;
            return true;
        }
        net_driver_return();
    }
    return false;
}

void net_driver_return(void)
{
    virtqueue_add(&net.rx, net.receiving, rx_buffers[net.receiving], BUFFER_BYTES, true);
}

uint8_t *net_driver_frame(size_t len)
{
    uint32_t ignored;
    uint16_t id;
    if (!net.present || len > NET_FRAME_MAX)
        return NULL;
    while (virtqueue_take(&net.tx, &id, &ignored))
        if (net.n_free < TX_COUNT)
            net.free[net.n_free++] = (uint8_t)(id % TX_COUNT);
    if (!net.n_free)
        return NULL;
    net.sending = net.free[--net.n_free];
    memset(tx_buffers[net.sending], 0, HEADER_BYTES);
    return tx_buffers[net.sending] + HEADER_BYTES;
}

void net_driver_send(size_t len)
{
    virtqueue_add(&net.tx, net.sending, tx_buffers[net.sending], HEADER_BYTES + (uint32_t)len, false);
}

void net_driver_flush(void)
{
    if (!net.present)
        return;
    virtqueue_kick(&net.tx);
    virtqueue_kick(&net.rx);
}
