// A disk that is a read-only image with a copy-on-write overlay over it (overlay_format.h). What a flush
// covered is there whatever happens to the process or the host; what no flush covered may be lost, block by
// block, back to what the last flush or the image had.
#pragma once

#include "block/block.h"
#include "block/overlay_format.h"
#include "common/err.h"

struct block_overlay_options {
    int base_fd; // the image, readable. Both stay the caller's and outlive the back end
    int file_fd; // the overlay, readable and writable; locked (flock) against a second back end
    // Must be the header's, unless either is all zero.
    uint8_t base_id[OVERLAY_ID_BYTES];
};

// Makes an empty file an overlay over an image, durably. disk_bytes: 0 = the image's size (rounded up to
// whole sectors). block_bytes: 0 = the smallest. A file where this was cut short is not an overlay yet. 0 or
// -errno; -EEXIST when the file is not empty.
int block_overlay_format(const struct block_overlay_options *options, uint64_t disk_bytes,
                         uint32_t block_bytes, struct err *err);
// 0, -EBUSY (in use), -EINVAL or -ENOTSUP (see overlay_header_parse()), -ESTALE (another image, or one that
// changed its size), or -errno.
int block_overlay_open(struct block_backend **ret, const struct block_overlay_options *options,
                       struct err *err);
