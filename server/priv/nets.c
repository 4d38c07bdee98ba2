// Owns tenants' networks: which are up, with which addresses. Called by requests.c.
#include <arpa/inet.h>
#include <errno.h>

#include "priv.h"

// Unicast and not loopback; neither the subnet's first nor its last address.
static bool gateway_usable(struct subnet s)
{
    uint32_t host = s.gateway & ~subnet_mask(s.prefix);
    uint8_t first = (uint8_t)(s.gateway >> 24);
    return first >= 1 && first < 224 && first != 127 && host != 0 && host != ~subnet_mask(s.prefix);
}

int net_up(struct priv *p, uint16_t net, struct subnet s, struct err *err)
{
    struct net *n = &p->nets[net];
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &(struct in_addr){htonl(s.gateway)}, text, sizeof text);
    if (n->up && n->subnet.gateway == s.gateway && n->subnet.prefix == s.prefix)
        return 0;
    if (n->up)
        return err_set(err, -EEXIST, "network %u is up with another address than %s/%u: take it down first",
                       net, text, s.prefix);
    if (!gateway_usable(s))
        return err_set(err, -EINVAL, "%s/%u is no address for a gateway", text, s.prefix);
    int rc = net_check_routes(&p->rt, s, err);
    if (rc < 0)
        return rc;
    char bridge[IFNAMSIZ];
    name_bridge(&p->instance, net, bridge);
    rc = net_bridge_make(&p->rt, bridge, net, s, err);
    if (rc == 0)
        *n = (struct net){.up = true, .subnet = s};
    return rc;
}

int net_down(struct priv *p, uint16_t net, struct err *err)
{
    struct net *n = &p->nets[net];
    if (!n->up)
        return 0;
    unsigned n_vms = vms_n_on_net(&p->vms, net);
    if (n_vms > 0)
        return err_set(err, -EBUSY, "network %u has %u running environments: stop them first", net, n_vms);
    char bridge[IFNAMSIZ];
    name_bridge(&p->instance, net, bridge);
    int rc = net_link_remove(&p->rt, bridge, err);
    if (rc < 0 && rc != -ENODEV)
        return rc;
    n->up = false;
    return 0;
}
