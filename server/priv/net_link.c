// Owns bridges and bridge ports (rtnetlink(7)). Called by nets.c, spawn.c and cleanup.c; knows no requests
// and no records.
#include "net_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define PORT_MTU 1500u

static void put_ifinfo(struct nl_batch *b, uint16_t type, uint16_t flags, uint8_t family, const char *link,
                       bool make_up, const char *what)
{
    struct ifinfomsg *i = nl_batch_add(b, type, flags, sizeof *i, what);
    i->ifi_family = family;
    if (make_up)
        i->ifi_flags = i->ifi_change = IFF_UP;
    mnl_attr_put_strz(nl_batch_message(b), IFLA_IFNAME, link);
}

// A link without IPv6 sends no router solicitations or multicast reports into a guest and takes no address
// from one. A kernel without IPv6 has no such file and needs none.
static int disable_ipv6(const char *link, struct err *err)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", link);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || write(fd, "1", 1) != 1)
        return err_errno(err, -errno, "turn IPv6 off on %s", link);
    return 0;
}

static void put_bridge(struct nl_batch *b, const char *bridge, unsigned net)
{
    put_ifinfo(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, bridge, false, "make the bridge");
    struct nlmsghdr *m = nl_batch_message(b);
    const uint8_t mac[6] = {0x02, 'e', 'n', 'v', (uint8_t)(net >> 8), (uint8_t)net};
    mnl_attr_put(m, IFLA_ADDRESS, sizeof mac, mac);
    mnl_attr_put_u32(m, IFLA_MTU, PORT_MTU);
    struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO);
    mnl_attr_put_strz(m, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
    mnl_attr_put_u32(m, IFLA_BR_STP_STATE, 0);
    mnl_attr_put_u32(m, IFLA_BR_FORWARD_DELAY, 0);
    mnl_attr_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0); // it would tell guests of the groups that it joins
    mnl_attr_nest_end(m, data);
    mnl_attr_nest_end(m, info);
}

static void put_gateway(struct nl_batch *b, unsigned ifindex, struct subnet s)
{
    struct ifaddrmsg *a =
        nl_batch_add(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *a, "give the bridge its address");
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = s.prefix;
    a->ifa_index = ifindex;
    struct nlmsghdr *m = nl_batch_message(b);
    mnl_attr_put_u32(m, IFA_LOCAL, htonl(s.gateway));
    mnl_attr_put_u32(m, IFA_ADDRESS, htonl(s.gateway));
    mnl_attr_put_u32(m, IFA_BROADCAST, htonl(s.gateway | ~subnet_mask(s.prefix)));
}

static int bridge_start(struct netlink *rt, const char *bridge, struct subnet s, struct err *err)
{
    int rc = disable_ipv6(bridge, err);
    if (rc < 0)
        return rc;
    struct nl_batch b;
    nl_batch_init(&b, rt);
    put_gateway(&b, if_nametoindex(bridge), s);
    put_ifinfo(&b, RTM_NEWLINK, 0, AF_UNSPEC, bridge, true, "bring the bridge up");
    return nl_batch_commit(rt, &b, err);
}

int net_bridge_make(struct netlink *rt, const char *bridge, unsigned net, struct subnet s, struct err *err)
{
    struct nl_batch b;
    nl_batch_init(&b, rt);
    put_bridge(&b, bridge, net);
    int rc = nl_batch_commit(rt, &b, err);
    if (rc < 0)
        return err_wrap(err, rc, "bridge %s", bridge);
    rc = bridge_start(rt, bridge, s, err);
    if (rc < 0) {
        net_link_remove(rt, bridge, NULL);
        return err_wrap(err, rc, "bridge %s", bridge);
    }
    return 0;
}

int net_link_remove(struct netlink *rt, const char *link, struct err *err)
{
    struct nl_batch b;
    nl_batch_init(&b, rt);
    put_ifinfo(&b, RTM_DELLINK, 0, AF_UNSPEC, link, false, "remove the link");
    int rc = nl_batch_commit(rt, &b, err);
    return rc < 0 ? err_wrap(err, rc, "link %s", link) : 0;
}

static void put_port_options(struct nl_batch *b, const char *tap)
{
    put_ifinfo(b, RTM_NEWLINK, 0, AF_UNSPEC, tap, false, "isolate the bridge port");
    struct nlmsghdr *m = nl_batch_message(b);
    struct nlattr *info = mnl_attr_nest_start(m, IFLA_LINKINFO);
    mnl_attr_put_strz(m, IFLA_INFO_SLAVE_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(m, IFLA_INFO_SLAVE_DATA);
    mnl_attr_put_u8(m, IFLA_BRPORT_ISOLATED, 1);
    mnl_attr_put_u8(m, IFLA_BRPORT_LEARNING, 0);
    mnl_attr_put_u8(m, IFLA_BRPORT_UNICAST_FLOOD, 0);
    mnl_attr_put_u8(m, IFLA_BRPORT_MCAST_FLOOD, 0);
    mnl_attr_nest_end(m, data);
    mnl_attr_nest_end(m, info);
}

// With the forwarding entry the port needs to learn nothing, with the neighbour entry the host needs not ask:
// neither can be poisoned by a guest.
static void put_neighbours(struct nl_batch *b, unsigned tap_index, unsigned bridge_index,
                           const struct guest_address *guest)
{
    struct ndmsg *fdb =
        nl_batch_add(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof *fdb, "fix the guest's MAC");
    fdb->ndm_family = AF_BRIDGE;
    fdb->ndm_ifindex = (int)tap_index;
    fdb->ndm_state = NUD_NOARP;
    fdb->ndm_flags = NTF_MASTER;
    mnl_attr_put(nl_batch_message(b), NDA_LLADDR, sizeof guest->mac, guest->mac);

    struct ndmsg *arp =
        nl_batch_add(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof *arp, "fix the guest's address");
    arp->ndm_family = AF_INET;
    arp->ndm_ifindex = (int)bridge_index;
    arp->ndm_state = NUD_PERMANENT;
    mnl_attr_put_u32(nl_batch_message(b), NDA_DST, htonl(guest->ipv4));
    mnl_attr_put(nl_batch_message(b), NDA_LLADDR, sizeof guest->mac, guest->mac);
}

int net_port_join(struct netlink *rt, const char *tap, const char *bridge, const struct guest_address *guest,
                  struct err *err)
{
    unsigned bridge_index = if_nametoindex(bridge);
    unsigned tap_index = if_nametoindex(tap);
    if (bridge_index == 0 || tap_index == 0)
        return err_set(err, -ENODEV, "there is no %s", bridge_index == 0 ? bridge : tap);
    int rc = disable_ipv6(tap, err);
    if (rc < 0)
        return rc;
    struct nl_batch b;
    nl_batch_init(&b, rt);
    put_ifinfo(&b, RTM_NEWLINK, 0, AF_UNSPEC, tap, false, "put the tap on the bridge");
    mnl_attr_put_u32(nl_batch_message(&b), IFLA_MASTER, bridge_index);
    put_port_options(&b, tap);
    put_neighbours(&b, tap_index, bridge_index, guest);
    put_ifinfo(&b, RTM_NEWLINK, 0, AF_UNSPEC, tap, true,
               "bring the tap up"); // last: isolated before the first frame
    rc = nl_batch_commit(rt, &b, err);
    return rc < 0 ? err_wrap(err, rc, "tap %s", tap) : 0;
}

int net_port_forget(struct netlink *rt, const char *bridge, uint32_t ipv4, struct err *err)
{
    struct nl_batch b;
    nl_batch_init(&b, rt);
    struct ndmsg *arp = nl_batch_add(&b, RTM_DELNEIGH, 0, sizeof *arp, "forget the guest's address");
    arp->ndm_family = AF_INET;
    arp->ndm_ifindex = (int)if_nametoindex(bridge);
    mnl_attr_put_u32(nl_batch_message(&b), NDA_DST, htonl(ipv4));
    int rc = nl_batch_commit(rt, &b, err);
    return rc == -ENOENT ? 0 : rc;
}
