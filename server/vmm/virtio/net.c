// virtio-net (virtio 1.2, section 5.1). Called by the loop (tap, timer, doorbells through device.c); knows a
// tap, not the network behind it.
//
//   queue 0, receive:  device-writable buffers     | header (12 bytes, ours) | frame |
//   queue 1, transmit: device-readable buffers     | header (12 bytes, checked, then replaced) | frame |
//
// Features: VERSION_1; MAC and STATUS, because every driver has them. Where the machine asks for offloads:
// MTU; CSUM, HOST_TSO4/6 and HOST_ECN (the host fills checksums in and cuts); GUEST_CSUM, GUEST_TSO4/6 and
// GUEST_ECN (the guest does; the tap is told); MRG_RXBUF (a frame may run through buffers). No UFO, which
// Linux only emulates, nor USO, which virtio 1.2 does not have; no control queue: nothing in it would be ours
// to do.
//
// Frames go between the tap and the guest's buffers without a copy, but for headers that were checked. Each
// direction is idle, or waits for one thing: receive for a frame, buffers (`starved`) or the rate limit;
// transmit for a request, the tap (`tap_full`) or the rate limit. arm() turns that into events. A round is
// bounded in frames and in bytes. When the tap is found to be gone, the link goes down and the device lives
// on.
#include "virtio/net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "common/io.h"
#include "virtio/net_buffers.h"
#include "virtio/net_frame.h"
#include "virtio/rate.h"

#define NET_ID                1u
#define NET_QUEUE_SIZE        256u
#define NET_BUDGET            64u          // frames per round and direction
#define NET_BUDGET_BYTES      (1ull << 19) // and bytes: the thread has other devices, too
#define NET_LOOKS             4u           // for buffers, before a round gives up
#define NET_BURST_PACKETS_MIN 64u
#define NET_BURST_BITS_MIN    (8ull * 65536u)

#define FEATURE(name)    (1ull << VIRTIO_NET_F_##name)
#define OFFLOADS_OF_HOST (FEATURE(CSUM) | FEATURE(HOST_TSO4) | FEATURE(HOST_TSO6) | FEATURE(HOST_ECN))
#define OFFLOADS_OF_GUEST                                                                                    \
    (FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN))

enum { RX = 0, TX = 1 };

struct direction {
    struct rate packets, bits;
    uint64_t round_bytes; // moved in this round
    bool limited;         // waits for tokens
};

struct virtio_net {
    struct virtio_device dev; // first: ops get a pointer to it
    struct virtio_net_options options;
    struct virtio_net_config space; // as far as the features go
    struct net_limits limits;
    struct net_buffers buffers;
    struct loop_source *tap;
    struct loop_source *timer;
    uint32_t tap_events; // as armed
    struct direction to_guest, from_guest;
    bool ready;    // limits and tap are as was negotiated
    bool starved;  // no receive buffers were there
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

// packets: 0 for one that was refused, which takes a token too: a flood of these is a flood.
static void spend(struct direction *d, const struct net_frame *frame)
{
    d->round_bytes += frame->bytes;
    rate_take(&d->packets, frame->packets > 0 ? frame->packets : 1);
    rate_take(&d->bits, 8 * frame->wire_bytes);
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

// False: not supported by this tap. What it does for the guest, it does from the next frame on.
static bool tap_set_offloads(const struct virtio_net *net, uint64_t features)
{
    return ioctl(net->options.tap_fd, TUNSETOFFLOAD, (unsigned long)net_tap_offloads(features)) == 0;
}

// Before the first frame after a negotiation. A tap that refuses does all by itself, which every guest takes.
static void get_ready(struct virtio_net *net)
{
    if (net->ready)
        return;
    net->ready = true;
    net->limits.features = net->dev.driver_features;
    if (net->dev.features & OFFLOADS_OF_GUEST)
        (void)tap_set_offloads(net, net->limits.features);
}

// Writes a frame behind a header of our own: the guest's, and what was checked of the frame, could have
// changed since.
static ssize_t write_frame(const struct virtio_net *net, const struct ring_chain *chain,
                           const struct net_frame *frame, uint8_t prefix[NET_PREFIX_BYTES])
{
    struct iovec iov[1 + RING_CHAIN_MAX];
    uint64_t bytes;
    iov[0] = (struct iovec){.iov_base = prefix, .iov_len = NET_HEADER_BYTES + frame->copied_bytes};
    memcpy(prefix, frame->header, NET_HEADER_BYTES);
    size_t n = ring_chain_readable(chain, NET_HEADER_BYTES + frame->copied_bytes,
                                   frame->bytes - frame->copied_bytes, iov + 1, RING_CHAIN_MAX, &bytes);
    return writev(net->options.tap_fd, iov, (int)(1 + n));
}

static enum virtio_served transmit_frame(struct virtio_net *net, const struct ring_chain *chain,
                                         const struct net_frame *frame, uint8_t prefix[NET_PREFIX_BYTES])
{
    ssize_t rc = net->tap ? write_frame(net, chain, frame, prefix) : -1;
    if (rc < 0 && net->tap && errno == EAGAIN) {
        net->tap_full = true;
        return VIRTIO_BLOCKED;
    }
    spend(&net->from_guest, frame);
    if (rc <
        0) { // no link, no memory in the tap, or one it does not like: frames are lost then, as on any wire
        if (net->tap && errno == EBADFD)
            link_down(net);
        net->counters.from_guest_dropped++;
        return VIRTIO_SERVED;
    }
    net->counters.from_guest_frames++;
    net->counters.from_guest_bytes += frame->bytes;
    return VIRTIO_SERVED;
}

static enum virtio_served serve_transmit(struct virtio_device *dev, const struct ring_chain *chain,
                                         uint32_t *ret_written)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    if (is_limited(&net->from_guest))
        return VIRTIO_BLOCKED;
    if (net->from_guest.round_bytes >= NET_BUDGET_BYTES)
        return VIRTIO_PARTLY;
    uint8_t untrusted_prefix[NET_PREFIX_BYTES] = {0};
    ring_chain_read(chain, 0, untrusted_prefix, sizeof untrusted_prefix);
    struct net_frame frame = {0};
    const char *why = NULL;
    *ret_written = 0;
    switch (net_parse_transmit(untrusted_prefix, chain->readable_bytes, chain->writable_bytes, &net->limits,
                               &frame, &why)) {
    case NET_BREAK:
        virtio_device_broken(dev, why);
        return VIRTIO_BLOCKED;
    case NET_REFUSE:
        net->counters.from_guest_dropped++;
        spend(&net->from_guest, &frame);
        return VIRTIO_SERVED;
    case NET_SEND:
        break;
    }
    return transmit_frame(net, chain, &frame, untrusted_prefix);
}

// True when work remains.
static bool transmit_round(struct virtio_net *net)
{
    net->from_guest.round_bytes = 0;
    return virtio_device_serve(&net->dev, TX, NET_BUDGET, serve_transmit);
}

// Rings the doorbell itself when work remains.
static void transmit(struct virtio_net *net)
{
    if (transmit_round(net))
        virtio_device_again(&net->dev, TX);
}

// Reads one frame into the guest's buffers. 1 with *ret, 0 for one that was dropped, or -errno. The byte
// behind the room tells a frame that fits from one that was cut.
static int read_frame(struct virtio_net *net, struct net_frame *ret)
{
    uint8_t tap_header[NET_HEADER_BYTES] = {0}, cut;
    struct iovec iov[2 + NET_IOV_MAX];
    uint64_t room;
    iov[0] = (struct iovec){.iov_base = tap_header, .iov_len = sizeof tap_header};
    size_t n = net_buffers_room(&net->buffers, &net->limits, net_receive_max(&net->limits), iov + 1,
                                NET_IOV_MAX, &room);
    iov[1 + n] = (struct iovec){.iov_base = &cut, .iov_len = 1};
    ssize_t len = readv(net->options.tap_fd, iov, (int)(2 + n));
    if (len <= 0)
        return len < 0 ? -errno : -ENODEV;
    if ((size_t)len < NET_HEADER_BYTES || (size_t)len > NET_HEADER_BYTES + room ||
        !net_parse_tap(tap_header, (size_t)len - NET_HEADER_BYTES, &net->limits, ret)) {
        net->counters.to_guest_dropped++;
        return 0;
    }
    return 1;
}

// True when there are enough; when not, `starved` is set, unless the device broke, or the guest goes on
// adding too few at a time: a later round looks again then.
static bool find_buffers(struct virtio_net *net, struct ring *ring)
{
    struct ring_chain chain;
    const char *why = NULL;
    for (unsigned turn = 0; turn < NET_LOOKS && !why && !net->starved; turn++) {
        if (net_buffers_fill(&net->buffers, ring, &net->limits, &chain, &why))
            return true;
        net->starved = ring->broken || !ring_kicks_on(ring);
    }
    if (why)
        virtio_device_broken(&net->dev, why);
    return false;
}

// One frame. False when the round is over: no buffers, no frame, no tokens, or broken.
static bool receive_one(struct virtio_net *net, struct ring *ring)
{
    struct net_frame frame = {0};
    if (is_limited(&net->to_guest) || !find_buffers(net, ring))
        return false;
    int rc = read_frame(net, &frame);
    if (rc < 0 && rc != -EAGAIN)
        link_down(net);
    if (rc <= 0)
        return rc == 0;
    net_buffers_publish(&net->buffers, ring, &frame);
    net->counters.to_guest_frames++;
    net->counters.to_guest_bytes += frame.bytes;
    spend(&net->to_guest, &frame);
    return true;
}

// The tap stays readable, so what a round leaves is the next round's.
static void receive(struct virtio_net *net)
{
    struct ring *ring = virtio_device_ring(&net->dev, RX);
    net->starved = false;
    net->to_guest.round_bytes = 0;
    if (!ring_enabled(ring)) { // by itself, without a reset: its buffers are the guest's again
        net_buffers_clear(&net->buffers);
        net->starved = true;
        return;
    }
    ring_kicks_off(ring); // buffers are looked for when frames come
    for (unsigned i = 0; i < NET_BUDGET && net->tap; i++)
        if (net->to_guest.round_bytes >= NET_BUDGET_BYTES || !receive_one(net, ring))
            return;
}

static bool process(struct virtio_device *dev, unsigned queue)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    get_ready(net);
    bool more = queue == TX && transmit_round(net);
    // The host's kernel often answers within the write: an acknowledgement that waits in the tap by now goes
    // to the guest in one interrupt with the completions, and without another wake-up of ours.
    if (virtio_device_live(dev))
        receive(net);
    return more;
}

static void reset(struct virtio_device *dev)
{
    struct virtio_net *net = (struct virtio_net *)dev;
    net->starved = net->tap_full = false;
    net->to_guest.limited = net->from_guest.limited = false;
    net_buffers_clear(&net->buffers);
    if (net->ready && (net->dev.features & OFFLOADS_OF_GUEST))
        (void)tap_set_offloads(net, 0);
    net->ready = false;
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
        get_ready(net);
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
        get_ready(net);
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

// What is offered beyond the ops' features.
static uint64_t extra_features(const struct virtio_net *net)
{
    uint64_t features = 0;
    if (net->options.mtu > 0)
        features |= FEATURE(MTU);
    if (!net->options.offloads)
        return features;
    features |= OFFLOADS_OF_HOST | FEATURE(MRG_RXBUF);
    // Tried, and taken back until a driver wants it.
    if (tap_set_offloads(net, OFFLOADS_OF_GUEST) && tap_set_offloads(net, 0))
        features |= OFFLOADS_OF_GUEST;
    return features;
}

static void fill_in(struct virtio_net *net, const struct virtio_net_options *options)
{
    uint16_t mtu = options->mtu > 0 ? options->mtu : NET_MTU;
    net->options = *options;
    net->limits.frame_max = (size_t)mtu + NET_FRAME_OVERHEAD;
    memcpy(net->space.mac, options->mac, sizeof net->space.mac);
    net->space.status = VIRTIO_NET_S_LINK_UP;
    net->space.max_virtqueue_pairs = 1;
    net->space.mtu = mtu;
    direction_init(&net->to_guest, &options->to_guest, io_monotonic_ns());
    direction_init(&net->from_guest, &options->from_guest, io_monotonic_ns());
}

int virtio_net_new(struct virtio_net **ret, const struct virtio_machine *machine,
                   const struct virtio_net_options *options, struct err *err)
{
    struct virtio_net *net = calloc(1, sizeof *net);
    if (!net)
        return err_errno(err, -ENOMEM, "virtio-net");
    fill_in(net, options);
    size_t space_bytes = options->mtu > 0 ? offsetof(struct virtio_net_config, mtu) + sizeof net->space.mtu
                                          : offsetof(struct virtio_net_config, max_virtqueue_pairs);
    int rc = virtio_device_init(&net->dev, &ops, machine, &net->space, space_bytes, err);
    if (rc < 0)
        goto fail;
    net->dev.features |= extra_features(net);
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
