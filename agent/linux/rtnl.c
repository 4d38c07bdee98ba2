// See rtnl.h.
#include "rtnl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_S 2 // the kernel answers at once; this only bounds a surprise

int rtnl_open(uint32_t groups)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (groups ? SOCK_NONBLOCK : 0), NETLINK_ROUTE);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    const struct timeval limit = {.tv_sec = ANSWER_S};
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

void *rtnl_begin(struct rtnl_request *r, uint16_t type, uint16_t flags, size_t n)
{
    *r = (struct rtnl_request){.header = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(n),
                                          .nlmsg_type = type,
                                          .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)}};
    return r->body;
}

void rtnl_put(struct rtnl_request *r, uint16_t type, const void *data, size_t n)
{
    size_t at = NLMSG_ALIGN(r->header.nlmsg_len) - sizeof r->header;
    const struct rtattr attribute = {.rta_len = (uint16_t)RTA_LENGTH(n), .rta_type = type};
    memcpy(r->body + at, &attribute, sizeof attribute);
    memcpy(r->body + at + RTA_LENGTH(0), data, n);
    r->header.nlmsg_len = (uint32_t)(sizeof r->header + at + RTA_ALIGN(RTA_LENGTH(n)));
}

static int send_request(int fd, struct rtnl_request *r)
{
    static uint32_t seq;
    r->header.nlmsg_seq = ++seq;
    return send(fd, r, r->header.nlmsg_len, 0) < 0 ? -errno : 0;
}

// Reads answers until the last one. 0 or -errno.
static int take_answers(int fd, uint32_t seq, bool (*each)(const struct nlmsghdr *m, void *arg), void *arg)
{
    static _Alignas(struct nlmsghdr) uint8_t data[32768];
    bool enough = false;
    for (;;) {
        ssize_t n = recv(fd, data, sizeof data, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        unsigned left = (unsigned)n;
        for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_seq != seq)
                continue; // of an earlier request that was not awaited
            if (m->nlmsg_type == NLMSG_ERROR)
                return ((struct nlmsgerr *)NLMSG_DATA(m))->error;
            if (m->nlmsg_type == NLMSG_DONE)
                return 0;
            if (each && !enough)
                enough = each(m, arg);
        }
    }
}

int rtnl_do(int fd, struct rtnl_request *r)
{
    r->header.nlmsg_flags |= NLM_F_ACK;
    int rc = send_request(fd, r);
    return rc < 0 ? rc : take_answers(fd, r->header.nlmsg_seq, NULL, NULL);
}

int rtnl_dump(int fd, struct rtnl_request *r, bool (*each)(const struct nlmsghdr *m, void *arg), void *arg)
{
    r->header.nlmsg_flags |= NLM_F_DUMP;
    int rc = send_request(fd, r);
    return rc < 0 ? rc : take_answers(fd, r->header.nlmsg_seq, each, arg);
}
