// Owns what is a valid vsock packet and how credit is counted (virtio 1.2, section 5.10.6). No I/O, no state
// but what is passed in.
//
//   0         8         16        20        24    28     30   32      36          40        44
//   | src_cid | dst_cid | src_port | dst_port | len | type | op | flags | buf_alloc | fwd_cnt | payload (len)
#include "virtio/vsock_packet.h"

#include <string.h>

#include <linux/virtio_vsock.h>

_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HEADER_BYTES, "section 5.10.6");

void vsock_header_read(const uint8_t untrusted[VSOCK_HEADER_BYTES], struct vsock_packet *ret)
{
    struct virtio_vsock_hdr h;
    memcpy(&h, untrusted, sizeof h);
    *ret = (struct vsock_packet){
        .src_cid = h.src_cid,
        .dst_cid = h.dst_cid,
        .src_port = h.src_port,
        .dst_port = h.dst_port,
        .len = h.len,
        .type = h.type,
        .op = h.op,
        .flags = h.flags,
        .buf_alloc = h.buf_alloc,
        .fwd_cnt = h.fwd_cnt,
    };
}

void vsock_header_write(uint8_t out[VSOCK_HEADER_BYTES], const struct vsock_packet *packet)
{
    struct virtio_vsock_hdr h = {
        .src_cid = packet->src_cid,
        .dst_cid = packet->dst_cid,
        .src_port = packet->src_port,
        .dst_port = packet->dst_port,
        .len = packet->len,
        .type = packet->type,
        .op = packet->op,
        .flags = packet->flags,
        .buf_alloc = packet->buf_alloc,
        .fwd_cnt = packet->fwd_cnt,
    };
    memcpy(out, &h, sizeof h);
}

enum vsock_verdict vsock_packet_check(const struct vsock_packet *packet, uint64_t payload_bytes,
                                      uint64_t guest_cid)
{
    if (packet->src_cid != guest_cid || packet->dst_cid != VSOCK_HOST_CID ||
        packet->type != VIRTIO_VSOCK_TYPE_STREAM)
        return VSOCK_REFUSE;
    bool carries_data = packet->op == VIRTIO_VSOCK_OP_RW;
    uint32_t flags_allowed =
        packet->op == VIRTIO_VSOCK_OP_SHUTDOWN ? VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND : 0;
    if (packet->op == VIRTIO_VSOCK_OP_INVALID || packet->op > VIRTIO_VSOCK_OP_CREDIT_REQUEST)
        return VSOCK_LYING;
    if (packet->len > payload_bytes || packet->len > (carries_data ? VSOCK_PAYLOAD_MAX : 0))
        return VSOCK_LYING;
    return packet->flags & ~flags_allowed ? VSOCK_LYING : VSOCK_GOOD;
}

bool vsock_credit_heard(struct vsock_credit *credit, const struct vsock_packet *packet)
{
    uint32_t in_flight = credit->tx_cnt - credit->peer_fwd_cnt;
    uint32_t news = packet->fwd_cnt - credit->peer_fwd_cnt;
    if (news > in_flight)
        return news > UINT32_MAX / 2;
    credit->peer_buf_alloc = packet->buf_alloc;
    credit->peer_fwd_cnt = packet->fwd_cnt;
    return true;
}

uint32_t vsock_credit_free(const struct vsock_credit *credit)
{
    uint32_t in_flight = credit->tx_cnt - credit->peer_fwd_cnt;
    return credit->peer_buf_alloc > in_flight ? credit->peer_buf_alloc - in_flight : 0;
}

bool vsock_credit_received(struct vsock_credit *credit, uint32_t len)
{
    uint32_t held = credit->rx_cnt - credit->fwd_cnt;
    if (len > credit->buf_alloc - held)
        return false;
    credit->rx_cnt += len;
    return true;
}

bool vsock_credit_update_due(const struct vsock_credit *credit)
{
    uint32_t believed_held = credit->rx_cnt - credit->told_fwd_cnt;
    return credit->fwd_cnt != credit->told_fwd_cnt && believed_held >= credit->buf_alloc / 2;
}
