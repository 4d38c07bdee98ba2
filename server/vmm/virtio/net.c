// virtio-net (virtio 1.2, section 5.1). Called by the loop (tap, timer, doorbells through device.c); knows a
// tap, not the network behind it.
//
//   queue 0, receive:  device-writable buffers     | header (12 bytes, ours) | frame |
//   queue 1, transmit: device-readable buffers     | header (12 bytes, checked, then replaced) | frame |
//
// Features: VERSION_1; MAC and STATUS, because every driver has them. No offloads (the tap would have to be
// told and trusted with guests' headers), no MRG_RXBUF (a frame fits one buffer when nothing is offloaded),
// no control queue.
//
// Each direction is idle, or waits for one thing: receive for a frame, a buffer (`starved`) or the rate
// limit; transmit for a request, the tap (`tap_full`) or the rate limit. arm() turns that into events. When
// the tap is found to be gone, the link goes down and the device lives on.
#include "virtio/net.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/io.h"
#include "virtio/net_frame.h"
#include "virtio/rate.h"

#define NET_ID                1u
#define NET_QUEUE_SIZE        256u
#define NET_BUDGET            64u // frames per round and direction
#define NET_BURST_PACKETS_MIN 64u
#define NET_BURST_BITS_MIN    (8ull * 65536u)

enum { RX = 0, TX = 1 };

struct direction {
    struct rate packets, bits;
    bool limited; // waits for tokens
};

struct virtio_net {
    struct virtio_device dev; // first: ops get a pointer to it
    struct virtio_net_options options;
    struct __attribute__((packed)) {
        uint8_t mac[6];
        uint16_t status;
    } space; // struct virtio_net_config of the spec, as far as the features go
    struct loop_source *tap;
    struct loop_source *timer;
    uint32_t tap_events; // as armed
    struct direction to_guest, from_guest;
    bool starved;  // no receive buffer was there
    bool tap_full; // the tap took no frame
    struct virtio_net_counters counters;
};

static void direction_init(struct direction *d, const struct virtio_net_rate *rate, uint64_t now_ns)
{
    rate_init(&d->packets, rate->packets_per_s, NET_BURST_PACKETS_MIN, now_ns);
    rate_init(&d->bits, rate->bits_per_s, NET_BURST_BITS_MIN, now_ns);
    d->limited = false;
}

// Sets and returns `limited`.
static bool is_limited(struct direction *d)
{
    if (d->packets.per_s == 0 && d->bits.per_s == 0)
        return false;
    uint64_t now_ns = io_monotonic_ns();
    bool ready = rate_ready(&d->packets, now_ns);
    ready &= rate_ready(&d->bits, now_ns);
    d->limited = !ready;
    return d->limited;
}

static void spend(struct direction *d, size_t frame_bytes)
{
    rate_take(&d->packets, 1);
    rate_take(&d->bits, 8 * frame_bytes);
}

static uint64_t next_ns(const struct direction *d)
{
    uint64_t packets = rate_next_ns(&d->packets);
    uint64_t bits = rate_next_ns(&d->bits);
    return packets > bits ? packets : bits;
}

static void link_down(struct virtio_net *net)
{
    if (!net->tap)
        return;
    loop_remove(net->tap);
    net->tap = NULL;
    net->space.status &= (uint16_t)~VIRTIO_NET_S_LINK_UP;
    virtio_device_config_changed(&net->dev);
}

// Writes a frame behind a header of our own: the guest's could have changed since it was checked.
static enum virtio_served transmit_frame(struct virtio_net *net, const struct ring_chain *chain,
                                         size_t frame_bytes)
{
    uint8_t no_offload[NET_HEADER_BYTES] = {0};
    struct iovec iov[1 + RING_SIZE_MAX] = {{.iov_base = no_offload, .iov_len = NET_HEADER_BYTES}};
    uint64_t bytes;
    size_t n = ring_chain_readable(chain, NET_HEADER_BYTES, frame_bytes, iov + 1, RING_SIZE_MAX, &bytes);
    ssize_t rc = net->tap ? writev(net->options.tap_fd, iov, (int)(1 + n)) : -1;
    if (rc < 0 && net->tap && errno == EAGAIN) {
        net->tap_full = true;
        return VIRTIO_BLOCKED;
    }
    if (rc < 0) { // no link, or no memory in the tap: frames are lost then, as on any wire
        if (net->tap && errno == EBADFD)
            link_down(net);
        net->counters.from_guest_dropped++;
        return VIRTIO_SERVED;
    }
    net->counters.from_guest_frames++;
    net->counters.from_guest_bytes += frame_bytes;
    return VIRTIO_SERVED;
}

static enum virtio_served serve_transmit(struct virtio_device *dev, const struct ring_chain *chain,
                                         uint32_t *ret_written)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    if (is_limited(&net->from_guest))
        return VIRTIO_BLOCKED;
    uint8_t untrusted_header[NET_HEADER_BYTES] = {0};
    ring_chain_read(chain, 0, untrusted_header, sizeof untrusted_header);
    size_t frame_bytes = 0;
    const char *why = NULL;
    *ret_written = 0;
    switch (net_parse_transmit(untrusted_header, chain->readable_bytes, chain->writable_bytes, &frame_bytes,
                               &why)) {
    case NET_BREAK:
        virtio_device_broken(dev, why);
        return VIRTIO_BLOCKED;
    case NET_REFUSE: // takes a token too: a flood of refused frames is a flood
        net->counters.from_guest_dropped++;
        spend(&net->from_guest, 0);
        return VIRTIO_SERVED;
    case NET_SEND:
        break;
    }
    enum virtio_served served = transmit_frame(net, chain, frame_bytes);
    if (served == VIRTIO_SERVED)
        spend(&net->from_guest, frame_bytes);
    return served;
}

// Rings the doorbell itself when work remains.
static void transmit(struct virtio_net *net)
{
    if (virtio_device_serve(&net->dev, TX, NET_BUDGET, serve_transmit))
        virtio_device_again(&net->dev, TX);
}

// Reads one frame into a receive request of `room` bytes behind the header. Its length (without header), 0
// for one that was dropped, or -errno. The byte behind the room tells a frame that fits from one that was
// cut.
static ssize_t receive_frame(struct virtio_net *net, const struct ring_chain *chain, size_t room)
{
    uint8_t tap_header[NET_HEADER_BYTES], cut;
    struct iovec iov[2 + RING_SIZE_MAX] = {{.iov_base = tap_header, .iov_len = sizeof tap_header}};
    uint64_t bytes;
    size_t n = ring_chain_writable(chain, NET_HEADER_BYTES, room, iov + 1, RING_SIZE_MAX, &bytes);
    iov[1 + n] = (struct iovec){.iov_base = &cut, .iov_len = 1};
    ssize_t len = readv(net->options.tap_fd, iov, (int)(2 + n));
    if (len <= 0)
        return len < 0 ? -errno : -ENODEV;
    if ((size_t)len < NET_HEADER_BYTES + NET_FRAME_MIN || (size_t)len > NET_HEADER_BYTES + room) {
        net->counters.to_guest_dropped++;
        return 0;
    }
    // Without offloads the header says nothing but that one buffer was used (section 5.1.6.4.1).
    struct virtio_net_hdr_v1 header = {.num_buffers = 1};
    ring_chain_write(chain, 0, &header, sizeof header);
    return len - (ssize_t)NET_HEADER_BYTES;
}

// One frame. False when the round is over: no buffer, no frame, no tokens, or broken.
static bool receive_one(struct virtio_net *net, struct ring *ring, struct ring_chain *chain)
{
    const char *why;
    size_t room;
    if (is_limited(&net->to_guest))
        return false;
    int rc = ring_pop(ring, chain);
    if (rc == 0)
        net->starved = !ring_kicks_on(ring);
    if (rc <= 0)
        return rc == 0 && !net->starved;
    if (net_parse_receive(chain->readable_bytes, chain->writable_bytes, &room, &why) == NET_BREAK) {
        virtio_device_broken(&net->dev, why);
        return false;
    }
    ssize_t len = receive_frame(net, chain, room);
    if (len <= 0) {
        ring_unpop(ring);
        if (len < 0 && len != -EAGAIN)
            link_down(net);
        return len == 0;
    }
    ring_publish(ring, chain->head, (uint32_t)(NET_HEADER_BYTES + (size_t)len));
    net->counters.to_guest_frames++;
    net->counters.to_guest_bytes += (uint64_t)len;
    spend(&net->to_guest, (size_t)len);
    return true;
}

// The tap stays readable, so what a round leaves is the next round's.
static void receive(struct virtio_net *net)
{
    struct ring *ring = virtio_device_ring(&net->dev, RX);
    struct ring_chain chain;
    net->starved = false;
    ring_kicks_off(ring); // buffers are looked for when frames come
    for (unsigned i = 0; i < NET_BUDGET && net->tap; i++)
        if (!receive_one(net, ring, &chain))
            return;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    if (queue == TX)
        return virtio_device_serve(dev, TX, NET_BUDGET, serve_transmit);
    receive(net);
    return false;
}

static void reset(struct virtio_device *dev)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    net->starved = net->tap_full = false;
    net->to_guest.limited = net->from_guest.limited = false;
}

static void arm(struct virtio_device *dev)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    bool live = virtio_device_live(dev);
    uint32_t events = 0;
    uint64_t wake_ns = UINT64_MAX;
    if (live && !net->starved && !net->to_guest.limited)
        events |= EPOLLIN;
    if (live && net->tap_full)
        events |= EPOLLOUT;
    if (live && net->to_guest.limited)
        wake_ns = next_ns(&net->to_guest);
    if (live && net->from_guest.limited && next_ns(&net->from_guest) < wake_ns)
        wake_ns = next_ns(&net->from_guest);
    if (net->tap && events != net->tap_events && loop_modify(net->tap, events) == 0)
        net->tap_events = events;
    loop_timer_set(net->timer, wake_ns == UINT64_MAX ? 0 : wake_ns);
}

static void on_tap(void *arg, uint32_t events)
{
    struct virtio_net *net = arg;
    virtio_device_enter(&net->dev);
    if (events & (EPOLLERR | EPOLLHUP)) { // the interface was removed
        link_down(net);
    } else if (virtio_device_live(&net->dev)) {
        if (net->tap_full && (events & EPOLLOUT)) {
            net->tap_full = false;
            transmit(net);
        }
        if (events & EPOLLIN)
            receive(net);
    }
    virtio_device_leave(&net->dev);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    struct virtio_net *net = arg;
    virtio_device_enter(&net->dev);
    if (virtio_device_live(&net->dev)) {
        transmit(net);
        receive(net);
    }
    virtio_device_leave(&net->dev);
}

static const struct virtio_device_ops ops = {
    .name = "net",
    .id = NET_ID,
    .n_queues = 2,
    .queue_size_max = NET_QUEUE_SIZE,
    .features = VIRTIO_VERSION_1 | 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS,
    .process = process,
    .reset = reset,
    .arm = arm,
};

int virtio_net_new(struct virtio_net **ret, const struct virtio_machine *machine,
                   const struct virtio_net_options *options, struct err *err)
{
    struct virtio_net *net = calloc(1, sizeof *net);
    if (!net)
        return err_errno(err, -ENOMEM, "virtio-net");
    net->options = *options;
    memcpy(net->space.mac, options->mac, sizeof net->space.mac);
    net->space.status = VIRTIO_NET_S_LINK_UP;
    direction_init(&net->to_guest, &options->to_guest, io_monotonic_ns());
    direction_init(&net->from_guest, &options->from_guest, io_monotonic_ns());
    int rc = virtio_device_init(&net->dev, &ops, machine, &net->space, sizeof net->space, err);
    if (rc < 0)
        goto fail;
    net->tap = loop_add(machine->loop, options->tap_fd, 0, on_tap, net);
    net->timer = loop_add_timer(machine->loop, on_timer, net);
    if (!net->tap || !net->timer) {
        rc = err_errno(err, -errno, "virtio-net: watch the tap");
        goto fail;
    }
    *ret = net;
    return 0;
fail:
    virtio_net_free(net);
    return rc;
}

void virtio_net_free(struct virtio_net *net)
{
    if (!net)
        return;
    if (net->tap)
        loop_remove(net->tap);
    if (net->timer)
        loop_remove(net->timer);
    virtio_device_done(&net->dev);
    free(net);
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
    return &net->dev;
}

struct virtio_net_counters virtio_net_counters(struct virtio_net *net)
{
    pthread_mutex_lock(&net->dev.lock);
    struct virtio_net_counters counters = net->counters;
    pthread_mutex_unlock(&net->dev.lock);
    return counters;
}
