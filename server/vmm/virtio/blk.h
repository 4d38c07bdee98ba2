// virtio-blk on a back end (virtio 1.2, section 5.2): one queue, asynchronous, rate limits. Made by the
// machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "block/block.h"
#include "virtio/device.h"

// Token buckets of a tenth of a second, at least 64 requests and 1 MiB; 0 = unlimited. Requests of all kinds
// count; bytes are those read and written.
struct virtio_blk_rate {
    uint64_t requests_per_s;
    uint64_t bytes_per_s;
};

struct virtio_blk_options {
    struct block_backend *backend; // stays the caller's, outlives the device; no one else uses it
    char id[21];                   // at most 20 bytes: /dev/disk/by-id/virtio-<id>
    struct virtio_blk_rate rate;
    // The host could not do a request: error is its reason, -errno. Any thread, the device's lock held. May
    // be NULL.
    void (*failed)(void *arg, int error);
    void *arg;
};

// Requests that were done, and bytes moved. refused: the guest asked for what it may not have. failed: the
// host could not (no space, an I/O error); the last of its reasons is last_error (-errno).
struct virtio_blk_counters {
    uint64_t reads, read_bytes, writes, written_bytes;
    uint64_t flushes, discards, zeroes, refused, failed;
    int last_error;
};

struct virtio_blk;

// 0 or -errno; -EPERM or -ENOSYS where the host has no io_uring for us.
int virtio_blk_new(struct virtio_blk **ret, const struct virtio_machine *machine,
                   const struct virtio_blk_options *options, struct err *err);
// I/O thread, or when it has ended. Waits for the I/O that runs; what was written without a flush is with the
// host's kernel. NULL is fine.
void virtio_blk_free(struct virtio_blk *blk);
struct virtio_device *virtio_blk_device(struct virtio_blk *blk);
// Any thread.
struct virtio_blk_counters virtio_blk_counters(struct virtio_blk *blk);
