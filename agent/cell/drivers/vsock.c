// virtio-vsock (virtio 1.2, 5.10): queue 0 receives, 1 transmits, 2 (events) is left alone: they tell of
// migration only. A packet is a 44-byte header and its bytes, in one buffer. Flow control is by credit: each
// side says how much it can hold (buf_alloc) and how much it has passed on (fwd_cnt).
#include "drivers/vsock.h"

#include "agent.h"
#include "base/clock.h"
#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "drivers/virtqueue.h"
#include "proto/agent.h"

#define TYPE_VSOCK    19
#define QUEUE_RX      0
#define QUEUE_TX      1
#define BUFFER_BYTES  4096u
#define RX_COUNT      32u
#define TX_COUNT      32u
#define CONTROL_COUNT 4u // transmit ids from TX_COUNT on, for packets without data: data cannot starve them
#define CONTROL_BYTES 64u
#define HEADER_BYTES  44u
#define PAYLOAD_MAX   (BUFFER_BYTES - HEADER_BYTES)
#define RX_WINDOW     (RX_COUNT * PAYLOAD_MAX)
#define TYPE_STREAM   1
#define FIRST_PORT    1025u
#define SHUTDOWN_BOTH 3u

enum op {
    OP_REQUEST = 1,
    OP_RESPONSE,
    OP_RST,
    OP_SHUTDOWN,
    OP_RW,
    OP_CREDIT_UPDATE,
    OP_CREDIT_REQUEST,
    OP_COUNT
};
enum state { CLOSED, CONNECTING, OPEN };

struct packet_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len_bytes;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct packet_header) == HEADER_BYTES, "virtio 1.2, 5.10.6");

static struct {
    struct virtqueue rx, tx;
    bool present, blocked; // blocked: somebody waits for room to send
    uint8_t state;
    uint8_t n_free, free[TX_COUNT]; // transmit ids for data, a stack
    uint8_t n_control, control[CONTROL_COUNT];
    uint32_t owed; // control packets to send when there is a slot, a bit per op
    uint32_t local_port, peer_port;
    uint32_t tx_count, peer_alloc, peer_forwarded;
    uint32_t forwarded, forwarded_told;
    struct {
        uint8_t id;
        uint16_t offset, end;
    } unread[RX_COUNT]; // received, not taken yet: a ring
    uint8_t unread_first, unread_count;
} vsock;

static uint8_t rx_buffers[RX_COUNT][BUFFER_BYTES] KERNEL_COLD;
static uint8_t tx_buffers[TX_COUNT][BUFFER_BYTES] KERNEL_COLD;
// A start sends one packet, the request: it is on a page that is in use anyway.
static uint8_t control_buffers[CONTROL_COUNT][CONTROL_BYTES];

bool vsock_init(void)
{
    const struct cell_device *dev = virtqueue_find_device(TYPE_VSOCK);
    vsock.present =
        virtqueue_init(&vsock.rx, dev, QUEUE_RX, false) && virtqueue_init(&vsock.tx, dev, QUEUE_TX, true);
    if (!vsock.present)
        return false;
    for (uint8_t i = 0; i < TX_COUNT; i++)
        vsock.free[i] = (uint8_t)(TX_COUNT - 1 - i);
    vsock.n_free = TX_COUNT;
    for (uint8_t i = 0; i < CONTROL_COUNT; i++)
        vsock.control[i] = (uint8_t)(TX_COUNT + i);
    vsock.n_control = CONTROL_COUNT;
    vsock.local_port = FIRST_PORT - 1;
    for (uint16_t i = 0; i < RX_COUNT; i++)
        virtqueue_add(&vsock.rx, i, rx_buffers[i], BUFFER_BYTES, true);
    return true; // no doorbell: the device has nothing to say before it is asked
}

// Sends one packet; there must be a free id of its kind. Doorbell: the caller's.
static void send_packet(enum op op, uint32_t flags, const void *data, uint32_t len_bytes)
{
    uint8_t id = len_bytes ? vsock.free[--vsock.n_free] : vsock.control[--vsock.n_control];
    uint8_t *buffer = len_bytes ? tx_buffers[id] : control_buffers[id - TX_COUNT];
    struct packet_header h = {
        .src_cid = AGENT_VSOCK_GUEST_CID,
        .dst_cid = AGENT_VSOCK_HOST_CID,
        .src_port = vsock.local_port,
        .dst_port = vsock.peer_port,
        .len_bytes = len_bytes,
        .type = TYPE_STREAM,
        .op = (uint16_t)op,
        .flags = flags,
        .buf_alloc = RX_WINDOW,
        .fwd_cnt = vsock.forwarded,
    };
    memcpy(buffer, &h, HEADER_BYTES);
    if (len_bytes)
        memcpy(buffer + HEADER_BYTES, data, len_bytes);
    virtqueue_add(&vsock.tx, id, buffer, HEADER_BYTES + len_bytes, false);
    vsock.forwarded_told = vsock.forwarded;
}

static void send_owed(void)
{
    static const uint8_t order[] = {OP_REQUEST, OP_CREDIT_UPDATE, OP_SHUTDOWN, OP_RST};
    for (size_t i = 0; i < ARRAY_LEN(order) && vsock.owed && vsock.n_control; i++) {
        if (!(vsock.owed & 1u << order[i]))
            continue;
        vsock.owed &= ~(1u << order[i]);
        send_packet(order[i], order[i] == OP_SHUTDOWN ? SHUTDOWN_BOTH : 0, NULL, 0);
    }
    virtqueue_kick(&vsock.tx);
}

static void owe(enum op op)
{
    vsock.owed |= 1u << op;
    send_owed();
}

bool vsock_connect(uint32_t port)
{
    if (!vsock.present || vsock.state != CLOSED)
        return false;
    vsock.owed = 0;
    vsock.local_port++; // so that packets of the stream before are told apart
    vsock.peer_port = port;
    vsock.tx_count = vsock.peer_alloc = vsock.peer_forwarded = 0;
    vsock.forwarded = vsock.forwarded_told = 0;
    vsock.state = CONNECTING;
    owe(OP_REQUEST);
    return true;
}

// Gives every unread buffer back: their stream is gone.
static void drop_unread(void)
{
    for (; vsock.unread_count; vsock.unread_count--) {
        uint8_t id = vsock.unread[vsock.unread_first].id;
        virtqueue_add(&vsock.rx, id, rx_buffers[id], BUFFER_BYTES, true);
        vsock.unread_first = (uint8_t)((vsock.unread_first + 1) % RX_COUNT);
    }
    virtqueue_kick(&vsock.rx);
}

void vsock_close(void)
{
    if (vsock.state == CLOSED)
        return;
    vsock.state = CLOSED;
    drop_unread();
    owe(OP_SHUTDOWN);
    owe(OP_RST);
}

bool vsock_is_open(void)
{
    return vsock.state == OPEN;
}

static uint32_t credit(void)
{
    uint32_t in_flight = vsock.tx_count - vsock.peer_forwarded;
    return in_flight < vsock.peer_alloc ? vsock.peer_alloc - in_flight : 0;
}

size_t vsock_send(const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t done = 0;
    while (vsock.state == OPEN && done < n && vsock.n_free) {
        uint32_t part = n - done < PAYLOAD_MAX ? (uint32_t)(n - done) : PAYLOAD_MAX;
        part = part < credit() ? part : credit();
        if (!part)
            break;
        send_packet(OP_RW, 0, p + done, part);
        vsock.tx_count += part;
        done += part;
    }
    virtqueue_kick(&vsock.tx);
    if (done < n && vsock.state == OPEN && !vsock.blocked) {
        vsock.blocked = true;
        virtqueue_set_quiet(&vsock.tx, false);
    }
    return done;
}

void vsock_offer_input(void)
{
    while (vsock.unread_count) {
        __typeof__(&vsock.unread[0]) first = &vsock.unread[vsock.unread_first];
        uint8_t id = first->id;
        size_t taken = agent_on_host_data(rx_buffers[id] + first->offset, (size_t)first->end - first->offset);
        if (!taken || !vsock.unread_count)
            break;
        vsock.forwarded += (uint32_t)taken;
        first->offset = (uint16_t)(first->offset + taken);
        if (first->offset < first->end)
            continue;
        vsock.unread_first = (uint8_t)((vsock.unread_first + 1) % RX_COUNT);
        vsock.unread_count--;
        virtqueue_add(&vsock.rx, id, rx_buffers[id], BUFFER_BYTES, true);
    }
    virtqueue_kick(&vsock.rx);
    if (vsock.state == OPEN && vsock.forwarded - vsock.forwarded_told > RX_WINDOW / 2)
        owe(OP_CREDIT_UPDATE);
}

static void stream_lost(bool answer)
{
    if (vsock.state == CLOSED)
        return;
    vsock.state = CLOSED;
    drop_unread();
    if (answer)
        owe(OP_RST);
    agent_on_host_down();
}

// Takes note of a data packet. True when its buffer is kept.
static bool keep_data(uint8_t id, uint32_t len_bytes)
{
    if (vsock.state != OPEN || !len_bytes || vsock.unread_count == RX_COUNT)
        return false;
    unsigned last = (vsock.unread_first + vsock.unread_count) % RX_COUNT;
    vsock.unread[last].id = id;
    vsock.unread[last].offset = HEADER_BYTES;
    vsock.unread[last].end = (uint16_t)(HEADER_BYTES + len_bytes);
    vsock.unread_count++;
    return true;
}

// Handles one received packet; true when its buffer is kept for its data.
static bool handle_packet(uint8_t id, uint32_t buffer_len)
{
    struct packet_header h;
    if (buffer_len < HEADER_BYTES || buffer_len > BUFFER_BYTES)
        return false;
    memcpy(&h, rx_buffers[id], HEADER_BYTES);
    if (h.type != TYPE_STREAM || h.dst_port != vsock.local_port || h.src_port != vsock.peer_port ||
        h.len_bytes > buffer_len - HEADER_BYTES || vsock.state == CLOSED)
        return false; // of a stream that is no more
    vsock.peer_alloc = h.buf_alloc;
    vsock.peer_forwarded = h.fwd_cnt;
    switch (h.op) {
    case OP_RESPONSE:
        if (vsock.state == CONNECTING) {
            vsock.state = OPEN;
            agent_on_host_up();
        }
        return false;
    case OP_RW:
        return keep_data(id, h.len_bytes);
    case OP_CREDIT_REQUEST:
        owe(OP_CREDIT_UPDATE);
        return false;
    case OP_SHUTDOWN:
    case OP_RST:
        vsock_offer_input(); // what came before the end still counts
        stream_lost(h.op == OP_SHUTDOWN);
        return false;
    default:
        return false;
    }
}

static bool reap_sent(void)
{
    uint16_t id;
    uint32_t len;
    bool any = false;
    while (virtqueue_take(&vsock.tx, &id, &len)) {
        if (id >= TX_COUNT && vsock.n_control < CONTROL_COUNT)
            vsock.control[vsock.n_control++] = (uint8_t)(TX_COUNT + id % CONTROL_COUNT);
        else if (id < TX_COUNT && vsock.n_free < TX_COUNT)
            vsock.free[vsock.n_free++] = (uint8_t)id;
        any = true;
    }
    return any;
}

bool vsock_poll(void)
{
    if (!vsock.present)
        return false;
    bool any = reap_sent();
    uint16_t id;
    uint32_t len;
    while (virtqueue_take(&vsock.rx, &id, &len)) {
        any = true;
        id %= RX_COUNT;
        if (!handle_packet((uint8_t)id, len))
            virtqueue_add(&vsock.rx, id, rx_buffers[id], BUFFER_BYTES, true);
    }
    if (any) {
        vsock_offer_input();
        send_owed();
    }
    if (vsock.blocked && vsock.n_free && (vsock.state != OPEN || credit())) {
        vsock.blocked = false;
        virtqueue_set_quiet(&vsock.tx, true);
        if (vsock.state == OPEN)
            agent_on_host_writable();
    }
    return any;
}

void vsock_flush(uint64_t deadline_ns)
{
    if (!vsock.present)
        return;
    virtqueue_set_quiet(&vsock.tx, false);
    while (reap_sent(),
           vsock.n_free + vsock.n_control < TX_COUNT + CONTROL_COUNT && clock_monotonic_ns() < deadline_ns)
        wait_event(deadline_ns);
    virtqueue_set_quiet(&vsock.tx, !vsock.blocked);
}
