// Requests to rtnetlink(7) on a blocking socket, one at a time. Used by net.c only; knows no policy.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

struct rtnl_request {
    struct nlmsghdr header;
    uint8_t body[256];
};

// A close-on-exec socket, or -errno. groups: RTMGRP_* to hear, non-blocking then.
int rtnl_open(uint32_t groups);
// Begins a request whose fixed part has n bytes, zeroed.
void *rtnl_begin(struct rtnl_request *r, uint16_t type, uint16_t flags, size_t n);
void rtnl_put(struct rtnl_request *r, uint16_t type, const void *data, size_t n);
// Sends r and waits for the acknowledgement. 0 or -errno.
int rtnl_do(int fd, struct rtnl_request *r);
// Sends r as a dump and calls each for every message; each returns true when it has seen enough. 0 or -errno.
int rtnl_dump(int fd, struct rtnl_request *r, bool (*each)(const struct nlmsghdr *m, void *arg), void *arg);
