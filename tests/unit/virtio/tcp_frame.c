// Owns the frames of the tests: see tcp_frame.h.
#include "tcp_frame.h"

#include <linux/virtio_net.h>
#include <string.h>

static uint8_t *put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    return put16(put16(p, v >> 16), v & 0xffff);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void put_vnet(uint8_t *out, const struct tcp_frame *f, uint8_t gso_type, uint16_t csum_start)
{
    const struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                             .gso_type = f->gso_size ? gso_type : VIRTIO_NET_HDR_GSO_NONE,
                                             .hdr_len = (uint16_t)(csum_start + 20u),
                                             .gso_size = f->gso_size,
                                             .csum_start = csum_start,
                                             .csum_offset = 16};
    memcpy(out, &header, sizeof header);
}

static uint8_t *put_ethernet(uint8_t *p, const struct tcp_frame *f, uint16_t type)
{
    memcpy(p, f->to, 6);
    memcpy(p + 6, f->from, 6);
    return put16(p + 12, type);
}

static void put_tcp(uint8_t *p, const struct tcp_frame *f, uint16_t partial_csum)
{
    p = put16(put16(p, f->sport), f->dport);
    p = put32(put32(p, f->seq), f->ack);
    *p++ = 5 << 4;
    *p++ = f->flags;
    put16(put16(put16(p, 0xffff), partial_csum), 0);
}

uint32_t tcp4_frame(uint8_t *out, const struct tcp_frame *f, uint16_t len)
{
    uint8_t pseudo[12];
    put_vnet(out, f, VIRTIO_NET_HDR_GSO_TCPV4, 34);
    uint8_t *ip = put_ethernet(out + NET_HEADER_BYTES, f, 0x0800), *p = ip;
    p = put16(p, 0x4500);
    p = put16(p, 40u + len);
    p = put32(p, 0x4000); // id 0, no fragmentation
    p = put16(p, 64 << 8 | 6);
    p = put16(p, 0);
    p = put32(put32(p, f->saddr), f->daddr);
    put16(ip + 10, ~sum16(ip, 20, 0) & 0xffff);
    put32(put32(pseudo, f->saddr), f->daddr);
    put16(put16(pseudo + 8, 6), 20u + len);
    put_tcp(p, f, (uint16_t)sum16(pseudo, sizeof pseudo, 0));
    return NET_HEADER_BYTES + TCP4_HEADERS + len;
}

uint32_t tcp6_frame(uint8_t *out, const struct tcp_frame *f, uint16_t len)
{
    put_vnet(out, f, VIRTIO_NET_HDR_GSO_TCPV6, 54);
    uint8_t *p = put_ethernet(out + NET_HEADER_BYTES, f, 0x86dd);
    memset(p, 0, 40);
    p[0] = 6 << 4;
    put16(p + 4, 20u + len);
    p[6] = 6;
    p[7] = 64;
    put_tcp(p + 40, f, 0);
    return NET_HEADER_BYTES + TCP6_HEADERS + len;
}
