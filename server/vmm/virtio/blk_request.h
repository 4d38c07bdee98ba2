// What a guest's block requests say, apart from performing them: pure, and fuzzed. Used by blk.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLK_SECTOR_BYTES  512u
#define BLK_HEADER_BYTES  16u // struct virtio_blk_outhdr
#define BLK_SEGMENT_BYTES 16u // struct virtio_blk_discard_write_zeroes
#define BLK_ID_BYTES      20u
#define BLK_STATUS_BYTES  1u
#define BLK_PREFIX_BYTES  (BLK_HEADER_BYTES + BLK_SEGMENT_BYTES)
// One range per request, of at most 1 GiB.
#define BLK_SEGMENTS_MAX        1u
#define BLK_SEGMENT_SECTORS_MAX (1u << 21)

enum blk_verb { BLK_IN, BLK_OUT, BLK_FLUSH, BLK_GET_ID, BLK_DISCARD, BLK_WRITE_ZEROES };

struct blk_request {
    enum blk_verb verb;
    bool unmap;             // WRITE_ZEROES
    uint64_t offset, bytes; // of the disk; not for FLUSH and GET_ID
};

// What the device is and has agreed to.
struct blk_limits {
    uint64_t disk_bytes;
    uint64_t features; // negotiated
    bool read_only;
};

enum blk_verdict {
    BLK_PERFORM,
    BLK_REFUSE, // completed with *ret_status
    BLK_BREAK,  // no request at all, nowhere to put a status: the device breaks, *ret_why says why
};

// A request of that many readable and writable bytes, the status included, whose first BLK_PREFIX_BYTES are
// in untrusted_prefix (fewer when readable_bytes is smaller). ret is set for PERFORM.
enum blk_verdict blk_parse(const uint8_t untrusted_prefix[BLK_PREFIX_BYTES], uint64_t readable_bytes,
                           uint64_t writable_bytes, const struct blk_limits *limits, struct blk_request *ret,
                           uint8_t *ret_status, const char **ret_why);
