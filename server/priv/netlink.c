// Owns the netlink sockets' request and answer discipline. Called by net_link.c and net_filter.c.
#include "netlink.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

// The kernel answers within the send; the limit only keeps a lost answer from stopping everything.
#define ANSWER_TIMEOUT_S 5
#define RECEIVE_BYTES    32768

int netlink_init(struct netlink *nl, int bus, struct err *err)
{
    struct mnl_socket *s = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!s)
        return err_errno(err, -errno, "open netlink");
    const struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) {
        int rc = err_errno(err, -errno, "bind netlink");
        mnl_socket_close(s);
        return rc;
    }
    *nl = (struct netlink){.socket = s, .next_seq = 1};
    return 0;
}

void netlink_done(struct netlink *nl)
{
    if (nl->socket)
        mnl_socket_close(nl->socket);
    nl->socket = NULL;
}

void nl_batch_init(struct nl_batch *b, const struct netlink *nl)
{
    b->first_seq = nl->next_seq;
    b->n = 0;
    b->n_acks = 0;
}

static size_t used_bytes(const struct nl_batch *b)
{
    if (b->n == 0)
        return 0;
    const struct nlmsghdr *last = b->messages[b->n - 1];
    assert(last->nlmsg_len <= NL_MESSAGE_BYTES_MAX);
    return (size_t)((const uint8_t *)last - b->bytes) + MNL_ALIGN(last->nlmsg_len);
}

struct nlmsghdr *nl_batch_message(struct nl_batch *b)
{
    return b->messages[b->n - 1];
}

void *nl_batch_add(struct nl_batch *b, uint16_t type, uint16_t flags, size_t extra, const char *what)
{
    size_t used = used_bytes(b);
    assert(b->n < NL_BATCH_MESSAGES && used + NL_MESSAGE_BYTES_MAX <= sizeof b->bytes);
    memset(b->bytes + used, 0, NL_MESSAGE_BYTES_MAX);
    struct nlmsghdr *m = mnl_nlmsg_put_header(b->bytes + used);
    m->nlmsg_type = type;
    m->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags | (what ? NLM_F_ACK : 0));
    m->nlmsg_seq = b->first_seq + b->n;
    b->n_acks += what ? 1 : 0;
    b->what[b->n] = what;
    b->messages[b->n++] = m;
    return mnl_nlmsg_put_extra_header(m, extra);
}

static int send_batch(struct netlink *nl, const struct nl_batch *b, struct err *err)
{
    nl->next_seq = b->first_seq + b->n;
    if (mnl_socket_sendto(nl->socket, b->bytes, used_bytes(b)) < 0)
        return err_errno(err, -errno, "send to netlink");
    return 0;
}

// The error that an NLMSG_ERROR carries: 0 for an acknowledgement.
static int answer_error(const struct nlmsghdr *m)
{
    if (m->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct nlmsgerr))
        return -EBADMSG;
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(m);
    return e->error < 0 ? e->error : -e->error;
}

// Counts one answer; true while more are awaited.
static bool take_answer(const struct nl_batch *b, const struct nlmsghdr *m, unsigned *n_taken, int *rc,
                        struct err *err)
{
    uint32_t i = m->nlmsg_seq - b->first_seq;
    if (i >= b->n || m->nlmsg_type != NLMSG_ERROR)
        return true; // an answer to an earlier batch that failed half-way
    int error = answer_error(m);
    if (error < 0 && *rc == 0)
        *rc = err_errno(err, error, "%s", b->what[i] ? b->what[i] : "transaction");
    if (!b->what[i])
        return error == 0; // the transaction as a whole was refused: no more answers
    return ++*n_taken < b->n_acks;
}

int nl_batch_commit(struct netlink *nl, struct nl_batch *b, struct err *err)
{
    int rc = send_batch(nl, b, err);
    if (rc < 0)
        return rc;
    unsigned n_taken = 0;
    bool more = b->n_acks > 0;
    while (more) {
        _Alignas(struct nlmsghdr) uint8_t answers[RECEIVE_BYTES];
        ssize_t got = mnl_socket_recvfrom(nl->socket, answers, sizeof answers);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_errno(err, got < 0 ? -errno : -EPIPE, "read netlink's answer");
        int left = (int)got;
        for (const struct nlmsghdr *m = (void *)answers; more && mnl_nlmsg_ok(m, left);
             m = mnl_nlmsg_next(m, &left))
            more = take_answer(b, m, &n_taken, &rc, err);
    }
    return rc;
}

int nl_batch_dump(struct netlink *nl, struct nl_batch *b, int (*each)(const struct nlmsghdr *m, void *arg),
                  void *arg, struct err *err)
{
    int rc = send_batch(nl, b, err);
    if (rc < 0)
        return rc;
    for (;;) {
        _Alignas(struct nlmsghdr) uint8_t answers[RECEIVE_BYTES];
        ssize_t got = mnl_socket_recvfrom(nl->socket, answers, sizeof answers);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_errno(err, got < 0 ? -errno : -EPIPE, "read netlink's answer");
        int left = (int)got;
        for (const struct nlmsghdr *m = (void *)answers; mnl_nlmsg_ok(m, left);
             m = mnl_nlmsg_next(m, &left)) {
            if (m->nlmsg_seq != b->first_seq)
                continue;
            if (m->nlmsg_type == NLMSG_DONE)
                return rc;
            if (m->nlmsg_type == NLMSG_ERROR)
                return err_errno(err, answer_error(m), "%s", b->what[0] ? b->what[0] : "dump");
            if (rc == 0) // after a stop the rest is still read, or it would answer the next request
                rc = each(m, arg);
        }
    }
}
