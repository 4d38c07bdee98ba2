// The file format of a copy-on-write overlay: its header, as bytes and as a struct. Pure, and fuzzed.
//
//   0            magic "envdcow\n"
//   8            u32 version, 1
//   12           u32 block_bytes: a power of two, 4096..65536
//   16           u64 disk_bytes: what the guest sees, a multiple of 512
//   24           u64 base_bytes: of the image below, at most disk_bytes; the rest reads as zero
//   32           u64 bitmap_offset: 4096
//   40           u64 data_offset: behind the bitmap, a multiple of block_bytes
//   48           u8 base_id[32]: names the image below; all zero: any
//   80           u32 CRC-32 (IEEE 802.3) of bytes 0..79
//   84..4095     zero
//   bitmap_offset  bit i % 8 of byte i / 8: block i of the disk is in this file
//   data_offset    the disk's blocks at their own offsets; sparse where they are in the image only
//
// All little endian. The header is written once, before the file is first used. A bit is set in the file only
// after its block is known to be on stable storage, so whatever the file is after a kill or a power cut, each
// bit says the truth about its block.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define OVERLAY_HEADER_BYTES 4096u
#define OVERLAY_BLOCK_MIN    4096u
#define OVERLAY_BLOCK_MAX    65536u
#define OVERLAY_PAGE_BYTES   4096u       // the bitmap is written in pages of this size
#define OVERLAY_BITMAP_MAX   (64u << 20) // bytes: 2 TiB of the smallest blocks
#define OVERLAY_ID_BYTES     32u

struct overlay_header {
    uint32_t block_bytes;
    uint64_t disk_bytes, base_bytes;
    uint64_t n_blocks;     // the last one may reach beyond the disk
    uint64_t bitmap_bytes; // in the file: whole pages
    uint64_t data_offset;
    uint64_t file_bytes;
    uint8_t base_id[OVERLAY_ID_BYTES];
};

// From block_bytes, disk_bytes, base_bytes and base_id to all of it. 0 or -EINVAL.
int overlay_header_complete(struct overlay_header *header, struct err *err);
// A completed header as bytes.
void overlay_header_encode(const struct overlay_header *header, uint8_t out[OVERLAY_HEADER_BYTES]);
// untrusted_bytes: the file's first len bytes; file_bytes: its size. 0, -EINVAL (not an overlay, or a broken
// one), or -ENOTSUP (of another version).
int overlay_header_parse(const uint8_t *untrusted_bytes, size_t len, uint64_t file_bytes,
                         struct overlay_header *ret, struct err *err);
