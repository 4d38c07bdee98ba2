// The message envelope (envelope.h). Called by agents, by envd's sessions and by libenv.
#include "proto/envelope.h"

#include <string.h>

#include "fields.h"

// Everything but the body, at its longest.
_Static_assert(4 + 2 * ID_LEN + 8 + 2 * (2 + ADDRESS_CAP) + 2 + SUBJECT_MAX_LEN + 2 +
                       ENVELOPE_CONTENT_TYPE_MAX + 2 +
                       ENVELOPE_HEADERS_MAX * (2 + ENVELOPE_HEADER_NAME_MAX + 2 + ENVELOPE_HEADER_VALUE_MAX) +
                       4 <=
                   ENVELOPE_OVERHEAD_MAX,
               "ENVELOPE_OVERHEAD_MAX holds every envelope");

static struct wire_view read_subject(struct wire_reader *r, enum message_kind kind)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_str(r, SUBJECT_MAX_LEN);
    bool may_be_empty = kind == MESSAGE_REPLY;
    if (wire_reader_ok(r) && !(may_be_empty && v.len == 0) && !subject_valid((const char *)v.data, v.len))
        wire_reader_fail_at(r, start, "not a subject (tokens of A-Z, a-z, 0-9, _ and -, joined by dots)");
    return v;
}

static void read_headers(struct wire_reader *r, struct envelope *e)
{
    e->n_headers = field_read_u16_in(r, 0, ENVELOPE_HEADERS_MAX, "more than 32 headers");
    for (size_t i = 0; i < e->n_headers; i++) {
        size_t start = r->pos;
        e->headers[i].name = wire_read_str(r, ENVELOPE_HEADER_NAME_MAX);
        if (e->headers[i].name.len == 0)
            wire_reader_fail_at(r, start, "a header's name is empty");
        e->headers[i].value = wire_read_str(r, ENVELOPE_HEADER_VALUE_MAX);
    }
}

bool envelope_read(struct wire_reader *r, struct envelope *ret)
{
    // Not an initializer: with it the compiler would clear the header table of every message.
    field_read_u8_in(r, ENVELOPE_VERSION, ENVELOPE_VERSION, "unknown envelope version");
    ret->kind = field_read_u8_in(r, 0, MESSAGE_KIND_COUNT - 1, "unknown message kind");
    ret->priority = field_read_u8_in(r, 0, 9, "priority above 9");
    field_read_u8_in(r, 0, 0, "reserved byte is not zero");
    ret->id = field_read_id(r);
    ret->correlation = field_read_id(r);
    ret->expires_ms = wire_read_u64(r);
    ret->from = field_read_address(r, true);
    ret->to = field_read_address(r, false);
    ret->subject = read_subject(r, ret->kind);
    ret->content_type = wire_read_str(r, ENVELOPE_CONTENT_TYPE_MAX);
    read_headers(r, ret);
    ret->body = wire_read_bytes(r, ENVELOPE_BODY_MAX);
    return wire_reader_ok(r);
}

void envelope_write(struct wire_writer *w, const struct envelope *e)
{
    wire_write_u8(w, ENVELOPE_VERSION);
    wire_write_u8(w, (uint8_t)e->kind);
    wire_write_u8(w, e->priority);
    wire_write_u8(w, 0);
    field_write_id(w, &e->id);
    field_write_id(w, &e->correlation);
    wire_write_u64(w, e->expires_ms);
    field_write_view(w, e->from);
    field_write_view(w, e->to);
    field_write_view(w, e->subject);
    field_write_view(w, e->content_type);
    if (e->n_headers > ENVELOPE_HEADERS_MAX) {
        w->overflow = true;
        return;
    }
    wire_write_u16(w, e->n_headers);
    for (size_t i = 0; i < e->n_headers; i++) {
        field_write_view(w, e->headers[i].name);
        field_write_view(w, e->headers[i].value);
    }
    wire_write_bytes(w, e->body.data, e->body.len);
}

size_t envelope_size(const struct envelope *e)
{
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    envelope_write(&w, e);
    return w.pos;
}

enum receipt_code envelope_refusal(const struct envelope *e)
{
    enum receipt_code code;
    for (size_t i = 0; e->kind == MESSAGE_REPLY && i < e->n_headers; i++) {
        struct wire_view value = e->headers[i].value;
        if (!wire_view_equals(e->headers[i].name, ENVELOPE_REFUSED))
            continue;
        bool known = receipt_code_parse((const char *)value.data, value.len, &code);
        return known && code != RECEIPT_ACCEPTED ? code : RECEIPT_UNKNOWN_OUTCOME;
    }
    return RECEIPT_ACCEPTED;
}

static const char *const kind_names[MESSAGE_KIND_COUNT] = {
    [MESSAGE_SEND] = "send",
    [MESSAGE_CALL] = "call",
    [MESSAGE_REPLY] = "reply",
    [MESSAGE_EVENT] = "event",
};

const char *message_kind_name(enum message_kind kind)
{
    return (unsigned)kind < MESSAGE_KIND_COUNT ? kind_names[kind] : "unknown";
}

bool message_kind_parse(const char *s, enum message_kind *ret)
{
    struct wire_view v = {.data = (const uint8_t *)s, .len = strlen(s)};
    for (unsigned i = 0; i < MESSAGE_KIND_COUNT; i++) {
        if (wire_view_equals(v, kind_names[i])) {
            *ret = (enum message_kind)i;
            return true;
        }
    }
    return false;
}
