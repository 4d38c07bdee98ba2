// Owns the packet filters. Called by spawn.c and cleanup.c; each rule is a list of byte comparisons and a
// verdict.
#include "net_filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdbool.h>
#include <string.h>

// One comparison: len bytes at offset from base, masked where there is a mask, equal value. base is an enum
// nft_payload_bases, or MATCH_META with an enum nft_meta_keys as offset.
#define MATCH_META      (-1)
#define MATCH_BYTES_MAX 16
struct match {
    int base;
    uint32_t offset;
    uint32_t len;
    bool masked;
    uint8_t value[MATCH_BYTES_MAX];
    uint8_t mask[MATCH_BYTES_MAX];
};

#define MATCHES_MAX 8
struct rule {
    const char *what;
    unsigned n;
    struct match matches[MATCHES_MAX];
    uint32_t verdict; // NF_ACCEPT or NF_DROP
};

static void rule_match(struct rule *r, int base, uint32_t offset, const void *value, uint32_t len)
{
    struct match *m = &r->matches[r->n++];
    *m = (struct match){.base = base, .offset = offset, .len = len};
    memcpy(m->value, value, len);
}

static void rule_match_zero(struct rule *r, int base, uint32_t offset, const void *mask, uint32_t len)
{
    struct match *m = &r->matches[r->n++];
    *m = (struct match){.base = base, .offset = offset, .len = len, .masked = true};
    memcpy(m->mask, mask, len);
}

static struct nfgenmsg *put_header(struct nl_batch *b, uint16_t type, uint16_t flags, uint8_t family,
                                   const char *what)
{
    struct nfgenmsg *g =
        nl_batch_add(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, sizeof *g, what);
    g->nfgen_family = family;
    g->version = NFNETLINK_V0;
    return g;
}

// Everything between begin and end happens, or nothing does.
static void put_transaction_edge(struct nl_batch *b, uint16_t type)
{
    struct nfgenmsg *g = nl_batch_add(b, type, 0, sizeof *g, NULL);
    g->version = NFNETLINK_V0;
    g->res_id = htons(NFNL_SUBSYS_NFTABLES);
}

static void batch_begin(struct nl_batch *b, const struct netlink *nf)
{
    nl_batch_init(b, nf);
    put_transaction_edge(b, NFNL_MSG_BATCH_BEGIN);
}

static int batch_end(struct netlink *nf, struct nl_batch *b, struct err *err)
{
    put_transaction_edge(b, NFNL_MSG_BATCH_END);
    return nl_batch_commit(nf, b, err);
}

static void put_table(struct nl_batch *b, uint16_t type, uint8_t family, const struct instance *i,
                      const char *what)
{
    char table[TABLE_NAME_CAP];
    name_table(i, table);
    put_header(b, type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0, family, what);
    mnl_attr_put_strz(nl_batch_message(b), NFTA_TABLE_NAME, table);
}

// A base chain of the filter type. tap: the device of a netdev chain, else NULL.
static void put_chain(struct nl_batch *b, uint8_t family, const struct instance *i, const char *chain,
                      uint32_t hook, const char *tap, uint32_t policy, const char *what)
{
    char table[TABLE_NAME_CAP];
    name_table(i, table);
    put_header(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, family, what);
    struct nlmsghdr *m = nl_batch_message(b);
    mnl_attr_put_strz(m, NFTA_CHAIN_TABLE, table);
    mnl_attr_put_strz(m, NFTA_CHAIN_NAME, chain);
    mnl_attr_put_strz(m, NFTA_CHAIN_TYPE, "filter");
    mnl_attr_put_u32(m, NFTA_CHAIN_POLICY, htonl(policy));
    struct nlattr *h = mnl_attr_nest_start(m, NFTA_CHAIN_HOOK);
    mnl_attr_put_u32(m, NFTA_HOOK_HOOKNUM, htonl(hook));
    mnl_attr_put_u32(m, NFTA_HOOK_PRIORITY, htonl(0));
    if (tap)
        mnl_attr_put_strz(m, NFTA_HOOK_DEV, tap);
    mnl_attr_nest_end(m, h);
}

struct expression {
    struct nlattr *element;
    struct nlattr *data;
};

static struct expression expression_start(struct nlmsghdr *m, const char *name)
{
    struct expression e;
    e.element = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
    mnl_attr_put_strz(m, NFTA_EXPR_NAME, name);
    e.data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
    return e;
}

static void expression_end(struct nlmsghdr *m, struct expression e)
{
    mnl_attr_nest_end(m, e.data);
    mnl_attr_nest_end(m, e.element);
}

static void put_bytes(struct nlmsghdr *m, uint16_t attribute, const void *bytes, uint32_t len)
{
    struct nlattr *data = mnl_attr_nest_start(m, attribute);
    mnl_attr_put(m, NFTA_DATA_VALUE, len, bytes);
    mnl_attr_nest_end(m, data);
}

static void put_mask(struct nlmsghdr *m, const struct match *match)
{
    static const uint8_t no_change[MATCH_BYTES_MAX];
    struct expression e = expression_start(m, "bitwise");
    mnl_attr_put_u32(m, NFTA_BITWISE_SREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(m, NFTA_BITWISE_DREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(m, NFTA_BITWISE_LEN, htonl(match->len));
    put_bytes(m, NFTA_BITWISE_MASK, match->mask, match->len);
    put_bytes(m, NFTA_BITWISE_XOR, no_change, match->len);
    expression_end(m, e);
}

static void put_match(struct nlmsghdr *m, const struct match *match)
{
    struct expression load = expression_start(m, match->base == MATCH_META ? "meta" : "payload");
    if (match->base == MATCH_META) {
        mnl_attr_put_u32(m, NFTA_META_KEY, htonl(match->offset));
        mnl_attr_put_u32(m, NFTA_META_DREG, htonl(NFT_REG_1));
    } else {
        mnl_attr_put_u32(m, NFTA_PAYLOAD_DREG, htonl(NFT_REG_1));
        mnl_attr_put_u32(m, NFTA_PAYLOAD_BASE, htonl((uint32_t)match->base));
        mnl_attr_put_u32(m, NFTA_PAYLOAD_OFFSET, htonl(match->offset));
        mnl_attr_put_u32(m, NFTA_PAYLOAD_LEN, htonl(match->len));
    }
    expression_end(m, load);
    if (match->masked)
        put_mask(m, match);

    struct expression cmp = expression_start(m, "cmp");
    mnl_attr_put_u32(m, NFTA_CMP_SREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(m, NFTA_CMP_OP, htonl(NFT_CMP_EQ));
    put_bytes(m, NFTA_CMP_DATA, match->value, match->len);
    expression_end(m, cmp);
}

static void put_verdict(struct nlmsghdr *m, uint32_t verdict)
{
    struct expression e = expression_start(m, "immediate");
    mnl_attr_put_u32(m, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
    struct nlattr *data = mnl_attr_nest_start(m, NFTA_IMMEDIATE_DATA);
    struct nlattr *v = mnl_attr_nest_start(m, NFTA_DATA_VERDICT);
    mnl_attr_put_u32(m, NFTA_VERDICT_CODE, htonl(verdict));
    mnl_attr_nest_end(m, v);
    mnl_attr_nest_end(m, data);
    expression_end(m, e);
}

static void put_rule(struct nl_batch *b, uint8_t family, const struct instance *i, const char *chain,
                     const struct rule *r)
{
    char table[TABLE_NAME_CAP];
    name_table(i, table);
    put_header(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family, r->what);
    struct nlmsghdr *m = nl_batch_message(b);
    mnl_attr_put_strz(m, NFTA_RULE_TABLE, table);
    mnl_attr_put_strz(m, NFTA_RULE_CHAIN, chain);
    struct nlattr *list = mnl_attr_nest_start(m, NFTA_RULE_EXPRESSIONS);
    for (unsigned n = 0; n < r->n; n++)
        put_match(m, &r->matches[n]);
    put_verdict(m, r->verdict);
    mnl_attr_nest_end(m, list);
}

// Comparing only the first bytes of the name is what nft writes as "evabcd*".
static struct rule our_links_rule(const struct instance *i, uint32_t key, uint32_t verdict, const char *what)
{
    char prefix[IFNAMSIZ];
    name_link_prefix(i, prefix);
    struct rule r = {.what = what, .verdict = verdict};
    rule_match(&r, MATCH_META, key, prefix, (uint32_t)strlen(prefix));
    return r;
}

int net_filter_open(struct netlink *nf, const struct instance *i, struct err *err)
{
    struct rule icmp = our_links_rule(i, NFT_META_IIFNAME, NF_ACCEPT, "let ICMP in");
    rule_match(&icmp, MATCH_META, NFT_META_NFPROTO, &(uint8_t){NFPROTO_IPV4}, 1);
    rule_match(&icmp, MATCH_META, NFT_META_L4PROTO, &(uint8_t){IPPROTO_ICMP}, 1);
    const struct rule no_input = our_links_rule(i, NFT_META_IIFNAME, NF_DROP, "keep all else out");
    const struct rule no_from =
        our_links_rule(i, NFT_META_IIFNAME, NF_DROP, "forward nothing from environments");
    const struct rule no_to = our_links_rule(i, NFT_META_OIFNAME, NF_DROP, "forward nothing to environments");

    int rc = net_filter_remove(nf, i, err);
    if (rc < 0)
        return rc;
    struct nl_batch b;
    batch_begin(&b, nf);
    put_table(&b, NFT_MSG_NEWTABLE, NFPROTO_NETDEV, i, "make the netdev table");
    put_table(&b, NFT_MSG_NEWTABLE, NFPROTO_INET, i, "make the inet table");
    put_chain(&b, NFPROTO_INET, i, "input", NF_INET_LOCAL_IN, NULL, NF_ACCEPT, "make the input chain");
    put_chain(&b, NFPROTO_INET, i, "forward", NF_INET_FORWARD, NULL, NF_ACCEPT, "make the forward chain");
    put_rule(&b, NFPROTO_INET, i, "input", &icmp);
    put_rule(&b, NFPROTO_INET, i, "input", &no_input);
    put_rule(&b, NFPROTO_INET, i, "forward", &no_from);
    put_rule(&b, NFPROTO_INET, i, "forward", &no_to);
    rc = batch_end(nf, &b, err);
    return rc < 0 ? err_wrap(err, rc, "nftables") : 0;
}

int net_filter_remove(struct netlink *nf, const struct instance *i, struct err *err)
{
    static const uint8_t families[] = {NFPROTO_NETDEV, NFPROTO_INET};
    for (unsigned n = 0; n < sizeof families; n++) {
        struct nl_batch b;
        batch_begin(&b, nf);
        put_table(&b, NFT_MSG_DELTABLE, families[n], i, "remove the table");
        int rc = batch_end(nf, &b, err);
        if (rc < 0 && rc != -ENOENT)
            return err_wrap(err, rc, "nftables");
    }
    return 0;
}

static void match_frame(struct rule *r, const struct guest_address *guest, uint16_t ethertype)
{
    // The type is read from the frame itself, so that one with a VLAN tag matches nothing.
    rule_match(r, NFT_PAYLOAD_LL_HEADER, 12, &(uint16_t){htons(ethertype)}, 2);
    rule_match(r, NFT_PAYLOAD_LL_HEADER, 6, guest->mac, 6);
}

static struct rule echo_rule(const struct guest_address *guest, uint32_t gateway, uint8_t icmp_type,
                             const char *what)
{
    struct rule r = {.what = what, .verdict = NF_ACCEPT};
    match_frame(&r, guest, ETHERTYPE_IP);
    // No fragments: of all but the first, the ICMP type would be read from somewhere in the payload.
    rule_match_zero(&r, NFT_PAYLOAD_NETWORK_HEADER, 6, &(uint16_t){htons(IP_MF | IP_OFFMASK)}, 2);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 9, &(uint8_t){IPPROTO_ICMP}, 1);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 12, &(uint32_t){htonl(guest->ipv4)}, 4);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 16, &(uint32_t){htonl(gateway)}, 4);
    rule_match(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, &icmp_type, 1);
    return r;
}

static struct rule arp_rule(const struct guest_address *guest, uint32_t gateway)
{
    // RFC 826: Ethernet, IPv4, address lengths; the operation (6) is free; sender (8, 14); target address
    // (24)
    static const uint8_t kind[6] = {0, 1, 8, 0, 6, 4};
    struct rule r = {.what = "let ARP about the gateway in", .verdict = NF_ACCEPT};
    match_frame(&r, guest, ETHERTYPE_ARP);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 0, kind, sizeof kind);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 8, guest->mac, 6);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 14, &(uint32_t){htonl(guest->ipv4)}, 4);
    rule_match(&r, NFT_PAYLOAD_NETWORK_HEADER, 24, &(uint32_t){htonl(gateway)}, 4);
    return r;
}

int net_filter_add(struct netlink *nf, const struct instance *i, const char *tap,
                   const struct guest_address *guest, uint32_t gateway, struct err *err)
{
    const struct rule request = echo_rule(guest, gateway, ICMP_ECHO, "let echo requests in");
    const struct rule reply = echo_rule(guest, gateway, ICMP_ECHOREPLY, "let echo replies in");
    const struct rule arp = arp_rule(guest, gateway);
    struct nl_batch b;
    batch_begin(&b, nf);
    put_chain(&b, NFPROTO_NETDEV, i, tap, NF_NETDEV_INGRESS, tap, NF_DROP, "make the tap's chain");
    put_rule(&b, NFPROTO_NETDEV, i, tap, &request);
    put_rule(&b, NFPROTO_NETDEV, i, tap, &reply);
    put_rule(&b, NFPROTO_NETDEV, i, tap, &arp);
    int rc = batch_end(nf, &b, err);
    return rc < 0 ? err_wrap(err, rc, "nftables: %s", tap) : 0;
}

int net_filter_drop(struct netlink *nf, const struct instance *i, const char *tap, struct err *err)
{
    char table[TABLE_NAME_CAP];
    name_table(i, table);
    struct nl_batch b;
    batch_begin(&b, nf);
    put_header(&b, NFT_MSG_DELCHAIN, 0, NFPROTO_NETDEV, "drop the tap's chain");
    mnl_attr_put_strz(nl_batch_message(&b), NFTA_CHAIN_TABLE, table);
    mnl_attr_put_strz(nl_batch_message(&b), NFTA_CHAIN_NAME, tap);
    int rc = batch_end(nf, &b, err);
    if (rc == -ENOENT)
        return 0;
    return rc < 0 ? err_wrap(err, rc, "nftables: %s", tap) : 0;
}
