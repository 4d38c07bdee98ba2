// virtio-vsock's packet headers and credit arithmetic: pure, and fuzzed. Used by vsock.c and vsock_conn.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VSOCK_HEADER_BYTES 44u
#define VSOCK_HOST_CID     2u
#define VSOCK_PAYLOAD_MAX  (64u << 10) // per packet

// What the guest may send ahead of the socket's reader: on a connection, and on one that comes when there are
// many. The sum over all, and what their sockets hold, is part of what a monitor may need beyond its guest's
// memory (envd's env/spawn.c).
#define VSOCK_BUF_ALLOC      (256u << 10)
#define VSOCK_BUF_ALLOC_MANY (32u << 10)

struct vsock_packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
};

enum vsock_verdict {
    VSOCK_GOOD,   // for a connection: well formed
    VSOCK_LYING,  // for a connection, but its fields contradict each other: ends that connection
    VSOCK_REFUSE, // not a flow that can exist here (CIDs, type): answered by a reset
};

void vsock_header_read(const uint8_t untrusted[VSOCK_HEADER_BYTES], struct vsock_packet *ret);
void vsock_header_write(uint8_t out[VSOCK_HEADER_BYTES], const struct vsock_packet *packet);
// Judges a header that came with payload_bytes of room for payload.
enum vsock_verdict vsock_packet_check(const struct vsock_packet *packet, uint64_t payload_bytes,
                                      uint64_t guest_cid);

// Free-running counters of payload bytes of one connection (virtio 1.2, section 5.10.6.3).
struct vsock_credit {
    uint32_t buf_alloc;    // ours: what the guest may send ahead; constant
    uint32_t rx_cnt;       // received from the guest
    uint32_t fwd_cnt;      // of those, handed on
    uint32_t told_fwd_cnt; // as the guest last heard
    uint32_t tx_cnt;       // sent to the guest
    uint32_t peer_buf_alloc, peer_fwd_cnt;
};

// Takes what a packet says about the guest's buffers. One that is older than the newest heard changes
// nothing: a guest with several CPUs may queue packets in another order than it filled them in. False when it
// claims to have forwarded what was never sent.
bool vsock_credit_heard(struct vsock_credit *credit, const struct vsock_packet *packet);
// How much may be sent to the guest now.
uint32_t vsock_credit_free(const struct vsock_credit *credit);
// Accounts for received payload. False when it is more than the guest was allowed.
bool vsock_credit_received(struct vsock_credit *credit, uint32_t len);
// True when enough was handed on since the guest last heard that it should hear.
bool vsock_credit_update_due(const struct vsock_credit *credit);
