// Owns what is acceptable in virtio-net requests (virtio 1.2, section 5.1.6). Called by net.c and the fuzz
// target.
#include "virtio/net_frame.h"

#include <linux/virtio_net.h>
#include <string.h>

_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_BYTES, "section 5.1.6");

enum net_verdict net_parse_transmit(const uint8_t untrusted_header[NET_HEADER_BYTES], uint64_t readable_bytes,
                                    uint64_t writable_bytes, size_t *ret_frame_bytes, const char **ret_why)
{
    if (writable_bytes > 0) {
        *ret_why = "a transmit request with writable buffers";
        return NET_BREAK;
    }
    if (readable_bytes < NET_HEADER_BYTES) {
        *ret_why = "a transmit request shorter than its header";
        return NET_BREAK;
    }
    struct virtio_net_hdr_v1 header;
    memcpy(&header, untrusted_header, sizeof header);
    uint64_t frame_bytes = readable_bytes - NET_HEADER_BYTES;
    // No offload is offered, so none may be asked for (section 5.1.6.2.1).
    if (header.flags != 0 || header.gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return NET_REFUSE;
    if (frame_bytes < NET_FRAME_MIN || frame_bytes > NET_FRAME_MAX)
        return NET_REFUSE;
    *ret_frame_bytes = frame_bytes;
    return NET_SEND;
}

enum net_verdict net_parse_receive(uint64_t readable_bytes, uint64_t writable_bytes, size_t *ret_room,
                                   const char **ret_why)
{
    if (readable_bytes > 0) {
        *ret_why = "a receive request with readable buffers";
        return NET_BREAK;
    }
    if (writable_bytes < NET_HEADER_BYTES + NET_FRAME_MIN) {
        *ret_why = "a receive buffer that holds no frame";
        return NET_BREAK;
    }
    uint64_t room = writable_bytes - NET_HEADER_BYTES;
    *ret_room = room < NET_FRAME_MAX ? room : NET_FRAME_MAX;
    return NET_SEND;
}
