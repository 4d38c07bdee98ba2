// virtio-net on a tap (virtio 1.2, section 5.1): one pair of queues, checksum and segmentation offloads, rate
// limits. Made by the machine, runs on the I/O thread. The tap's frames carry a 12-byte vnet header.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virtio/device.h"

// Token buckets of a tenth of a second, at least 64 packets and 64 KiB; 0 = unlimited. A frame that the host
// or the guest cuts into segments counts as these, each with its headers.
struct virtio_net_rate {
    uint64_t packets_per_s;
    uint64_t bits_per_s;
};

struct virtio_net_options {
    int tap_fd; // non-blocking; IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, header size 12. Stays the caller's,
                // outlives the device
    uint8_t mac[6];
    uint16_t mtu;  // of the network: longer frames are dropped, and the guest is told; 0: 1500, untold
    bool offloads; // offer checksums, segmentation and mergeable buffers; needs ioctl TUNSETOFFLOAD on the
                   // tap for those towards the guest, and does without them where that fails
    struct virtio_net_rate to_guest, from_guest;
};

// Frames and bytes without the header. dropped: frames refused (short, oversized, no room in the guest's
// buffer, refused by the tap).
struct virtio_net_counters {
    uint64_t to_guest_frames, to_guest_bytes, to_guest_dropped;
    uint64_t from_guest_frames, from_guest_bytes, from_guest_dropped;
};

struct virtio_net;

// 0 or -errno.
int virtio_net_new(struct virtio_net **ret, const struct virtio_machine *machine,
                   const struct virtio_net_options *options, struct err *err);
// I/O thread, or when it has ended. NULL is fine.
void virtio_net_free(struct virtio_net *net);
struct virtio_device *virtio_net_device(struct virtio_net *net);
// Any thread.
struct virtio_net_counters virtio_net_counters(struct virtio_net *net);
