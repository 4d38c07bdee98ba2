// Frames of TCP over IPv4 and IPv6, as a guest with offloads writes them: behind a vnet header, with a TCP
// checksum of the pseudo header only.
#pragma once

#include <stdint.h>

#include "virtio/net_frame.h"

#define TCP4_HEADERS (14u + 20u + 20u)
#define TCP6_HEADERS (14u + 40u + 20u)

struct tcp_frame {
    uint8_t to[6], from[6];
    uint32_t saddr, daddr; // IPv4, host byte order
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint8_t flags;     // TCP's
    uint16_t gso_size; // 0: not to be cut
};

// Writes header and frame of len bytes of payload, which is the caller's to fill in behind NET_HEADER_BYTES +
// TCP4_HEADERS. Returns the number of bytes before the payload's end.
uint32_t tcp4_frame(uint8_t *out, const struct tcp_frame *f, uint16_t len);
// The same over IPv6, from and to addresses that are all zero; no checksum of the pseudo header.
uint32_t tcp6_frame(uint8_t *out, const struct tcp_frame *f, uint16_t len);
