// Encodes and decodes segments. Pure: the fuzz target reads images with nothing but this and recover.c.
#include "journal/format.h"

#include <libdeflate.h>
#include <string.h>

uint32_t format_crc(const void *data, size_t len)
{
    return libdeflate_crc32(0, data, len);
}

void format_write_segment(uint8_t page[FORMAT_PAGE], uint64_t salt, const struct format_open *open)
{
    struct format_segment s = {.magic = FORMAT_MAGIC, .salt = salt, .open = *open};
    s.crc = format_crc(&s, offsetof(struct format_segment, crc));
    memset(page, 0, FORMAT_PAGE);
    memcpy(page, &s, sizeof s);
}

static bool open_is_sane(const struct format_open *o)
{
    return o->order > 0 && o->order < UINT64_MAX / 2 && o->oldest <= o->order && o->prev_order < o->order &&
           o->next_seq > 0 && o->next_seq < UINT64_MAX / 2 && o->prev_end <= FORMAT_SEGMENT_MAX &&
           (o->prev_end == 0 || o->prev_end >= FORMAT_FIRST) && o->prev_end % 8 == 0;
}

bool format_read_segment(const void *untrusted, size_t len, uint64_t *ret_salt, struct format_open *ret)
{
    struct format_segment s;
    if (len < sizeof s)
        return false;
    memcpy(&s, untrusted, sizeof s);
    if (memcmp(s.magic, FORMAT_MAGIC, sizeof s.magic) != 0 ||
        s.crc != format_crc(&s, offsetof(struct format_segment, crc)) || !open_is_sane(&s.open))
        return false;
    *ret_salt = s.salt;
    *ret = s.open;
    return true;
}

static uint32_t record_crc(const uint8_t *at, size_t len)
{
    return format_crc(at + sizeof(uint32_t), sizeof(struct format_record) - sizeof(uint32_t) + len);
}

void format_write_record(uint8_t *at, struct format_record r)
{
    memcpy(at, &r, sizeof r);
    memset(at + sizeof r + r.len, 0, format_size(r.len) - sizeof r - r.len);
    r.crc = record_crc(at, r.len);
    memcpy(at, &r.crc, sizeof r.crc);
}

static bool read_at(const struct format_reader *reader, size_t at, struct format_found *ret)
{
    struct format_record r;
    if (at > reader->len || reader->len - at < sizeof r)
        return false;
    memcpy(&r, reader->untrusted + at, sizeof r);
    if (r.salt != reader->salt || r.len > reader->len - at - sizeof r ||
        format_size(r.len) > reader->len - at || r.crc != record_crc(reader->untrusted + at, r.len))
        return false;
    *ret = (struct format_found){
        .offset = at,
        .size = format_size(r.len),
        .len = r.len,
        .seq = r.seq,
        .synced = r.synced,
        .type = r.type,
        .data = reader->untrusted + at + sizeof r,
    };
    return true;
}

bool format_next(struct format_reader *reader, struct format_found *ret)
{
    if (!read_at(reader, reader->at, ret))
        return false;
    reader->at += ret->size;
    return true;
}

bool format_seek(struct format_reader *reader, struct format_found *ret)
{
    for (size_t at = format_round(reader->at + 1, 8); at + sizeof(struct format_record) <= reader->len;
         at += 8) {
        if (read_at(reader, at, ret)) {
            reader->at = at + ret->size;
            return true;
        }
    }
    return false;
}

bool format_read_open(const struct format_found *f, struct format_open *ret)
{
    if (f->type != FORMAT_TYPE_OPEN || f->len != sizeof *ret)
        return false;
    struct format_open open;
    memcpy(&open, f->data, sizeof open);
    if (!open_is_sane(&open))
        return false;
    *ret = open;
    return true;
}
