// Owns a vsock connection between the guest's packets and a socket (virtio 1.2, section 5.10.6). Called by
// vsock.c on the I/O thread; knows no queue and no other connection.
//
//   guest --RW--> [held, at most credit.buf_alloc] --sendmsg--> fd ==pair==> host
//   guest <--RW-- straight into the receive buffer <--readv--- fd <==pair== host, as far as the guest's
//   credit goes
#include "virtio/vsock_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_vsock.h>

#include "common/cleanup.h"

struct input {
    const struct vsock_packet *packet;
    const struct ring_chain *chain;
    uint64_t offset; // of the payload
};

typedef enum vsock_outcome action(struct vsock_conn *conn, const struct input *in);

struct cell {
    action *action; // NULL: a protocol error, which resets the connection
    enum vsock_state next;
};

int vsock_conn_open(struct vsock_conn *conn, const struct vsock_packet *request, uint32_t buf_alloc,
                    int *ret_peer)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    *conn = (struct vsock_conn){
        .state = VSOCK_OPEN,
        .guest_port = request->src_port,
        .host_port = request->dst_port,
        .fd = pair[0],
        .owes = VSOCK_OWES_RESPONSE,
        .credit = {.buf_alloc = buf_alloc, .peer_buf_alloc = request->buf_alloc},
    };
    *ret_peer = pair[1];
    return 0;
}

// A host that wrote what the guest did not read any more sees the end of the stream all the same, not an
// error: a socket that is closed with bytes unread says ECONNRESET. The host can write no more, so this ends.
static void forget_unread(struct vsock_conn *conn)
{
    uint8_t unread[4096];
    while (recv(conn->fd, unread, sizeof unread, MSG_DONTWAIT) > 0)
        ;
}

bool vsock_conn_is_the_guests(const struct vsock_conn *conn)
{
    return conn->state != VSOCK_FREE && conn->state != VSOCK_ORPHAN;
}

void vsock_conn_close(struct vsock_conn *conn)
{
    if (conn->state == VSOCK_FREE)
        return;
    if (conn->state == VSOCK_CLOSING || conn->state == VSOCK_ORPHAN)
        forget_unread(conn);
    close(conn->fd);
    free(conn->held);
    *conn = (struct vsock_conn){.state = VSOCK_FREE, .fd = -1};
}

// What can be done once the socket has taken all: pass the guest's end of stream on, or finish.
static enum vsock_outcome when_flushed(struct vsock_conn *conn)
{
    if (conn->held_len > 0)
        return VSOCK_KEEP;
    if (conn->state == VSOCK_CLOSING)
        return VSOCK_RESET; // the reset that completes a clean disconnect
    if (conn->state == VSOCK_ORPHAN)
        return VSOCK_DROP;
    if (conn->state == VSOCK_GUEST_SENT)
        shutdown(conn->fd, SHUT_WR);
    return VSOCK_KEEP;
}

// Gives the socket iov[0..n), `bytes` in all. Returns the number of bytes it took. A host that reads no more
// takes and loses everything: what it sent before it closed must still reach the guest, then its end of
// stream ends both.
static uint64_t give(struct vsock_conn *conn, struct iovec *iov, size_t n, uint64_t bytes)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t taken = conn->deaf ? (ssize_t)bytes : sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        conn->deaf = true;
        taken = (ssize_t)bytes;
    } else if (taken < 0) { // full, or short of memory for the moment: EPOLLOUT says when to try again
        return 0;
    }
    conn->credit.fwd_cnt += (uint32_t)taken;
    if (vsock_credit_update_due(&conn->credit))
        conn->owes |= VSOCK_OWES_CREDIT_UPDATE;
    return (uint64_t)taken;
}

// Keeps the len bytes at offset of the chain until the socket takes them. The credit bounds the sum.
static int hold(struct vsock_conn *conn, const struct ring_chain *chain, uint64_t offset, uint32_t len)
{
    uint8_t *held = conn->held ? conn->held : malloc(conn->credit.buf_alloc);
    if (!held)
        return -ENOMEM;
    conn->held = held;
    if (conn->held_start + conn->held_len + len > conn->credit.buf_alloc) {
        memmove(conn->held, conn->held + conn->held_start, conn->held_len);
        conn->held_start = 0;
    }
    ring_chain_read(chain, offset, conn->held + conn->held_start + conn->held_len, len);
    conn->held_len += len;
    return 0;
}

// Gives the socket what is held.
static enum vsock_outcome flush(struct vsock_conn *conn)
{
    struct iovec iov = {.iov_base = conn->held + conn->held_start, .iov_len = conn->held_len};
    if (conn->held_len == 0)
        return VSOCK_KEEP;
    uint32_t taken = (uint32_t)give(conn, &iov, 1, conn->held_len);
    conn->held_start += taken;
    conn->held_len -= taken;
    if (conn->held_len == 0) {
        free(take_ptr(conn->held));
        conn->held_start = 0;
    }
    return when_flushed(conn);
}

static enum vsock_outcome on_data(struct vsock_conn *conn, const struct input *in)
{
    uint32_t len = in->packet->len;
    if (!vsock_credit_received(&conn->credit, len))
        return VSOCK_RESET;
    uint64_t taken = 0;
    if (conn->held_len == 0 && len > 0) {
        struct iovec iov[RING_SIZE_MAX];
        uint64_t bytes;
        size_t n = ring_chain_readable(in->chain, in->offset, len, iov, RING_SIZE_MAX, &bytes);
        taken = give(conn, iov, n, bytes);
    }
    if (taken < len && hold(conn, in->chain, in->offset + taken, len - (uint32_t)taken) < 0)
        return VSOCK_RESET;
    return VSOCK_KEEP;
}

static enum vsock_outcome accept_request(struct vsock_conn *conn, const struct input *in)
{
    (void)conn, (void)in;
    return VSOCK_ACCEPT;
}

// Linux waits for the end of a clean disconnect for 8 s, then resets. The host may read slower than that.
static enum vsock_outcome orphan(struct vsock_conn *conn, const struct input *in)
{
    (void)in;
    conn->owes = 0;
    return VSOCK_KEEP;
}

static enum vsock_outcome refuse(struct vsock_conn *conn, const struct input *in)
{
    (void)conn, (void)in;
    return VSOCK_RESET;
}

static enum vsock_outcome drop(struct vsock_conn *conn, const struct input *in)
{
    (void)conn, (void)in;
    return VSOCK_DROP;
}

static enum vsock_outcome keep(struct vsock_conn *conn, const struct input *in)
{
    (void)conn, (void)in;
    return VSOCK_KEEP;
}

static enum vsock_outcome answer_credit(struct vsock_conn *conn, const struct input *in)
{
    (void)in;
    conn->owes |= VSOCK_OWES_CREDIT_UPDATE;
    return VSOCK_KEEP;
}

static enum vsock_outcome stop_reading(struct vsock_conn *conn, const struct input *in)
{
    (void)in;
    shutdown(conn->fd, SHUT_RD); // the host's writes fail from now on
    conn->ended = true;
    conn->readable = false;
    conn->owes &= ~(unsigned)VSOCK_OWES_CREDIT_REQUEST;
    return VSOCK_KEEP;
}

// clang-format off
static const struct cell table[VSOCK_STATE_COUNT][VSOCK_EVENT_COUNT] = {
    [VSOCK_FREE] = {
        [VSOCK_ON_REQUEST]          = {accept_request, VSOCK_FREE}, // vsock_conn_open() makes it OPEN
        [VSOCK_ON_RST]              = {drop, VSOCK_FREE},           // a reset is never answered by one
    },
    [VSOCK_OPEN] = {
        [VSOCK_ON_RST]              = {drop, VSOCK_OPEN},
        [VSOCK_ON_SHUTDOWN_RECEIVE] = {stop_reading, VSOCK_GUEST_DEAF},
        [VSOCK_ON_SHUTDOWN_SEND]    = {keep, VSOCK_GUEST_SENT},
        [VSOCK_ON_RW]               = {on_data, VSOCK_OPEN},
        [VSOCK_ON_CREDIT_UPDATE]    = {keep, VSOCK_OPEN},
        [VSOCK_ON_CREDIT_REQUEST]   = {answer_credit, VSOCK_OPEN},
    },
    [VSOCK_GUEST_SENT] = {
        [VSOCK_ON_RST]              = {drop, VSOCK_GUEST_SENT},
        [VSOCK_ON_SHUTDOWN_RECEIVE] = {stop_reading, VSOCK_CLOSING},
        [VSOCK_ON_SHUTDOWN_SEND]    = {keep, VSOCK_GUEST_SENT},
        [VSOCK_ON_CREDIT_UPDATE]    = {keep, VSOCK_GUEST_SENT},
        [VSOCK_ON_CREDIT_REQUEST]   = {answer_credit, VSOCK_GUEST_SENT},
    },
    [VSOCK_GUEST_DEAF] = {
        [VSOCK_ON_RST]              = {drop, VSOCK_GUEST_DEAF},
        [VSOCK_ON_SHUTDOWN_RECEIVE] = {keep, VSOCK_GUEST_DEAF},
        [VSOCK_ON_SHUTDOWN_SEND]    = {keep, VSOCK_CLOSING},
        [VSOCK_ON_RW]               = {on_data, VSOCK_GUEST_DEAF},
        [VSOCK_ON_CREDIT_UPDATE]    = {keep, VSOCK_GUEST_DEAF},
        [VSOCK_ON_CREDIT_REQUEST]   = {answer_credit, VSOCK_GUEST_DEAF},
    },
    [VSOCK_CLOSING] = {
        [VSOCK_ON_RST]              = {orphan, VSOCK_ORPHAN},
        [VSOCK_ON_SHUTDOWN_RECEIVE] = {keep, VSOCK_CLOSING},
        [VSOCK_ON_SHUTDOWN_SEND]    = {keep, VSOCK_CLOSING},
        [VSOCK_ON_CREDIT_UPDATE]    = {keep, VSOCK_CLOSING},
        [VSOCK_ON_CREDIT_REQUEST]   = {answer_credit, VSOCK_CLOSING},
    },
};
// clang-format on

static const struct cell protocol_error = {refuse, VSOCK_FREE};

// Only here and in open and close is a state written. Connections come and go at guests' will: nothing is
// logged.
static enum vsock_outcome step(struct vsock_conn *conn, const struct input *in, enum vsock_event event)
{
    const struct cell *cell = &table[conn->state][event];
    if (!cell->action)
        cell = &protocol_error;
    enum vsock_outcome outcome = cell->action(conn, in);
    if (outcome != VSOCK_KEEP)
        return outcome; // the owner opens or closes it
    conn->state = cell->next;
    return VSOCK_KEEP;
}

// By op. SHUTDOWN is two events, by its flags.
static const enum vsock_event event_of_op[] = {
    [VIRTIO_VSOCK_OP_INVALID] = VSOCK_ON_LIE,
    [VIRTIO_VSOCK_OP_REQUEST] = VSOCK_ON_REQUEST,
    [VIRTIO_VSOCK_OP_RESPONSE] = VSOCK_ON_RESPONSE,
    [VIRTIO_VSOCK_OP_RST] = VSOCK_ON_RST,
    [VIRTIO_VSOCK_OP_SHUTDOWN] = VSOCK_ON_SHUTDOWN_RECEIVE,
    [VIRTIO_VSOCK_OP_RW] = VSOCK_ON_RW,
    [VIRTIO_VSOCK_OP_CREDIT_UPDATE] = VSOCK_ON_CREDIT_UPDATE,
    [VIRTIO_VSOCK_OP_CREDIT_REQUEST] = VSOCK_ON_CREDIT_REQUEST,
};

static enum vsock_outcome step_shutdown(struct vsock_conn *conn, const struct input *in)
{
    enum vsock_outcome outcome = VSOCK_KEEP;
    uint32_t flags = in->packet->flags;
    if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
        outcome = step(conn, in, VSOCK_ON_SHUTDOWN_RECEIVE);
    if (outcome == VSOCK_KEEP && (flags & VIRTIO_VSOCK_SHUTDOWN_SEND))
        outcome = step(conn, in, VSOCK_ON_SHUTDOWN_SEND);
    return outcome;
}

enum vsock_outcome vsock_conn_packet(struct vsock_conn *conn, const struct vsock_packet *packet,
                                     enum vsock_verdict verdict, const struct ring_chain *chain,
                                     uint64_t offset)
{
    struct input in = {.packet = packet, .chain = chain, .offset = offset};
    enum vsock_event event = verdict == VSOCK_GOOD ? event_of_op[packet->op] : VSOCK_ON_LIE;
    if (packet->op == VIRTIO_VSOCK_OP_RST)
        event = VSOCK_ON_RST; // whatever else it says
    else if (conn->state != VSOCK_FREE && event != VSOCK_ON_LIE && !vsock_credit_heard(&conn->credit, packet))
        event = VSOCK_ON_LIE;
    if (vsock_credit_free(&conn->credit) > 0)
        conn->credit_requested = false;
    enum vsock_outcome outcome =
        event == VSOCK_ON_SHUTDOWN_RECEIVE ? step_shutdown(conn, &in) : step(conn, &in, event);
    return outcome == VSOCK_KEEP ? when_flushed(conn) : outcome;
}

enum vsock_outcome vsock_conn_socket(struct vsock_conn *conn, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR)) {
        conn->hung_up = true;
        conn->readable = !conn->ended; // what it sent before is still there, then its end of stream
        if (conn->state == VSOCK_ORPHAN)
            return VSOCK_DROP;
        if (conn->ended && !(conn->owes & VSOCK_OWES_SHUTDOWN))
            return VSOCK_RESET;
    }
    if (events & EPOLLIN)
        conn->readable = !conn->ended;
    return events & EPOLLOUT ? flush(conn) : VSOCK_KEEP;
}

uint32_t vsock_conn_wants(const struct vsock_conn *conn)
{
    if (conn->state == VSOCK_FREE || conn->hung_up)
        return 0;
    // EPOLLERR stands for none in particular: a watched socket always tells of its closing.
    uint32_t events = EPOLLERR;
    if (!conn->ended && !conn->readable)
        events |= EPOLLIN;
    if (conn->held_len > 0)
        events |= EPOLLOUT;
    return events;
}

bool vsock_conn_has_output(const struct vsock_conn *conn)
{
    if (!vsock_conn_is_the_guests(conn))
        return false;
    return conn->owes ||
           (conn->readable && (vsock_credit_free(&conn->credit) > 0 || !conn->credit_requested));
}

static int emit(struct vsock_conn *conn, uint16_t op, uint32_t flags, uint32_t len, struct vsock_packet *ret)
{
    *ret = (struct vsock_packet){
        .src_port = conn->host_port,
        .dst_port = conn->guest_port,
        .len = len,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = conn->credit.buf_alloc,
        .fwd_cnt = conn->credit.fwd_cnt,
    };
    conn->credit.told_fwd_cnt = conn->credit.fwd_cnt;
    conn->owes &= ~(unsigned)VSOCK_OWES_CREDIT_UPDATE; // every packet is one
    return 1;
}

// Reads from the socket into the chain. 1 with a packet, or 0 and what is owed or known now.
static int output_data(struct vsock_conn *conn, const struct ring_chain *chain, uint64_t offset,
                       struct vsock_packet *ret)
{
    uint32_t limit = vsock_credit_free(&conn->credit);
    if (limit == 0) {
        if (!conn->credit_requested)
            conn->owes |= VSOCK_OWES_CREDIT_REQUEST;
        conn->credit_requested = true;
        return 0;
    }
    struct iovec iov[RING_SIZE_MAX];
    uint64_t bytes;
    size_t n = ring_chain_writable(chain, offset, limit < VSOCK_PAYLOAD_MAX ? limit : VSOCK_PAYLOAD_MAX, iov,
                                   RING_SIZE_MAX, &bytes);
    ssize_t len = readv(conn->fd, iov, (int)n);
    if (len > 0) {
        // A short read has emptied the socket, most likely; if not, epoll says so, unless it is not asked any
        // more.
        conn->readable = (uint64_t)len == bytes || conn->hung_up;
        conn->credit.tx_cnt += (uint32_t)len;
        return emit(conn, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)len, ret);
    }
    conn->readable = false;
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    conn->ended = true; // end of stream; an error means that the host closed with our bytes unread
    conn->owes |= VSOCK_OWES_SHUTDOWN;
    return 0;
}

// A peer that closed ends both directions: the reset follows, for nobody is left to take the guest's answer.
static int output_shutdown(struct vsock_conn *conn, struct vsock_packet *ret, enum vsock_outcome *ret_outcome)
{
    uint32_t flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
    if (conn->hung_up || conn->deaf) {
        flags |= VIRTIO_VSOCK_SHUTDOWN_RCV;
        *ret_outcome = VSOCK_RESET;
    }
    return emit(conn, VIRTIO_VSOCK_OP_SHUTDOWN, flags, 0, ret);
}

static bool pay(struct vsock_conn *conn, enum vsock_owed what)
{
    bool owed = conn->owes & what;
    conn->owes &= ~(unsigned)what;
    return owed;
}

int vsock_conn_output(struct vsock_conn *conn, const struct ring_chain *chain, uint64_t offset,
                      struct vsock_packet *ret, enum vsock_outcome *ret_outcome)
{
    *ret_outcome = VSOCK_KEEP;
    if (pay(conn, VSOCK_OWES_RESPONSE))
        return emit(conn, VIRTIO_VSOCK_OP_RESPONSE, 0, 0, ret);
    if (conn->readable && output_data(conn, chain, offset, ret) == 1)
        return 1;
    if (pay(conn, VSOCK_OWES_SHUTDOWN))
        return output_shutdown(conn, ret, ret_outcome);
    if (pay(conn, VSOCK_OWES_CREDIT_REQUEST))
        return emit(conn, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0, ret);
    if (pay(conn, VSOCK_OWES_CREDIT_UPDATE))
        return emit(conn, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0, ret);
    return 0;
}
