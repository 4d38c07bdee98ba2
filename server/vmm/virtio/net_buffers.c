// Owns the popped receive buffers of a virtio-net device. Called by net.c; knows rings, no tap.
//
//   used:      | header | frame ...        | ... frame    |            num_buffers = 2
//   buffers:   | first                     | second       | third ...  (VIRTIO_NET_F_MRG_RXBUF; else one)
#include "virtio/net_buffers.h"

#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#define MERGEABLE (1ull << VIRTIO_NET_F_MRG_RXBUF)

void net_buffers_clear(struct net_buffers *b)
{
    b->first = b->end = b->first_iov = b->end_iov = 0;
    b->bytes = 0;
}

// Moves what is left to the front.
static void compact(struct net_buffers *b)
{
    unsigned n = b->end - b->first, n_iov = b->end_iov - b->first_iov;
    memmove(b->buffers, b->buffers + b->first, n * sizeof *b->buffers);
    memmove(b->iov, b->iov + b->first_iov, n_iov * sizeof *b->iov);
    b->first = b->first_iov = 0;
    b->end = n;
    b->end_iov = n_iov;
}

static bool is_full(const struct net_buffers *b)
{
    return b->end == NET_BUFFERS_MAX || b->end_iov + RING_CHAIN_MAX > NET_IOV_MAX;
}

static void append(struct net_buffers *b, const struct ring_chain *chain)
{
    b->buffers[b->end].head = chain->head;
    b->buffers[b->end].n_iov = chain->n_writable;
    b->buffers[b->end++].bytes = chain->writable_bytes;
    memcpy(b->iov + b->end_iov, chain->iov, chain->n_writable * sizeof *chain->iov);
    b->end_iov += chain->n_writable;
    b->bytes += chain->writable_bytes;
}

static bool has_enough(const struct net_buffers *b, const struct ring *ring, const struct net_limits *limits)
{
    unsigned n = b->end - b->first;
    if (!(limits->features & MERGEABLE))
        return n > 0;
    return b->bytes >= NET_HEADER_BYTES + net_receive_max(limits) || (n > 0 && 2 * n >= ring->size);
}

bool net_buffers_fill(struct net_buffers *b, struct ring *ring, const struct net_limits *limits,
                      struct ring_chain *chain, const char **ret_why)
{
    while (!has_enough(b, ring, limits)) {
        if (is_full(b))
            compact(b);
        if (is_full(b)) // of very many small pieces
            return true;
        if (ring_pop(ring, chain) != 1)
            return false;
        if (net_parse_receive(chain->readable_bytes, chain->writable_bytes, limits, ret_why) == NET_BREAK)
            return false;
        append(b, chain);
    }
    return true;
}

// The buffers that one frame may use, as parts.
static unsigned usable_iov(const struct net_buffers *b, const struct net_limits *limits)
{
    return limits->features & MERGEABLE ? b->end_iov - b->first_iov : b->buffers[b->first].n_iov;
}

size_t net_buffers_room(const struct net_buffers *b, const struct net_limits *limits, size_t max_bytes,
                        struct iovec *out, size_t cap, uint64_t *ret_bytes)
{
    return ring_slice(b->iov + b->first_iov, usable_iov(b, limits), NET_HEADER_BYTES, max_bytes, out, cap,
                      ret_bytes);
}

static void write_header(const struct net_buffers *b, const uint8_t *header)
{
    struct iovec part;
    uint64_t n;
    for (size_t done = 0; done < NET_HEADER_BYTES; done += n) {
        if (ring_slice(b->iov + b->first_iov, b->end_iov - b->first_iov, done, NET_HEADER_BYTES - done, &part,
                       1, &n) == 0)
            return;
        memcpy(part.iov_base, header + done, n);
    }
}

void net_buffers_publish(struct net_buffers *b, struct ring *ring, const struct net_frame *frame)
{
    uint64_t left = NET_HEADER_BYTES + frame->bytes;
    uint16_t n = 0;
    unsigned first_iov = b->first_iov;
    for (unsigned i = b->first; i < b->end && left > 0; i++) {
        uint64_t used = left < b->buffers[i].bytes ? left : b->buffers[i].bytes;
        ring_put(ring, n++, b->buffers[i].head, (uint32_t)used);
        first_iov += b->buffers[i].n_iov;
        b->bytes -= b->buffers[i].bytes;
        left -= used;
    }
    struct virtio_net_hdr_v1 header;
    memcpy(&header, frame->header, sizeof header);
    header.num_buffers = n; // section 5.1.6.4.1: 1 without MRG_RXBUF
    write_header(b, (const uint8_t *)&header);
    b->first += n;
    b->first_iov = first_iov;
    ring_publish_put(ring, n);
}
