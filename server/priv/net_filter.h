// What environments may send, as nftables (nfnetlink, linux/netfilter/nf_tables.h): in tables of our own, one
// per family.
//
//   netdev envd_<instance>  chain <tap>   ingress of the tap, policy drop: an echo request or reply from the
//   environment's own
//                                         MAC and address to its gateway; ARP with its own MAC and address
//                                         about the gateway
//   inet   envd_<instance>  input         from any of our links: nothing but ICMP over IPv4
//                           forward       from or to any of our links: nothing
//
// So a guest reaches no TCP or UDP port of the host, no other environment, and nothing beyond the host. The
// messages are made here rather than by libnftables: its parser has no place in a root process, and its cost
// grows with the number of chains. Called by spawn.c, vms.c and cleanup.c.
#pragma once

#include "names.h"
#include "net_link.h"
#include "netlink.h"

// Makes the tables, empty of environments. Those of a predecessor are replaced.
int net_filter_open(struct netlink *nf, const struct instance *i, struct err *err);
int net_filter_remove(struct netlink *nf, const struct instance *i, struct err *err);
int net_filter_add(struct netlink *nf, const struct instance *i, const char *tap,
                   const struct guest_address *guest, uint32_t gateway, struct err *err);
// Missing is no error: older kernels drop the chain along with its tap.
int net_filter_drop(struct netlink *nf, const struct instance *i, const char *tap, struct err *err);
