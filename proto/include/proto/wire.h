// Byte cursors: the one way in which wire formats are read and written. Little endian, no alignment, no allocation.
// Used by every codec in proto/; knows nothing of what is encoded. Freestanding: also built into the cell kernel.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A decoder's complaint: a constant sentence and the offset, in bytes, at which it was found. `what` is NULL while all
// is well; the first complaint sticks.
struct wire_error {
    const char *what;
    size_t offset;
};

// Bytes that belong to somebody else; valid as long as the buffer that was decoded.
struct wire_view {
    const uint8_t *data;
    size_t len;
};

// Reading. After a failure every further read yields zero or an empty view, so a decoder may read all its fields and
// test once with wire_reader_ok().
struct wire_reader {
    const uint8_t *data;
    size_t len;
    size_t pos;
    struct wire_error error;
};

void wire_reader_init(struct wire_reader *r, const void *data, size_t len);
uint8_t wire_read_u8(struct wire_reader *r);
uint16_t wire_read_u16(struct wire_reader *r);
uint32_t wire_read_u32(struct wire_reader *r);
uint64_t wire_read_u64(struct wire_reader *r);
// Copies exactly n bytes to out; on failure out is zeroed.
void wire_read_raw(struct wire_reader *r, void *out, size_t n);
// u16 length, then that many bytes of valid UTF-8 without NUL; longer than max is an error.
struct wire_view wire_read_str(struct wire_reader *r, size_t max);
// u32 length, then that many bytes; longer than max is an error.
struct wire_view wire_read_bytes(struct wire_reader *r, size_t max);
// Records a complaint at the current position, unless there is one already.
void wire_reader_fail(struct wire_reader *r, const char *what);
// The same for a field that was read already and turned out wrong: offset is where it began.
void wire_reader_fail_at(struct wire_reader *r, size_t offset, const char *what);
// True when nothing failed.
bool wire_reader_ok(const struct wire_reader *r);
// True when nothing failed and every byte was read; complains "trailing bytes" otherwise.
bool wire_reader_end(struct wire_reader *r);

// Writing into a caller's buffer. Past the end `overflow` is set and nothing more is written; `pos` goes on counting, so
// a first pass with cap 0 measures.
struct wire_writer {
    uint8_t *data;
    size_t cap;
    size_t pos;
    bool overflow;
};

void wire_writer_init(struct wire_writer *w, void *data, size_t cap);
void wire_write_u8(struct wire_writer *w, uint8_t v);
void wire_write_u16(struct wire_writer *w, uint16_t v);
void wire_write_u32(struct wire_writer *w, uint32_t v);
void wire_write_u64(struct wire_writer *w, uint64_t v);
void wire_write_raw(struct wire_writer *w, const void *data, size_t n);
// u16 length and bytes; a string over 65535 bytes sets overflow.
void wire_write_str(struct wire_writer *w, const void *data, size_t n);
void wire_write_cstr(struct wire_writer *w, const char *s);
// u32 length and bytes.
void wire_write_bytes(struct wire_writer *w, const void *data, size_t n);

// Copies a view into a C string of cap bytes. False (and an empty string) when it does not fit with its NUL.
bool wire_view_to_cstr(struct wire_view v, char *out, size_t cap);
bool wire_view_equals(struct wire_view v, const char *s);
// True for well-formed UTF-8 without NUL (RFC 3629: no surrogates, nothing above U+10FFFF, shortest form).
bool wire_utf8_valid(const void *data, size_t len);
