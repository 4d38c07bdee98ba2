// Bundles to bytes and back. Bytes are the wire's until bundle_check() has read them all.
#include "remote/bundle.h"

#include "remote/amqp_map.h"

static void write_text(struct wire_writer *w, struct broker_text t)
{
    wire_write_str(w, t.data, t.len);
}

void bundle_part_write(struct wire_writer *w, const struct broker_publication *p)
{
    const struct broker_properties *props = &p->properties;
    write_text(w, props->message_id);
    write_text(w, props->correlation_id);
    write_text(w, props->type);
    write_text(w, props->content_type);
    write_text(w, props->expiration);
    wire_write_u8(w, props->priority);
    wire_write_u64(w, props->timestamp);
    wire_write_u8(w, (uint8_t)props->n_headers);
    for (size_t i = 0; i < props->n_headers; i++) {
        write_text(w, props->headers[i].name);
        write_text(w, props->headers[i].value);
    }
    wire_write_bytes(w, p->body.data, p->body.len);
}

size_t bundle_part_size(const struct broker_publication *p)
{
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    bundle_part_write(&w, p);
    return w.pos;
}

bool bundle_is(const struct broker_delivery *d)
{
    return broker_text_is(d->properties.content_type, BUNDLE_CONTENT_TYPE) &&
           broker_text_is(d->exchange, AMQP_EXCHANGE) &&
           broker_text_begins(d->properties.user_id, AMQP_USER_HOST);
}

static struct broker_text read_text(struct wire_reader *r, size_t max)
{
    struct wire_view v = wire_read_str(r, max);
    return (struct broker_text){(const char *)v.data, v.len};
}

bool bundle_part_read(struct wire_reader *r, struct broker_properties *ret, struct broker_text *ret_body)
{
    if (!wire_reader_ok(r) || r->pos == r->len)
        return false;
    *ret = (struct broker_properties){0};
    ret->message_id = read_text(r, BROKER_SHORT_MAX);
    ret->correlation_id = read_text(r, BROKER_SHORT_MAX);
    ret->type = read_text(r, BROKER_SHORT_MAX);
    ret->content_type = read_text(r, BROKER_SHORT_MAX);
    ret->expiration = read_text(r, BROKER_SHORT_MAX);
    ret->priority = wire_read_u8(r);
    ret->timestamp = wire_read_u64(r);
    size_t n = wire_read_u8(r);
    if (n > BROKER_HEADERS_MAX)
        wire_reader_fail(r, "too many headers");
    for (size_t i = 0; wire_reader_ok(r) && i < n; i++) {
        struct broker_text name = read_text(r, BROKER_SHORT_MAX);
        ret->headers[ret->n_headers++] = (struct broker_header){name, read_text(r, BROKER_VALUE_MAX)};
    }
    struct wire_view body = wire_read_bytes(r, BROKER_BODY_MAX);
    *ret_body = (struct broker_text){(const char *)body.data, body.len};
    return wire_reader_ok(r);
}

uint32_t bundle_check(struct broker_text body)
{
    struct wire_reader r;
    struct broker_properties properties;
    struct broker_text part;
    uint32_t n = 0;
    wire_reader_init(&r, body.data, body.len);
    while (n <= BUNDLE_PARTS_MAX && bundle_part_read(&r, &properties, &part))
        n++;
    return wire_reader_ok(&r) && n <= BUNDLE_PARTS_MAX ? n : 0;
}
