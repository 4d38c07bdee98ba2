// virtio-balloon (virtio 1.2, section 5.5) with free-page reporting: memory that the guest does not use goes
// back to the host. Made by the machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

#define VIRTIO_BALLOON_PAGE_BYTES 4096u

struct virtio_balloon;

struct virtio_balloon_counts {
    uint64_t inflated_bytes; // in the balloon now, as its driver says: a claim, any number
    uint64_t returned_bytes; // given back to the host since the start, inflated and reported together
};

// 0 or -errno. The guest's memory must be a private anonymous mapping: discarded pages read as zero.
int virtio_balloon_new(struct virtio_balloon **ret, const struct virtio_machine *machine, struct err *err);
// I/O thread, or when it has ended. NULL is fine.
void virtio_balloon_free(struct virtio_balloon *balloon);
struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon);
// Asks the guest to keep that many pages in the balloon, more or fewer than now; it takes its time, and takes
// them back when it is out of memory (DEFLATE_ON_OOM). I/O thread.
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t n_pages);
// I/O thread.
struct virtio_balloon_counts virtio_balloon_counts(struct virtio_balloon *balloon);
