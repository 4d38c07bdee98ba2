// See net.h. A NIC that is not there yet (its driver may be a module) is awaited by link events. Where udev
// runs, its record of the NIC is awaited too, a few seconds at most: it renames interfaces, and only while
// they are down.
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_arp.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "rtnl.h"

#define UDEV_POLL_MS 50
#define UDEV_WAIT_MS 5000

struct net {
    struct loop *loop;
    int events_fd; // -1: not listening
    struct loop_source *events_source, *timer;
    bool awaited;
    uint64_t udev_until_ns;        // 0: not waiting for it
    struct agent_configure wanted; // without its host name
    int set_index;                 // interface that has what we set; 0: none
    struct agent_configure set;
};

struct search {
    const uint8_t *mac;
    int index; // 0: not found
};

static bool look_at_link(const struct nlmsghdr *m, void *arg)
{
    struct search *s = arg;
    const struct ifinfomsg *info = NLMSG_DATA(m);
    int left = (int)IFLA_PAYLOAD(m);
    if (m->nlmsg_type != RTM_NEWLINK || info->ifi_type != ARPHRD_ETHER)
        return false;
    for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(a) == 6 && memcmp(RTA_DATA(a), s->mac, 6) == 0)
            s->index = info->ifi_index;
    return s->index != 0;
}

static int find_index(int fd, const uint8_t mac[6], int *ret_index)
{
    struct rtnl_request r;
    struct search s = {.mac = mac};
    rtnl_begin(&r, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    int rc = rtnl_dump(fd, &r, look_at_link, &s);
    if (rc == 0)
        *ret_index = s.index;
    return rc;
}

// mtu 0: leave it.
static int set_link(int fd, int index, uint16_t mtu)
{
    struct rtnl_request r;
    struct ifinfomsg *info = rtnl_begin(&r, RTM_NEWLINK, 0, sizeof *info);
    uint32_t value = mtu;
    info->ifi_index = index;
    info->ifi_flags = info->ifi_change = IFF_UP;
    if (mtu)
        rtnl_put(&r, IFLA_MTU, &value, sizeof value);
    return rtnl_do(fd, &r);
}

static int change_address(int fd, uint16_t type, uint16_t flags, int index, const struct agent_configure *c)
{
    struct rtnl_request r;
    struct ifaddrmsg *a = rtnl_begin(&r, type, flags, sizeof *a);
    uint32_t address = __builtin_bswap32(c->ipv4);
    uint32_t mask = c->prefix == 0 ? 0 : ~0u << (32 - c->prefix);
    uint32_t broadcast = __builtin_bswap32(c->ipv4 | ~mask);
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = c->prefix;
    a->ifa_index = (uint32_t)index;
    rtnl_put(&r, IFA_LOCAL, &address, sizeof address);
    rtnl_put(&r, IFA_ADDRESS, &address, sizeof address);
    if (c->prefix < 31)
        rtnl_put(&r, IFA_BROADCAST, &broadcast, sizeof broadcast);
    return rtnl_do(fd, &r);
}

static int set_route(int fd, int index, uint32_t gateway)
{
    struct rtnl_request r;
    struct rtmsg *m = rtnl_begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *m);
    uint32_t via = __builtin_bswap32(gateway);
    *m = (struct rtmsg){.rtm_family = AF_INET,
                        .rtm_table = RT_TABLE_MAIN,
                        .rtm_protocol = RTPROT_STATIC,
                        .rtm_scope = RT_SCOPE_UNIVERSE,
                        .rtm_type = RTN_UNICAST};
    rtnl_put(&r, RTA_GATEWAY, &via, sizeof via);
    rtnl_put(&r, RTA_OIF, &index, sizeof index);
    return rtnl_do(fd, &r);
}

static bool same_address(const struct agent_configure *a, const struct agent_configure *b)
{
    return a->ipv4 == b->ipv4 && a->prefix == b->prefix;
}

// What we set before and is wanted no more goes first; what others set stays.
static int set_up(struct net *n, int fd, int index, struct err *err)
{
    const struct agent_configure *c = &n->wanted;
    int rc = 0;
    if (n->set_index == index && n->set.ipv4 && !same_address(&n->set, c))
        change_address(fd, RTM_DELADDR, 0, index, &n->set); // it may be gone already
    rc = set_link(fd, index, c->mtu);
    if (rc < 0)
        return err_errno(err, rc, "bring interface %d up with MTU %u", index, c->mtu);
    if (c->ipv4)
        rc = change_address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, c);
    if (rc < 0)
        return err_errno(err, rc, "give interface %d its address", index);
    if (c->gateway)
        rc = set_route(fd, index, c->gateway);
    if (rc < 0)
        return err_errno(err, rc, "set the default route");
    n->set = *c;
    n->set_index = index;
    return 0;
}

// True while udev runs and has not dealt with the interface.
static bool udev_is_busy(struct net *n, int index)
{
    char path[64];
    uint64_t now_ns = io_monotonic_ns();
    snprintf(path, sizeof path, "/run/udev/data/n%d", index);
    if (access("/run/udev/control", F_OK) < 0 || access(path, F_OK) == 0)
        return false;
    if (n->udev_until_ns == 0)
        n->udev_until_ns = now_ns + UDEV_WAIT_MS * 1000000ull;
    return now_ns < n->udev_until_ns;
}

// 0: set up, 1: not there yet, or -errno.
static int try_set_up(struct net *n, struct err *err)
{
    int index = 0;
    _cleanup_close_ int fd = rtnl_open(0);
    if (fd < 0)
        return err_errno(err, fd, "open rtnetlink");
    int rc = find_index(fd, n->wanted.mac, &index);
    if (rc < 0)
        return err_errno(err, rc, "list interfaces");
    n->awaited = true;
    if (index == 0)
        return 1;
    if (udev_is_busy(n, index)) {
        loop_timer_set(n->timer, io_monotonic_ns() + UDEV_POLL_MS * 1000000ull);
        return 1;
    }
    n->awaited = false;
    n->udev_until_ns = 0;
    return set_up(n, fd, index, err);
}

static void try_again(struct net *n)
{
    struct err err;
    if (!n->awaited)
        return;
    int rc = try_set_up(n, &err);
    if (rc < 0)
        log_error(NULL, "network: %s", err.text);
    else if (rc == 0)
        log_info(NULL, "network: the NIC has come and is set up");
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    try_again(arg);
}

static void on_events(void *arg, uint32_t events)
{
    struct net *n = arg;
    char data[4096];
    (void)events;
    while (recv(n->events_fd, data, sizeof data, MSG_DONTWAIT) > 0)
        ; // whatever it says: we look ourselves
    try_again(n);
}

static void listen_for_links(struct net *n)
{
    if (n->events_fd >= 0)
        return;
    int fd = rtnl_open(RTMGRP_LINK);
    n->events_source = fd >= 0 ? loop_add(n->loop, fd, EPOLLIN, on_events, n) : NULL;
    if (n->events_source) {
        n->events_fd = fd;
        return;
    }
    if (fd >= 0)
        close(fd);
    log_error(NULL, "network: cannot hear of new interfaces; set up with the next HELLO");
}

int net_configure(struct net *n, const struct agent_configure *c, struct err *err)
{
    n->wanted = *c;
    n->wanted.hostname = (struct wire_view){0}; // its bytes are the caller's
    n->udev_until_ns = 0;
    listen_for_links(n); // first, so that none is missed
    return try_set_up(n, err);
}

int net_loopback_up(struct err *err)
{
    _cleanup_close_ int fd = rtnl_open(0);
    if (fd < 0)
        return err_errno(err, fd, "open rtnetlink");
    int rc = set_link(fd, 1, 0);
    return rc < 0 ? err_errno(err, rc, "bring the loopback interface up") : 0;
}

struct net *net_new(struct loop *loop)
{
    struct net *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    *n = (struct net){.loop = loop, .events_fd = -1, .timer = loop_add_timer(loop, on_timer, n)};
    if (n->timer)
        return n;
    free(n);
    return NULL;
}

void net_free(struct net *n)
{
    if (!n)
        return;
    loop_remove(n->events_source);
    loop_remove(n->timer);
    if (n->events_fd >= 0)
        close(n->events_fd);
    free(n);
}
