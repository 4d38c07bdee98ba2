// A block device on a temporary file, and its driver's requests. For the tests of virtio-blk.
#pragma once

#include "block/block.h"
#include "driver.h"
#include "virtio/blk.h"

#define BLK_FEATURE(name) (1ull << VIRTIO_BLK_F_##name)
#define BLK_ALL                                                                                              \
    (VIRTIO_VERSION_1 | BLK_FEATURE(SEG_MAX) | BLK_FEATURE(BLK_SIZE) | BLK_FEATURE(TOPOLOGY) |               \
     BLK_FEATURE(FLUSH) | BLK_FEATURE(DISCARD) | BLK_FEATURE(WRITE_ZEROES))
#define BLK_ALL_RO                                                                                           \
    (VIRTIO_VERSION_1 | BLK_FEATURE(SEG_MAX) | BLK_FEATURE(BLK_SIZE) | BLK_FEATURE(TOPOLOGY) |               \
     BLK_FEATURE(RO))
#define BLK_NO_STATUS 0xee // what the status byte was before

struct blk_fixture {
    struct driver driver;
    struct block_backend *backend;
    struct virtio_blk *blk;
    int failed_with; // what the device told of its last failure
};

// A new file of that many bytes, already without a name. Byte i is blk_pattern(seed, i); seed 0: a hole.
int blk_file(uint64_t bytes, uint8_t seed);
uint8_t blk_pattern(uint8_t seed, uint64_t at);

// The fixture owns the back end from here on. start: with the loop on its own thread.
void blk_make(struct blk_fixture *f, struct block_backend *backend, uint64_t features,
              struct virtio_blk_rate rate);
void blk_start(struct blk_fixture *f, struct block_backend *backend, uint64_t features);
// Ends the device and closes the back end. All zero is fine.
void blk_stop(struct blk_fixture *f);

// Where a request's parts are.
struct blk_request_at {
    uint16_t head;
    uint64_t data, status;
};
// Makes a request of header, readable data, writable room and status available; no kick.
struct blk_request_at blk_push(struct blk_fixture *f, uint32_t type, uint64_t sector, const void *out,
                               uint32_t out_bytes, uint32_t in_bytes);
uint8_t blk_status(struct blk_fixture *f, const struct blk_request_at *at);
// One request from push to completion. in gets the data read. The status; *ret_used may be NULL.
uint8_t blk_do(struct blk_fixture *f, uint32_t type, uint64_t sector, const void *out, uint32_t out_bytes,
               void *in, uint32_t in_bytes, uint32_t *ret_used);
// As blk_do, for a range.
uint8_t blk_do_range(struct blk_fixture *f, uint32_t type, uint64_t sector, uint32_t n_sectors,
                     uint32_t flags);
