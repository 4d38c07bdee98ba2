// What must be true of anything that virtio-net gives to a tap, whatever the guest wrote: for fuzz targets.
#pragma once

#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/net_frame.h"

// header: the tap's; frame: at least its first NET_COPY_MAX bytes where it is so long; bytes: of the frame.
// No checksum is written but into TCP or UDP, behind what a packet filter reads; segments are as long as
// frames, and not too many.
static inline void net_check(const uint8_t header[NET_HEADER_BYTES], const uint8_t *frame, size_t bytes)
{
    static const struct virtio_net_hdr_v1 none;
    struct virtio_net_hdr_v1 h;
    memcpy(&h, header, sizeof h);
    if (bytes < NET_FRAME_MIN)
        abort();
    if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE && (bytes > NET_MTU + NET_FRAME_OVERHEAD || h.gso_size != 0))
        abort();
    if (h.flags == 0) {
        if (memcmp(&h, &none, sizeof h) != 0)
            abort();
        return;
    }
    size_t tag = frame[12] == 0x81 && frame[13] == 0 ? 4 : 0;
    bool is_ipv4 = frame[12 + tag] == 0x08;
    uint8_t protocol = is_ipv4 ? frame[14 + tag + 9] : frame[14 + tag + 6];
    size_t l4 = 14 + tag + (is_ipv4 ? 4ul * (frame[14 + tag] & 0xf) : 40);
    if (h.flags != VIRTIO_NET_HDR_F_NEEDS_CSUM || h.csum_start != l4 || h.hdr_len > bytes ||
        h.hdr_len < h.csum_start + h.csum_offset + 2 || h.num_buffers != 0)
        abort();
    if (!(protocol == 6 && h.csum_offset == 16) && !(protocol == 17 && h.csum_offset == 6))
        abort();
    if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return;
    if (protocol != 6 || h.gso_size == 0 || h.hdr_len + h.gso_size > NET_MTU + NET_FRAME_OVERHEAD ||
        bytes > NET_FRAME_GSO_MAX || (bytes - h.hdr_len) / h.gso_size > NET_SEGMENTS_MAX)
        abort();
}
