// Owns reading what links and routes the host has: for the check that a tenant's network collides with
// nothing, and for removing what a crashed predecessor left. Called by nets.c and cleanup.c.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "net_link.h"

uint32_t subnet_mask(uint8_t prefix)
{
    return prefix == 0 ? 0 : ~0u << (32 - prefix);
}

bool subnet_holds(struct subnet s, uint32_t ipv4)
{
    return ((s.gateway ^ ipv4) & subnet_mask(s.prefix)) == 0;
}

bool subnets_overlap(struct subnet a, struct subnet b)
{
    return subnet_holds(a.prefix <= b.prefix ? a : b, a.prefix <= b.prefix ? b.gateway : a.gateway);
}

struct route_search {
    struct subnet wanted;
    struct subnet found;
};

// Stops with -EEXIST at the first route that overlaps.
static int check_route(const struct nlmsghdr *m, void *arg)
{
    struct route_search *search = arg;
    const struct rtmsg *r = mnl_nlmsg_get_payload(m);
    if (m->nlmsg_type != RTM_NEWROUTE || r->rtm_family != AF_INET || r->rtm_dst_len == 0 ||
        r->rtm_dst_len > 32)
        return 0;
    struct nlattr *a;
    mnl_attr_for_each(a, m, sizeof *r)
    {
        if (mnl_attr_get_type(a) != RTA_DST || mnl_attr_get_payload_len(a) < sizeof(uint32_t))
            continue;
        struct subnet route = {.gateway = ntohl(mnl_attr_get_u32(a)), .prefix = r->rtm_dst_len};
        if (subnets_overlap(route, search->wanted)) {
            search->found = route;
            return -EEXIST;
        }
    }
    return 0;
}

int net_check_routes(struct netlink *rt, struct subnet s, struct err *err)
{
    struct nl_batch b;
    nl_batch_init(&b, rt);
    struct rtmsg *r = nl_batch_add(&b, RTM_GETROUTE, NLM_F_DUMP, sizeof *r, "list the routes");
    r->rtm_family = AF_INET;
    struct route_search search = {.wanted = s};
    int rc = nl_batch_dump(rt, &b, check_route, &search, err);
    if (rc != -EEXIST)
        return rc;
    char wanted[INET_ADDRSTRLEN];
    char route[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &(struct in_addr){htonl(s.gateway & subnet_mask(s.prefix))}, wanted, sizeof wanted);
    inet_ntop(AF_INET, &(struct in_addr){htonl(search.found.gateway)}, route, sizeof route);
    return err_set(
        err, rc,
        "the network %s/%u overlaps this host's route to %s/%u: choose other addresses for environments",
        wanted, s.prefix, route, search.found.prefix);
}

struct link_list {
    const struct instance *instance;
    unsigned n;
    bool more;
    char names[64][IFNAMSIZ];
};

static int collect_ours(const struct nlmsghdr *m, void *arg)
{
    struct link_list *list = arg;
    struct nlattr *a;
    mnl_attr_for_each(a, m, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(a) != IFLA_IFNAME || mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0 ||
            !name_is_our_link(list->instance, mnl_attr_get_str(a)))
            continue;
        list->more = list->n == sizeof list->names / sizeof list->names[0];
        if (!list->more)
            strncpy(list->names[list->n++], mnl_attr_get_str(a), IFNAMSIZ - 1);
    }
    return 0;
}

int net_links_remove_ours(struct netlink *rt, const struct instance *i, struct err *err)
{
    struct link_list list;
    do {
        memset(&list, 0, sizeof list);
        list.instance = i;
        struct nl_batch b;
        nl_batch_init(&b, rt);
        nl_batch_add(&b, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg), "list the links");
        int rc = nl_batch_dump(rt, &b, collect_ours, &list, err);
        for (unsigned n = 0; rc == 0 && n < list.n; n++) {
            rc = net_link_remove(rt, list.names[n], err);
            if (rc == -ENODEV)
                rc = 0; // a tap that went by itself in between
        }
        if (rc < 0)
            return rc;
    } while (list.more);
    return 0;
}
