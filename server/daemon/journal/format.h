// The bytes of a segment file: what is written, and how they are read when they may be anything. Used by the
// journal's files only; touches no file.
//
//   0     segment header, the rest of its page zeros
//   4096  records, one after the other, each at a multiple of 8
//
// A record belongs to the segment only if it carries the segment's salt, which is random and new each time
// the file is used again: what lies there from before never reads as a record. All numbers are little endian.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMAT_PAGE        4096u
#define FORMAT_FIRST       FORMAT_PAGE // offset of the first record
#define FORMAT_SEGMENT_MIN 65536u
#define FORMAT_SEGMENT_MAX (1u << 30)
#define FORMAT_TYPE_OPEN   0xF0 // the first record of a segment
#define FORMAT_TYPE_FORGET 0xF1 // u64 seqs: the records of these are dead
#define FORMAT_TYPE_OLDEST 0xF2 // u64: segments of a lower order are not needed any more
#define FORMAT_MAGIC       "ENVDJRN1"

// What a segment is. Twice in each: in its header, which is durable before the first record is written, and
// in its first record, so that one damaged page does not take a segment's meaning.
struct format_open {
    uint64_t order;      // of use: segments with a higher one were written later
    uint64_t oldest;     // segments of a lower order than this are not needed any more
    uint64_t next_seq;   // seqs from here on were not used when the segment was made
    uint64_t epoch;      // grows with each opening: which of them made it, for who looks at the files
    uint64_t prev_order; // of the segment that was written before this one; 0: none. Only in the record
    uint64_t prev_end;   // offset of the end of what counts in that one. Only in the record
};

struct format_segment {
    uint8_t magic[8];
    uint64_t salt;
    struct format_open open;
    uint32_t crc; // of what is above
    uint32_t zero;
};
_Static_assert(sizeof(struct format_segment) == 72, "the header of a segment");

struct format_record {
    uint32_t crc; // of what follows in the header, and of the data
    uint32_t len; // of the data, which follows; zeros up to the next multiple of 8
    uint64_t salt;
    uint64_t seq;    // 0 in records of the journal's own
    uint32_t synced; // offset in the segment up to which all was durable when this was written
    uint8_t type;
    uint8_t zero[3];
};
_Static_assert(sizeof(struct format_record) == 32, "the header of a record");

static inline size_t format_round(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

// What a record of len bytes takes in a segment.
static inline size_t format_size(size_t len)
{
    return format_round(sizeof(struct format_record) + len, 8);
}

uint32_t format_crc(const void *data, size_t len);
// Fills the page that a segment begins with.
void format_write_segment(uint8_t page[FORMAT_PAGE], uint64_t salt, const struct format_open *open);
// False: that is no header.
bool format_read_segment(const void *untrusted, size_t len, uint64_t *ret_salt, struct format_open *ret);
// Completes the header in front of its data: at has place for format_size(r->len), the data is there already.
void format_write_record(uint8_t *at, struct format_record r);

// Reads records in a segment's image.
struct format_reader {
    const uint8_t *untrusted; // from the file's beginning
    size_t len, at;
    uint64_t salt;
};

struct format_found {
    size_t offset, size, len;
    uint64_t seq;
    uint32_t synced;
    uint8_t type;
    const uint8_t *data;
};

// The record at reader->at, which then moves behind it. False: there is none.
bool format_next(struct format_reader *reader, struct format_found *ret);
// The next one anywhere behind reader->at: for what lies behind damage. False: none; at stays.
bool format_seek(struct format_reader *reader, struct format_found *ret);
// The first record's data, when it says what the segment is.
bool format_read_open(const struct format_found *f, struct format_open *ret);
