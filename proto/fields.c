// Shared fields (fields.h). Called by the codecs of proto/ only.
#include "fields.h"

struct id field_read_id(struct wire_reader *r)
{
    struct id id;
    wire_read_raw(r, id.bytes, ID_LEN);
    return id;
}

void field_write_id(struct wire_writer *w, const struct id *id)
{
    wire_write_raw(w, id->bytes, ID_LEN);
}

struct wire_view field_read_name(struct wire_reader *r)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_str(r, NAME_MAX_LEN);
    if (wire_reader_ok(r) && !name_valid((const char *)v.data, v.len))
        wire_reader_fail_at(r, start, "not a name (a-z, 0-9 and -, at most 63)");
    return v;
}

void field_read_name_cstr(struct wire_reader *r, char out[NAME_CAP])
{
    struct wire_view v = field_read_name(r);
    wire_view_to_cstr(wire_reader_ok(r) ? v : (struct wire_view){0}, out, NAME_CAP);
}

struct wire_view field_read_address(struct wire_reader *r, bool may_be_empty)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_str(r, ADDRESS_CAP - 1);
    struct address a;
    if (wire_reader_ok(r) && !(may_be_empty && v.len == 0)) {
        const char *what = address_parse((const char *)v.data, v.len, &a);
        if (what)
            wire_reader_fail_at(r, start, what);
    }
    return v;
}

void field_read_mac(struct wire_reader *r, uint8_t out[6])
{
    size_t start = r->pos;
    wire_read_raw(r, out, 6);
    if (out[0] & 1)
        wire_reader_fail_at(r, start, "the MAC is a group address");
}

void field_write_view(struct wire_writer *w, struct wire_view v)
{
    wire_write_str(w, v.data, v.len);
}

uint8_t field_read_u8_in(struct wire_reader *r, uint8_t min, uint8_t max, const char *what)
{
    size_t start = r->pos;
    uint8_t v = wire_read_u8(r);
    if (v >= min && v <= max)
        return v;
    wire_reader_fail_at(r, start, what);
    return min;
}

uint16_t field_read_u16_in(struct wire_reader *r, uint16_t min, uint16_t max, const char *what)
{
    size_t start = r->pos;
    uint16_t v = wire_read_u16(r);
    if (v >= min && v <= max)
        return v;
    wire_reader_fail_at(r, start, what);
    return min;
}

uint32_t field_read_u32_in(struct wire_reader *r, uint32_t min, uint32_t max, const char *what)
{
    size_t start = r->pos;
    uint32_t v = wire_read_u32(r);
    if (v >= min && v <= max)
        return v;
    wire_reader_fail_at(r, start, what);
    return min;
}
