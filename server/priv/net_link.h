// Links over rtnetlink: a bridge per tenant network, a tap per environment as an isolated port of it, and the
// addresses and neighbours that the host needs to reach it. Called by nets.c, spawn.c and cleanup.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "names.h"
#include "netlink.h"

struct subnet {
    uint32_t gateway; // host order: the bridge's own address
    uint8_t prefix;
};

uint32_t subnet_mask(uint8_t prefix);
bool subnet_holds(struct subnet s, uint32_t ipv4);
bool subnets_overlap(struct subnet a, struct subnet b);

struct guest_address {
    uint8_t mac[6];
    uint32_t ipv4; // host order
};

// Makes the bridge with its address and brings it up: no STP, no multicast snooping, no IPv6, and a MAC of
// its own that ports do not change. Removes it again on failure.
int net_bridge_make(struct netlink *rt, const char *bridge, unsigned net, struct subnet s, struct err *err);
// Removes a link. -ENODEV when there is none.
int net_link_remove(struct netlink *rt, const char *link, struct err *err);
// Puts a tap on a bridge: isolated from the other ports, learning nothing, the guest's MAC and address fixed
// on it, up. On failure the tap may be half-way there: remove it.
int net_port_join(struct netlink *rt, const char *tap, const char *bridge, const struct guest_address *guest,
                  struct err *err);
// Drops what net_port_join() left on the bridge itself. A missing entry is no error.
int net_port_forget(struct netlink *rt, const char *bridge, uint32_t ipv4, struct err *err);
// -EEXIST and a text when a route of the host's (the default route aside) overlaps s.
int net_check_routes(struct netlink *rt, struct subnet s, struct err *err);
// Removes every link of this instance.
int net_links_remove_ours(struct netlink *rt, const struct instance *i, struct err *err);
// Makes a tap: non-blocking, with vnet header, no offloads. The descriptor is the caller's; the tap goes when
// its last copy is closed.
int net_tap_open(const char *name, int *ret_fd, struct err *err);
