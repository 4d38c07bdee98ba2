// One vsock connection: its state table, its socket, its credit. Embedded in vsock.c's device, which owns the
// queues; knows no queue. I/O thread, device's lock held.
#pragma once

#include "virtio/ring.h"
#include "virtio/vsock_packet.h"

enum vsock_state {
    VSOCK_FREE,
    VSOCK_OPEN,
    VSOCK_GUEST_SENT, // the guest sends no more
    VSOCK_GUEST_DEAF, // the guest receives no more
    VSOCK_CLOSING,    // neither; ends when the socket has taken what is held
    VSOCK_ORPHAN,     // the guest waits for that no longer, the host still gets it
    VSOCK_STATE_COUNT
};

enum vsock_event {
    VSOCK_ON_REQUEST,
    VSOCK_ON_RESPONSE,
    VSOCK_ON_RST,
    VSOCK_ON_SHUTDOWN_RECEIVE,
    VSOCK_ON_SHUTDOWN_SEND,
    VSOCK_ON_RW,
    VSOCK_ON_CREDIT_UPDATE,
    VSOCK_ON_CREDIT_REQUEST,
    VSOCK_ON_LIE, // the packet contradicts itself or the connection
    VSOCK_EVENT_COUNT
};

// What becomes of a connection, decided by its owner.
enum vsock_outcome {
    VSOCK_KEEP,
    VSOCK_ACCEPT, // a request on a free slot: the owner opens it
    VSOCK_RESET,  // close it and tell the guest
    VSOCK_DROP,   // close it without a word (the guest knows, or there is nothing to close)
};

// Packets owed to the guest.
enum vsock_owed {
    VSOCK_OWES_RESPONSE = 1,
    VSOCK_OWES_CREDIT_UPDATE = 2,
    VSOCK_OWES_CREDIT_REQUEST = 4,
    VSOCK_OWES_SHUTDOWN = 8,
};

struct vsock_conn {
    enum vsock_state state;
    uint32_t guest_port, host_port;
    int fd; // our end of the pair
    struct vsock_credit credit;
    unsigned owes; // enum vsock_owed
    uint8_t *held; // guest bytes the socket did not take; credit.buf_alloc, only while there are some
    uint32_t held_start, held_len;
    bool readable;         // the socket had something when last seen
    bool ended;            // the socket's reader end: nothing more will come from the host
    bool deaf;             // the host reads no more
    bool hung_up;          // the host closed its end
    bool credit_requested; // since the credit ran out
};

// Opens a free connection for a REQUEST packet, on which the guest may send buf_alloc bytes ahead: makes the
// pair, returns the host's end in *ret_peer (the caller's then). The caller registers conn->fd. 0 or -errno
// (the slot stays free).
int vsock_conn_open(struct vsock_conn *conn, const struct vsock_packet *request, uint32_t buf_alloc,
                    int *ret_peer);
// True for a connection that packets can be for: not for a free one nor an orphan.
bool vsock_conn_is_the_guests(const struct vsock_conn *conn);
// Closes and frees. The caller has removed the source. A free one is fine.
void vsock_conn_close(struct vsock_conn *conn);

// Applies a packet that vsock_packet_check() judged; payload: at offset of chain. conn may be free.
enum vsock_outcome vsock_conn_packet(struct vsock_conn *conn, const struct vsock_packet *packet,
                                     enum vsock_verdict verdict, const struct ring_chain *chain,
                                     uint64_t offset);
// The socket's events.
enum vsock_outcome vsock_conn_socket(struct vsock_conn *conn, uint32_t events);
// The events to watch the socket for; 0: none.
uint32_t vsock_conn_wants(const struct vsock_conn *conn);
// True when there may be a packet for the guest.
bool vsock_conn_has_output(const struct vsock_conn *conn);
// Makes the next packet for the guest: the header into *ret, payload straight into chain at offset. 1; or 0
// when there is none after all. *ret_outcome: what to do after it was published.
int vsock_conn_output(struct vsock_conn *conn, const struct ring_chain *chain, uint64_t offset,
                      struct vsock_packet *ret, enum vsock_outcome *ret_outcome);
