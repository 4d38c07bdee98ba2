// Byte cursors (wire.h). Every codec in proto/ reads and writes through here and nowhere else; the bounds
// checks of all wire formats are the two functions take() and wire_write_raw().
#include "proto/wire.h"

#include <string.h>

void wire_reader_init(struct wire_reader *r, const void *data, size_t len)
{
    static const uint8_t nothing[1];
    *r = (struct wire_reader){.data = len > 0 ? data : nothing, .len = len};
}

void wire_reader_fail_at(struct wire_reader *r, size_t offset, const char *what)
{
    if (!r->error.what)
        r->error = (struct wire_error){.what = what, .offset = offset};
}

void wire_reader_fail(struct wire_reader *r, const char *what)
{
    wire_reader_fail_at(r, r->pos, what);
}

bool wire_reader_ok(const struct wire_reader *r)
{
    return !r->error.what;
}

bool wire_reader_end(struct wire_reader *r)
{
    if (r->pos != r->len)
        wire_reader_fail(r, "trailing bytes");
    return wire_reader_ok(r);
}

// The next n bytes, or NULL with a complaint.
static const uint8_t *take(struct wire_reader *r, size_t n)
{
    if (!wire_reader_ok(r))
        return NULL;
    if (n > r->len - r->pos) {
        wire_reader_fail(r, "truncated");
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += n;
    return p;
}

static uint64_t read_le(struct wire_reader *r, size_t n)
{
    const uint8_t *p = take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t wire_read_u8(struct wire_reader *r)
{
    return (uint8_t)read_le(r, 1);
}

uint16_t wire_read_u16(struct wire_reader *r)
{
    return (uint16_t)read_le(r, 2);
}

uint32_t wire_read_u32(struct wire_reader *r)
{
    return (uint32_t)read_le(r, 4);
}

uint64_t wire_read_u64(struct wire_reader *r)
{
    return read_le(r, 8);
}

void wire_read_raw(struct wire_reader *r, void *out, size_t n)
{
    const uint8_t *p = take(r, n);
    if (n == 0)
        return;
    if (p)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

struct wire_view wire_read_str(struct wire_reader *r, size_t max)
{
    size_t start = r->pos;
    size_t len = wire_read_u16(r);
    if (len > max)
        wire_reader_fail_at(r, start, "string too long");
    const uint8_t *p = take(r, len);
    if (p && !wire_utf8_valid(p, len)) {
        wire_reader_fail_at(r, start, "string is not UTF-8 without NUL");
        p = NULL;
    }
    return p ? (struct wire_view){.data = p, .len = len} : (struct wire_view){0};
}

struct wire_view wire_read_bytes(struct wire_reader *r, size_t max)
{
    size_t start = r->pos;
    size_t len = wire_read_u32(r);
    if (len > max)
        wire_reader_fail_at(r, start, "bytes too long");
    const uint8_t *p = take(r, len);
    return p ? (struct wire_view){.data = p, .len = len} : (struct wire_view){0};
}

void wire_writer_init(struct wire_writer *w, void *data, size_t cap)
{
    *w = (struct wire_writer){.data = data, .cap = cap};
}

void wire_write_raw(struct wire_writer *w, const void *data, size_t n)
{
    // Once something did not fit, pos may lie past cap: nothing more is written, so that no hole is left.
    if (w->overflow || n > w->cap - w->pos)
        w->overflow = true;
    else if (n > 0)
        memcpy(w->data + w->pos, data, n);
    w->pos += n;
}

static void write_le(struct wire_writer *w, uint64_t v, size_t n)
{
    uint8_t raw[8];
    for (size_t i = 0; i < n; i++)
        raw[i] = (uint8_t)(v >> (8 * i));
    wire_write_raw(w, raw, n);
}

void wire_write_u8(struct wire_writer *w, uint8_t v)
{
    write_le(w, v, 1);
}

void wire_write_u16(struct wire_writer *w, uint16_t v)
{
    write_le(w, v, 2);
}

void wire_write_u32(struct wire_writer *w, uint32_t v)
{
    write_le(w, v, 4);
}

void wire_write_u64(struct wire_writer *w, uint64_t v)
{
    write_le(w, v, 8);
}

void wire_write_str(struct wire_writer *w, const void *data, size_t n)
{
    if (n > UINT16_MAX)
        w->overflow = true;
    wire_write_u16(w, (uint16_t)n);
    wire_write_raw(w, data, n);
}

void wire_write_cstr(struct wire_writer *w, const char *s)
{
    wire_write_str(w, s, strlen(s));
}

void wire_write_bytes(struct wire_writer *w, const void *data, size_t n)
{
    if (n > UINT32_MAX)
        w->overflow = true;
    wire_write_u32(w, (uint32_t)n);
    wire_write_raw(w, data, n);
}

bool wire_view_to_cstr(struct wire_view v, char *out, size_t cap)
{
    if (cap == 0)
        return false;
    out[0] = '\0';
    if (v.len >= cap)
        return false;
    if (v.len > 0)
        memcpy(out, v.data, v.len);
    out[v.len] = '\0';
    return true;
}

bool wire_view_equals(struct wire_view v, const char *s)
{
    size_t len = strlen(s);
    return v.len == len && (len == 0 || memcmp(v.data, s, len) == 0);
}
