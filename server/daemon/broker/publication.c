// Makes a publication of what the loop hands over: checks it, copies everything, and lays it out as
// rabbitmq-c wants it, so that the thread only sends. Called by broker.c.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/item.h"
#include "common/io.h"

#define PATIENCE_DEFAULT_MS 30000u
#define OVERHEAD_MAX        (96u << 10) // of the header frame: it must fit in one frame

// Where the next text goes.
struct pen {
    char *at;
};

static amqp_bytes_t put(struct pen *pen, struct broker_text t)
{
    amqp_bytes_t b = {t.len, pen->at};
    if (t.len > 0)
        memcpy(pen->at, t.data, t.len);
    pen->at += t.len;
    return b;
}

// One row for each text of the properties: where it is in ours and in rabbitmq-c's.
static const struct {
    size_t ours, theirs;
    amqp_flags_t flag;
} rows[] = {
#define ROW(member, flag)                                                                                    \
    {                                                                                                        \
        offsetof(struct broker_properties, member), offsetof(amqp_basic_properties_t, member), flag          \
    }
    ROW(message_id, AMQP_BASIC_MESSAGE_ID_FLAG),
    ROW(correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG),
    ROW(reply_to, AMQP_BASIC_REPLY_TO_FLAG),
    ROW(user_id, AMQP_BASIC_USER_ID_FLAG),
    ROW(type, AMQP_BASIC_TYPE_FLAG),
    ROW(content_type, AMQP_BASIC_CONTENT_TYPE_FLAG),
    ROW(expiration, AMQP_BASIC_EXPIRATION_FLAG),
#undef ROW
};
#define N_ROWS (sizeof rows / sizeof rows[0])

static struct broker_text text_at(const struct broker_properties *p, size_t row)
{
    struct broker_text t;
    memcpy(&t, (const char *)p + rows[row].ours, sizeof t);
    return t;
}

// The bytes of everything but the body, or 0 when something is too long.
static size_t measure(const struct broker_publication *p)
{
    const struct broker_properties *props = &p->properties;
    size_t len = p->exchange.len + p->routing_key.len;
    bool fits = p->exchange.len <= BROKER_SHORT_MAX && p->routing_key.len <= BROKER_SHORT_MAX &&
                props->n_headers <= BROKER_HEADERS_MAX && p->body.len <= BROKER_BODY_MAX;
    for (size_t i = 0; i < N_ROWS; i++) {
        fits = fits && text_at(props, i).len <= BROKER_SHORT_MAX;
        len += text_at(props, i).len;
    }
    for (size_t i = 0; fits && i < props->n_headers; i++) {
        const struct broker_header *h = &props->headers[i];
        fits = h->name.len >= 1 && h->name.len <= BROKER_SHORT_MAX && h->value.len <= BROKER_VALUE_MAX;
        len += h->name.len + h->value.len;
    }
    if (p->mandatory && props->message_id.len == 0)
        fits = false; // a return carries no tag: the id is how it is told what came back
    return fits && len <= OVERHEAD_MAX ? len + 1 : 0;
}

static void fill(struct publication *pub, const struct broker_publication *p, struct pen *pen)
{
    const struct broker_properties *props = &p->properties;
    amqp_basic_properties_t *out = &pub->properties;
    pub->exchange = put(pen, p->exchange);
    pub->routing_key = put(pen, p->routing_key);
    for (size_t i = 0; i < N_ROWS; i++) {
        struct broker_text t = text_at(props, i);
        if (t.len == 0)
            continue;
        amqp_bytes_t b = put(pen, t);
        memcpy((char *)out + rows[i].theirs, &b, sizeof b);
        out->_flags |= rows[i].flag;
    }
    for (size_t i = 0; i < props->n_headers; i++) {
        pub->headers[i].key = put(pen, props->headers[i].name);
        pub->headers[i].value.kind = AMQP_FIELD_KIND_UTF8;
        pub->headers[i].value.value.bytes = put(pen, props->headers[i].value);
    }
    out->headers = (amqp_table_t){(int)props->n_headers, pub->headers};
    out->delivery_mode = AMQP_DELIVERY_PERSISTENT;
    out->priority = props->priority;
    out->timestamp = props->timestamp;
    out->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                   (props->n_headers ? AMQP_BASIC_HEADERS_FLAG : 0) |
                   (props->timestamp ? AMQP_BASIC_TIMESTAMP_FLAG : 0);
    pub->body = put(pen, p->body);
}

int publication_new(const struct broker_publication *p, struct publication **ret)
{
    size_t texts = measure(p);
    if (texts == 0)
        return -EINVAL;
    size_t size = sizeof(struct publication) + p->properties.n_headers * sizeof(amqp_table_entry_t);
    struct publication *pub = malloc(size + texts + p->body.len);
    if (!pub)
        return -ENOMEM;
    memset(pub, 0, size);
    struct pen pen = {(char *)pub + size};
    fill(pub, p, &pen);
    pub->item.kind = ITEM_PUBLICATION;
    pub->mandatory = p->mandatory;
    pub->cost_bytes = size + texts + p->body.len;
    uint32_t patience_ms = p->patience_ms ? p->patience_ms : PATIENCE_DEFAULT_MS;
    pub->deadline_ns = io_monotonic_ns() + (uint64_t)patience_ms * 1000000u;
    *ret = pub;
    return 0;
}
