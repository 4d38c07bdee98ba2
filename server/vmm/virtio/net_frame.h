// What a guest's network requests say, apart from performing them: pure, and fuzzed. Used by net.c.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NET_HEADER_BYTES 12u   // struct virtio_net_hdr_v1
#define NET_FRAME_MIN    14u   // an Ethernet header
#define NET_FRAME_MAX    1518u // 1500 bytes of payload, with a VLAN tag

enum net_verdict {
    NET_SEND,   // a frame follows the header
    NET_REFUSE, // not a frame to send, but no harm to the queue: counted and completed
    NET_BREAK,  // not a request at all: the device breaks, *ret_why says why
};

// A transmit request of that many readable and writable bytes, whose first NET_HEADER_BYTES are in
// untrusted_header (fewer when readable_bytes is smaller). *ret_frame_bytes is set for NET_SEND.
enum net_verdict net_parse_transmit(const uint8_t untrusted_header[NET_HEADER_BYTES], uint64_t readable_bytes,
                                    uint64_t writable_bytes, size_t *ret_frame_bytes, const char **ret_why);
// A receive request. NET_SEND with *ret_room, the largest frame it can take (up to NET_FRAME_MAX), or
// NET_BREAK.
enum net_verdict net_parse_receive(uint64_t readable_bytes, uint64_t writable_bytes, size_t *ret_room,
                                   const char **ret_why);
