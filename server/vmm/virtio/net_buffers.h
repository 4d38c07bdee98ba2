// The receive buffers that a guest made available, popped ahead of the frames: how long a frame is, is known
// only when it has been read, straight into them. Used by net.c; embedded there.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virtio/net_frame.h"
#include "virtio/ring.h"

#define NET_BUFFERS_MAX RING_SIZE_MAX
#define NET_IOV_MAX     512u // of all buffers: the longest chain always fits beside others

_Static_assert(NET_IOV_MAX >= 2 * RING_CHAIN_MAX, "see net_buffers_fill()");

// Buffers first..end are there, oldest first; their parts are iov[first_iov..end_iov).
struct net_buffers {
    unsigned first, end;
    unsigned first_iov, end_iov;
    uint64_t bytes; // of all
    struct {
        uint16_t head;
        uint16_t n_iov;
        uint64_t bytes;
    } buffers[NET_BUFFERS_MAX];
    struct iovec iov[NET_IOV_MAX];
};

// Forgets all: their ring was disabled.
void net_buffers_clear(struct net_buffers *b);
// Pops until a frame of net_receive_max() can be read, or the ring is empty. True when it can. A guest whose
// ring is half given gets its frames too: it may have no more. False with *ret_why: a buffer that breaks the
// device. chain is scratch.
bool net_buffers_fill(struct net_buffers *b, struct ring *ring, const struct net_limits *limits,
                      struct ring_chain *chain, const char **ret_why);
// Where a frame goes: up to max_bytes behind its header, as at most cap entries of out. Returns their number;
// *ret_bytes is their sum.
size_t net_buffers_room(const struct net_buffers *b, const struct net_limits *limits, size_t max_bytes,
                        struct iovec *out, size_t cap, uint64_t *ret_bytes);
// Gives the frame, which was read to where net_buffers_room() said, to the guest: writes the header,
// publishes as many buffers as it takes, all at once.
void net_buffers_publish(struct net_buffers *b, struct ring *ring, const struct net_frame *frame);
