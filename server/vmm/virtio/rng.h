// virtio-rng (virtio 1.2, section 5.4): the host's random numbers, bounded per request and per second. Made
// by the machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

struct virtio_rng;

// bytes_per_s: 0 = unlimited. 0 or -errno.
int virtio_rng_new(struct virtio_rng **ret, const struct virtio_machine *machine, uint64_t bytes_per_s,
                   struct err *err);
// I/O thread, or when it has ended. NULL is fine.
void virtio_rng_free(struct virtio_rng *rng);
struct virtio_device *virtio_rng_device(struct virtio_rng *rng);
