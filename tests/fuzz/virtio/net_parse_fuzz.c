// Fuzzes headers and the start of frames, both ways. Input: u8 features, u16 bytes of the frame, u16 of
// writable buffers, then the prefix; the rest of it is zero.
#include "virtio/net_frame.h"

#include <stdlib.h>
#include <string.h>

#include "net_check.h"

#define F(name) (1ull << VIRTIO_NET_F_##name)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t features_of(uint8_t bits)
{
    static const uint64_t features[8] = {F(CSUM),
                                         F(HOST_TSO4),
                                         F(HOST_TSO6),
                                         F(HOST_ECN),
                                         F(GUEST_CSUM),
                                         F(GUEST_TSO4),
                                         F(GUEST_TSO6) | F(GUEST_ECN),
                                         F(MRG_RXBUF)};
    uint64_t all = 0;
    for (unsigned i = 0; i < 8; i++)
        if (bits & 1u << i)
            all |= features[i];
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t in[5 + NET_PREFIX_BYTES] = {0};
    const char *why = NULL;
    struct net_frame f;
    memcpy(in, data, size < sizeof in ? size : sizeof in);
    const struct net_limits limits = {.features = features_of(in[0]),
                                      .frame_max = NET_MTU + NET_FRAME_OVERHEAD};
    uint64_t readable = (uint64_t)(in[1] | in[2] << 8) + (in[0] & 1),
             writable = (uint64_t)(in[3] | in[4] << 8);
    const uint8_t *prefix = in + 5;
    if (net_parse_transmit(prefix, readable, writable % 2, &limits, &f, &why) == NET_SEND) {
        if (f.bytes != readable - NET_HEADER_BYTES || f.copied_bytes > NET_COPY_MAX ||
            f.copied_bytes > f.bytes || f.packets == 0 || f.wire_bytes < f.bytes)
            abort();
        net_check(f.header, prefix + NET_HEADER_BYTES, f.bytes);
    }
    (void)net_parse_receive(readable % 2, writable, &limits, &why);
    if (net_parse_tap(prefix, readable, &limits, &f)) {
        struct virtio_net_hdr_v1 h;
        memcpy(&h, f.header, sizeof h);
        if (f.packets == 0 || f.wire_bytes < f.bytes || (h.flags && !(limits.features & F(GUEST_CSUM))) ||
            (h.gso_type && !(limits.features & (F(GUEST_TSO4) | F(GUEST_TSO6)))))
            abort();
    }
    return 0;
}
