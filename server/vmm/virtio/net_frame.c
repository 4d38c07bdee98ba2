// Owns what is acceptable in virtio-net requests (virtio 1.2, section 5.1.6). Called by net.c and the fuzz
// target.
//
// A guest's header tells the host's kernel where to write a checksum and where to cut. The kernel checks that
// both lie inside the frame and trusts the rest: a checksum that is filled in behind the host's packet filter
// could forge the addresses that the filter has checked, and a frame cut into single bytes is a flood. So
// offloads are taken only where headers, read from a copy that also goes to the tap, say that they are TCP or
// UDP directly in IPv4 or IPv6, unfragmented; the header for the tap is made anew from these.
#include "virtio/net_frame.h"

#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

#include "common/checked.h"

#define FEATURE(name)    (1ull << VIRTIO_NET_F_##name)
#define ETHERTYPE_OFFSET 12u
#define ETHERTYPE_IPV4   0x0800u
#define ETHERTYPE_IPV6   0x86ddu
#define ETHERTYPE_VLAN   0x8100u
#define VLAN_BYTES       4u
#define IPV4_BYTES_MIN   20u
#define IPV6_BYTES       40u
#define TCP_BYTES_MIN    20u
#define UDP_BYTES        8u
#define TCP_CSUM_OFFSET  16u
#define UDP_CSUM_OFFSET  6u

_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_BYTES, "section 5.1.6");

// Where the headers of a frame are.
struct layers {
    bool is_ipv6, is_tcp;
    size_t l4;      // offset of the TCP or UDP header
    size_t payload; // and of what is behind it
};

static unsigned load_be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static bool find_ipv4(const uint8_t *p, size_t len, size_t at, struct layers *ret, uint8_t *ret_protocol)
{
    if (len < at + IPV4_BYTES_MIN || p[at] >> 4 != 4)
        return false;
    size_t ip_bytes = 4ul * (p[at] & 0xf);
    if (ip_bytes < IPV4_BYTES_MIN || (load_be16(p + at + 6) & 0x3fff) != 0) // more fragments, or a later one
        return false;
    ret->l4 = at + ip_bytes;
    *ret_protocol = p[at + 9];
    return true;
}

static bool find_ipv6(const uint8_t *p, size_t len, size_t at, struct layers *ret, uint8_t *ret_protocol)
{
    if (len < at + IPV6_BYTES || p[at] >> 4 != 6)
        return false;
    ret->is_ipv6 = true;
    ret->l4 = at + IPV6_BYTES;
    *ret_protocol = p[at + 6];
    return true;
}

static bool find_l4(const uint8_t *p, size_t len, uint8_t protocol, struct layers *ret)
{
    size_t header_bytes = UDP_BYTES;
    ret->is_tcp = protocol == IPPROTO_TCP;
    if (ret->is_tcp) {
        if (len < ret->l4 + TCP_BYTES_MIN)
            return false;
        header_bytes = 4ul * (p[ret->l4 + 12] >> 4);
        if (header_bytes < TCP_BYTES_MIN)
            return false;
    } else if (protocol != IPPROTO_UDP) {
        return false;
    }
    ret->payload = ret->l4 + header_bytes;
    return ret->payload <= len;
}

// The first len bytes of a frame, at most NET_COPY_MAX. False: not TCP or UDP as described above.
static bool find_layers(const uint8_t *p, size_t len, struct layers *ret)
{
    *ret = (struct layers){0};
    size_t type_at = ETHERTYPE_OFFSET;
    if (len >= NET_FRAME_MIN + VLAN_BYTES && load_be16(p + type_at) == ETHERTYPE_VLAN)
        type_at += VLAN_BYTES;
    unsigned type = load_be16(p + type_at);
    uint8_t protocol;
    bool found = type == ETHERTYPE_IPV4   ? find_ipv4(p, len, type_at + 2, ret, &protocol)
                 : type == ETHERTYPE_IPV6 ? find_ipv6(p, len, type_at + 2, ret, &protocol)
                                          : false;
    return found && find_l4(p, len, protocol, ret);
}

// Packets, and the bytes of all of them, that a frame becomes.
static void count_segments(struct net_frame *f, size_t header_bytes, size_t gso_size)
{
    f->packets = 1;
    if (gso_size > 0 && f->bytes > header_bytes)
        f->packets = (uint32_t)((f->bytes - header_bytes + gso_size - 1) / gso_size);
    f->wire_bytes = f->bytes + (f->packets - 1ull) * header_bytes;
}

static const struct gso {
    uint8_t type;
    bool is_ipv6;
    uint64_t host_feature, guest_feature;
} gso_types[] = {
    {VIRTIO_NET_HDR_GSO_TCPV4, false, FEATURE(HOST_TSO4), FEATURE(GUEST_TSO4)},
    {VIRTIO_NET_HDR_GSO_TCPV6, true, FEATURE(HOST_TSO6), FEATURE(GUEST_TSO6)},
};

static const struct gso *find_gso(uint8_t type)
{
    for (size_t i = 0; i < ARRAY_LEN(gso_types); i++)
        if (gso_types[i].type == (type & ~VIRTIO_NET_HDR_GSO_ECN))
            return &gso_types[i];
    return NULL;
}

// Cutting, of a frame whose checksum is to be filled in.
static bool check_gso(const struct virtio_net_hdr_v1 *asked, const struct layers *l,
                      const struct net_limits *limits, struct net_frame *f)
{
    const struct gso *gso = find_gso(asked->gso_type);
    if (!gso || !(limits->features & gso->host_feature) || !l->is_tcp || gso->is_ipv6 != l->is_ipv6)
        return false;
    if ((asked->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !(limits->features & FEATURE(HOST_ECN)))
        return false;
    if (asked->gso_size == 0 || l->payload + asked->gso_size > limits->frame_max || f->bytes <= l->payload ||
        f->bytes > NET_FRAME_GSO_MAX)
        return false;
    count_segments(f, l->payload, asked->gso_size);
    return f->packets <= NET_SEGMENTS_MAX;
}

static bool check_offloads(const uint8_t *prefix, const struct virtio_net_hdr_v1 *asked,
                           const struct net_limits *limits, struct net_frame *f)
{
    struct layers l;
    bool cut = asked->gso_type != VIRTIO_NET_HDR_GSO_NONE;
    f->copied_bytes = f->bytes < NET_COPY_MAX ? f->bytes : NET_COPY_MAX;
    // A frame to be cut needs its checksums filled in (section 5.1.6.2.1).
    if (!(limits->features & FEATURE(CSUM)) || !(asked->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) ||
        !find_layers(prefix + NET_HEADER_BYTES, f->copied_bytes, &l))
        return false;
    if (asked->csum_start != l.l4 || asked->csum_offset != (l.is_tcp ? TCP_CSUM_OFFSET : UDP_CSUM_OFFSET))
        return false;
    if (cut ? !check_gso(asked, &l, limits, f) : f->bytes > limits->frame_max)
        return false;
    const struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                             .gso_type = asked->gso_type,
                                             .hdr_len = (uint16_t)l.payload,
                                             .gso_size = cut ? asked->gso_size : 0,
                                             .csum_start = asked->csum_start,
                                             .csum_offset = asked->csum_offset};
    memcpy(f->header, &header, sizeof header);
    return true;
}

enum net_verdict net_parse_transmit(const uint8_t untrusted_prefix[NET_PREFIX_BYTES], uint64_t readable_bytes,
                                    uint64_t writable_bytes, const struct net_limits *limits,
                                    struct net_frame *ret, const char **ret_why)
{
    if (writable_bytes > 0) {
        *ret_why = "a transmit request with writable buffers";
        return NET_BREAK;
    }
    if (readable_bytes < NET_HEADER_BYTES) {
        *ret_why = "a transmit request shorter than its header";
        return NET_BREAK;
    }
    struct virtio_net_hdr_v1 asked;
    memcpy(&asked, untrusted_prefix, sizeof asked);
    uint64_t bytes = readable_bytes - NET_HEADER_BYTES;
    if (bytes < NET_FRAME_MIN || bytes > NET_FRAME_GSO_MAX)
        return NET_REFUSE;
    struct net_frame f = {.bytes = bytes, .packets = 1, .wire_bytes = bytes};
    // Flags that we do not know mean nothing (section 5.1.6.2.2).
    bool plain = !(asked.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && asked.gso_type == VIRTIO_NET_HDR_GSO_NONE;
    if (plain ? bytes > limits->frame_max : !check_offloads(untrusted_prefix, &asked, limits, &f))
        return NET_REFUSE;
    *ret = f;
    return NET_SEND;
}

enum net_verdict net_parse_receive(uint64_t readable_bytes, uint64_t writable_bytes,
                                   const struct net_limits *limits, const char **ret_why)
{
    // Buffers that frames may run through need not hold a frame each (section 5.1.6.3.1).
    uint64_t needed = NET_HEADER_BYTES;
    if (!(limits->features & FEATURE(MRG_RXBUF)))
        needed += NET_FRAME_MIN;
    if (readable_bytes > 0) {
        *ret_why = "a receive request with readable buffers";
        return NET_BREAK;
    }
    if (writable_bytes < needed) {
        *ret_why = "a receive buffer that holds no frame";
        return NET_BREAK;
    }
    return NET_SEND;
}

size_t net_receive_max(const struct net_limits *limits)
{
    bool cut = limits->features & (FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6));
    return cut ? NET_FRAME_GSO_MAX : limits->frame_max;
}

// The tap's header, as far as the guest has agreed to it. False: there is more in it.
static bool pass_header(const struct virtio_net_hdr_v1 *tap, uint64_t features, struct virtio_net_hdr_v1 *ret)
{
    if (features & FEATURE(GUEST_CSUM))
        ret->flags = tap->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
    else if (tap->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        return false;
    if (ret->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        ret->csum_start = tap->csum_start;
        ret->csum_offset = tap->csum_offset;
    }
    if (tap->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return true;
    const struct gso *gso = find_gso(tap->gso_type);
    if (!gso || !(features & gso->guest_feature) ||
        ((tap->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !(features & FEATURE(GUEST_ECN))))
        return false;
    ret->gso_type = tap->gso_type;
    ret->gso_size = tap->gso_size;
    ret->hdr_len = tap->hdr_len;
    return true;
}

bool net_parse_tap(const uint8_t tap_header[NET_HEADER_BYTES], size_t bytes, const struct net_limits *limits,
                   struct net_frame *ret)
{
    struct virtio_net_hdr_v1 tap, header = {0};
    memcpy(&tap, tap_header, sizeof tap);
    if (bytes < NET_FRAME_MIN || !pass_header(&tap, limits->features, &header))
        return false;
    // On the wire: only for counting, so the shortest TCP header will do.
    size_t header_bytes = (size_t)header.csum_start + TCP_BYTES_MIN;
    *ret = (struct net_frame){.bytes = bytes};
    count_segments(ret, header_bytes, header.gso_size);
    memcpy(ret->header, &header, sizeof header);
    return true;
}

unsigned net_tap_offloads(uint64_t features)
{
    static const struct {
        uint64_t feature;
        unsigned offload;
    } table[] = {{FEATURE(GUEST_CSUM), TUN_F_CSUM},
                 {FEATURE(GUEST_TSO4), TUN_F_TSO4},
                 {FEATURE(GUEST_TSO6), TUN_F_TSO6},
                 {FEATURE(GUEST_ECN), TUN_F_TSO_ECN}};
    unsigned offloads = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (features & table[i].feature)
            offloads |= table[i].offload;
    return offloads;
}
