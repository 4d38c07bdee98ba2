// What a guest's network requests say, apart from performing them: pure, and fuzzed. Used by net.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_HEADER_BYTES   12u   // struct virtio_net_hdr_v1
#define NET_FRAME_MIN      14u   // an Ethernet header
#define NET_FRAME_OVERHEAD 18u   // what a frame has beyond its payload: header and VLAN tag
#define NET_MTU            1500u // of a network that has no other
#define NET_FRAME_GSO_MAX  (65535u + NET_FRAME_OVERHEAD) // a frame that is to be cut
#define NET_SEGMENTS_MAX   2048u                         // that one frame may be cut into
#define NET_COPY_MAX       138u                          // Ethernet, VLAN, the longest IPv4 and TCP headers
#define NET_PREFIX_BYTES   (NET_HEADER_BYTES + NET_COPY_MAX)

enum net_verdict {
    NET_SEND,   // a frame follows the header
    NET_REFUSE, // not a frame to send, but no harm to the queue: counted and completed
    NET_BREAK,  // not a request at all: the device breaks, *ret_why says why
};

// What the device has agreed to.
struct net_limits {
    uint64_t features; // negotiated
    size_t frame_max;  // bytes of a frame on the wire
};

// A frame, to be sent or received.
struct net_frame {
    uint8_t header[NET_HEADER_BYTES]; // made by us, field by field, of what was found right
    size_t bytes;                     // without the header
    size_t
        copied_bytes; // of the frame's start, from the prefix that was checked: the guest's may differ by now
    uint32_t packets; // and bytes on the wire, after it was cut
    uint64_t wire_bytes;
};

// A transmit request of that many readable and writable bytes, whose first NET_PREFIX_BYTES are in
// untrusted_prefix (fewer when readable_bytes is smaller). *ret is set for NET_SEND.
enum net_verdict net_parse_transmit(const uint8_t untrusted_prefix[NET_PREFIX_BYTES], uint64_t readable_bytes,
                                    uint64_t writable_bytes, const struct net_limits *limits,
                                    struct net_frame *ret, const char **ret_why);
// A receive buffer: NET_SEND or NET_BREAK.
enum net_verdict net_parse_receive(uint64_t readable_bytes, uint64_t writable_bytes,
                                   const struct net_limits *limits, const char **ret_why);
// The longest frame the tap may give, without the header.
size_t net_receive_max(const struct net_limits *limits);
// A frame of `bytes` that the tap gave behind this header. False: it is not to be received, being too short
// or asking for what the guest has not agreed to (it was queued before a reset). *ret is set when true.
bool net_parse_tap(const uint8_t tap_header[NET_HEADER_BYTES], size_t bytes, const struct net_limits *limits,
                   struct net_frame *ret);
// What TUNSETOFFLOAD is to say.
unsigned net_tap_offloads(uint64_t features);
