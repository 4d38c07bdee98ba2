// Owns the order in which frames make a message, and the copy that outlives rabbitmq-c's buffers. Called by
// link.c. Everything in a frame comes from outside: lengths are checked, tables are taken as far as they are
// plain.
#include "broker/frames.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_PREFIX "envd-"
#define NUMBER_CAP 24 // a number in decimal

void consumer_tag_make(char tag[CONSUMER_TAG_CAP], uint64_t consumer)
{
    snprintf(tag, CONSUMER_TAG_CAP, TAG_PREFIX "%" PRIu64, consumer);
}

uint64_t consumer_tag_parse(amqp_bytes_t tag)
{
    char text[CONSUMER_TAG_CAP];
    char *end;
    size_t prefix = sizeof TAG_PREFIX - 1;
    if (tag.len <= prefix || tag.len >= sizeof text || memcmp(tag.bytes, TAG_PREFIX, prefix) != 0)
        return 0;
    memcpy(text, tag.bytes, tag.len);
    text[tag.len] = '\0';
    uint64_t n = strtoull(text + prefix, &end, 10);
    return *end == '\0' ? n : 0;
}

bool assembly_wants(const amqp_frame_t *frame)
{
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return frame->frame_type == AMQP_FRAME_HEADER || frame->frame_type == AMQP_FRAME_BODY;
    amqp_method_number_t id = frame->payload.method.id;
    return id == AMQP_BASIC_DELIVER_METHOD || id == AMQP_BASIC_RETURN_METHOD ||
           id == AMQP_BASIC_GET_OK_METHOD;
}

static int keep_names(struct assembly *a, amqp_bytes_t exchange, amqp_bytes_t key)
{
    if (exchange.len > sizeof a->exchange || key.len > sizeof a->key)
        return -EPROTO;
    a->exchange_len = (uint8_t)exchange.len;
    a->key_len = (uint8_t)key.len;
    if (exchange.len > 0)
        memcpy(a->exchange, exchange.bytes, exchange.len);
    if (key.len > 0)
        memcpy(a->key, key.bytes, key.len);
    return 0;
}

static int feed_method(struct assembly *a, const amqp_method_t *m)
{
    a->is_return = a->redelivered = false;
    a->tag = a->consumer = 0;
    if (m->id == AMQP_BASIC_DELIVER_METHOD) {
        const amqp_basic_deliver_t *d = m->decoded;
        a->tag = d->delivery_tag;
        a->consumer = consumer_tag_parse(d->consumer_tag);
        a->redelivered = d->redelivered;
        return keep_names(a, d->exchange, d->routing_key);
    }
    if (m->id == AMQP_BASIC_GET_OK_METHOD) {
        const amqp_basic_get_ok_t *g = m->decoded;
        a->tag = g->delivery_tag;
        a->redelivered = g->redelivered;
        return keep_names(a, g->exchange, g->routing_key);
    }
    const amqp_basic_return_t *r = m->decoded;
    a->is_return = true;
    return keep_names(a, r->exchange, r->routing_key);
}

// A header's value as text: itself, or a number in decimal in room (NUMBER_CAP bytes). False: it is neither.
static bool value_text(const amqp_field_value_t *v, char *room, struct broker_text *ret)
{
    int64_t n;
    switch (v->kind) {
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        *ret = text_of(v->value.bytes);
        return ret->len <= BROKER_VALUE_MAX;
    case AMQP_FIELD_KIND_BOOLEAN:
        n = v->value.boolean;
        break;
    case AMQP_FIELD_KIND_I8:
        n = (int64_t)v->value.i8; // NOLINT(bugprone-signed-char-misuse): it is a number
        break;
    case AMQP_FIELD_KIND_U8:
        n = v->value.u8;
        break;
    case AMQP_FIELD_KIND_I16:
        n = v->value.i16;
        break;
    case AMQP_FIELD_KIND_U16:
        n = v->value.u16;
        break;
    case AMQP_FIELD_KIND_I32:
        n = v->value.i32;
        break;
    case AMQP_FIELD_KIND_U32:
        n = v->value.u32;
        break;
    case AMQP_FIELD_KIND_I64:
        n = v->value.i64;
        break;
    default:
        return false;
    }
    *ret = (struct broker_text){room, (size_t)snprintf(room, NUMBER_CAP, "%" PRId64, n)};
    return true;
}

// The headers that we can use, with room for numbers. Their count.
static size_t take_headers(const amqp_basic_properties_t *p, struct broker_header *out,
                           char (*room)[NUMBER_CAP], bool *ret_truncated)
{
    size_t n = 0;
    *ret_truncated = false;
    if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
        return 0;
    for (int i = 0; i < p->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        if (n == BROKER_HEADERS_MAX) {
            *ret_truncated = true;
            break;
        }
        if (!value_text(&e->value, room[n], &out[n].value))
            continue;
        out[n++].name = text_of(e->key);
    }
    return n;
}

#define N_TEXTS 7

static void take_texts(const amqp_basic_properties_t *p, struct broker_text out[N_TEXTS])
{
    const struct {
        amqp_flags_t flag;
        amqp_bytes_t bytes;
    } rows[N_TEXTS] = {
        {AMQP_BASIC_MESSAGE_ID_FLAG, p->message_id},
        {AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id},
        {AMQP_BASIC_REPLY_TO_FLAG, p->reply_to},
        {AMQP_BASIC_USER_ID_FLAG, p->user_id},
        {AMQP_BASIC_TYPE_FLAG, p->type},
        {AMQP_BASIC_CONTENT_TYPE_FLAG, p->content_type},
        {AMQP_BASIC_EXPIRATION_FLAG, p->expiration},
    };
    for (size_t i = 0; i < N_TEXTS; i++)
        out[i] = p->_flags & rows[i].flag ? text_of(rows[i].bytes) : (struct broker_text){NULL, 0};
}

// Moves a text into the arrival's memory.
static void settle_text(char **pen, struct broker_text *t)
{
    if (t->len > 0)
        memcpy(*pen, t->data, t->len);
    t->data = *pen;
    *pen += t->len;
}

static void settle_texts(struct arrival *m)
{
    char *pen = (char *)(m->headers + m->n_headers);
    settle_text(&pen, &m->exchange);
    settle_text(&pen, &m->routing_key);
    for (size_t i = 0; i < N_TEXTS; i++)
        settle_text(&pen, &m->texts[i]);
    for (size_t i = 0; i < m->n_headers; i++) {
        settle_text(&pen, &m->headers[i].name);
        settle_text(&pen, &m->headers[i].value);
    }
    m->body = pen;
}

static struct arrival *make(const struct assembly *a, const amqp_basic_properties_t *p, uint64_t body_len)
{
    struct broker_header headers[BROKER_HEADERS_MAX];
    char numbers[BROKER_HEADERS_MAX][NUMBER_CAP];
    struct broker_text texts[N_TEXTS];
    bool truncated;
    bool oversized = body_len > BROKER_BODY_MAX || a->is_return; // a return's body is ours
    size_t n = take_headers(p, headers, numbers, &truncated);
    take_texts(p, texts);
    size_t len = a->exchange_len + a->key_len + (oversized ? 0 : (size_t)body_len);
    for (size_t i = 0; i < N_TEXTS; i++)
        len += texts[i].len;
    for (size_t i = 0; i < n; i++)
        len += headers[i].name.len + headers[i].value.len;
    struct arrival *m = malloc(sizeof *m + n * sizeof headers[0] + len);
    if (!m)
        return NULL;
    *m = (struct arrival){.item.kind = ITEM_ARRIVAL,
                          .is_return = a->is_return,
                          .redelivered = a->redelivered,
                          .truncated = truncated,
                          .oversized = oversized,
                          .tag = a->tag,
                          .consumer = a->consumer,
                          .exchange = {a->exchange, a->exchange_len},
                          .routing_key = {a->key, a->key_len},
                          .n_headers = n,
                          .headers = (struct broker_header *)(m + 1),
                          .body_len = (size_t)body_len};
    m->priority = p->_flags & AMQP_BASIC_PRIORITY_FLAG ? p->priority : 0;
    m->timestamp = p->_flags & AMQP_BASIC_TIMESTAMP_FLAG ? p->timestamp : 0;
    memcpy(m->texts, texts, sizeof texts);
    memcpy(m->headers, headers, n * sizeof headers[0]);
    settle_texts(m);
    return m;
}

static void finish(struct assembly *a, struct arrival **ret)
{
    *ret = a->arrival;
    a->arrival = NULL;
    a->state = ASSEMBLY_IDLE;
}

static int feed_body(struct assembly *a, amqp_bytes_t part, struct arrival **ret)
{
    struct arrival *m = a->arrival;
    if (part.len > m->body_len - m->body_got)
        return -EPROTO;
    if (!m->oversized && part.len > 0)
        memcpy(m->body + m->body_got, part.bytes, part.len);
    m->body_got += part.len;
    if (m->body_got == m->body_len)
        finish(a, ret);
    return 0;
}

int assembly_feed(struct assembly *a, const amqp_frame_t *frame, struct arrival **ret)
{
    *ret = NULL;
    if (frame->frame_type == AMQP_FRAME_METHOD) {
        if (a->state != ASSEMBLY_IDLE)
            return -EPROTO;
        a->state = ASSEMBLY_HEADER;
        return feed_method(a, &frame->payload.method);
    }
    if (frame->frame_type == AMQP_FRAME_BODY)
        return a->state == ASSEMBLY_BODY ? feed_body(a, frame->payload.body_fragment, ret) : -EPROTO;
    if (a->state != ASSEMBLY_HEADER || frame->payload.properties.class_id != AMQP_BASIC_CLASS)
        return -EPROTO;
    uint64_t body_len = frame->payload.properties.body_size;
    if (body_len > SIZE_MAX / 2)
        return -EPROTO;
    a->arrival = make(a, frame->payload.properties.decoded, body_len);
    if (!a->arrival)
        return -ENOMEM;
    a->state = ASSEMBLY_BODY;
    if (body_len == 0)
        finish(a, ret);
    return 0;
}

void assembly_reset(struct assembly *a)
{
    free(a->arrival);
    a->arrival = NULL;
    a->state = ASSEMBLY_IDLE;
}
