// The records' bytes, with the wire format's numbers and strings.
#include "route/kept.h"

#include <string.h>

static size_t written(const struct wire_writer *w)
{
    return w->overflow ? 0 : w->pos;
}

static void read_name(struct wire_reader *r, char out[NAME_CAP], bool may_be_empty)
{
    struct wire_view v = wire_read_str(r, NAME_MAX_LEN);
    if (wire_reader_ok(r) && !(may_be_empty && v.len == 0) && !name_valid((const char *)v.data, v.len))
        wire_reader_fail(r, "a name");
    if (!wire_reader_ok(r) || !wire_view_to_cstr(v, out, NAME_CAP))
        out[0] = '\0';
}

static void read_text(struct wire_reader *r, char *out, size_t cap)
{
    struct wire_view v = wire_read_str(r, cap - 1);
    if (!wire_reader_ok(r) || !wire_view_to_cstr(v, out, cap)) {
        wire_reader_fail(r, "a text");
        out[0] = '\0';
    }
}

static void read_address(struct wire_reader *r, struct address *ret)
{
    struct wire_view v = wire_read_str(r, ADDRESS_CAP - 1);
    if (wire_reader_ok(r) && address_parse((const char *)v.data, v.len, ret) != NULL)
        wire_reader_fail(r, "an address");
}

size_t kept_write_message(uint8_t out[KEPT_HEAD_CAP], const struct kept_message *m)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_HEAD_CAP);
    wire_write_u64(&w, m->arrived_ms);
    wire_write_u64(&w, m->dedup_key);
    wire_write_cstr(&w, m->tenant);
    wire_write_cstr(&w, m->name);
    return written(&w);
}

bool kept_read_message(const void *untrusted, size_t len, enum kept_type type, struct kept_message *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    ret->arrived_ms = type == KEPT_MESSAGE ? wire_read_u64(&r) : 0;
    ret->dedup_key = wire_read_u64(&r);
    read_name(&r, ret->tenant, false);
    read_name(&r, ret->name, false);
    if (!wire_reader_ok(&r))
        return false;
    ret->envelope = (const uint8_t *)untrusted + r.pos;
    ret->len = len - r.pos;
    return true;
}

size_t kept_write_keys(uint8_t out[KEPT_KEYS_CAP], const struct kept_keys *k)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_KEYS_CAP);
    wire_write_u8(&w, (uint8_t)k->window);
    wire_write_cstr(&w, k->tenant);
    wire_write_cstr(&w, k->name);
    wire_write_u16(&w, (uint16_t)k->n);
    for (size_t i = 0; i < k->n; i++) {
        wire_write_u64(&w, k->keys[i].key);
        wire_write_u64(&w, k->keys[i].arrival);
    }
    return written(&w);
}

bool kept_read_keys(const void *untrusted, size_t len, struct kept_keys *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    uint8_t window = wire_read_u8(&r);
    read_name(&r, ret->tenant, false);
    read_name(&r, ret->name, false);
    ret->n = wire_read_u16(&r);
    if (!wire_reader_ok(&r) || window >= KEPT_WINDOWS || ret->n > KEPT_KEYS_MAX)
        return false;
    ret->window = (enum kept_window)window;
    for (size_t i = 0; i < ret->n; i++) {
        ret->keys[i].key = wire_read_u64(&r);
        ret->keys[i].arrival = wire_read_u64(&r);
    }
    return wire_reader_end(&r);
}

size_t kept_write_call(uint8_t out[KEPT_CALL_CAP], const struct kept_call *c)
{
    char text[ADDRESS_CAP];
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_CALL_CAP);
    wire_write_raw(&w, c->id.bytes, ID_LEN);
    wire_write_u64(&w, c->deadline_ms);
    wire_write_u8(&w, c->far);
    address_format(&c->caller, text);
    wire_write_cstr(&w, text);
    address_format(&c->called, text);
    wire_write_cstr(&w, text);
    wire_write_cstr(&w, c->callee_tenant);
    wire_write_cstr(&w, c->callee_name);
    wire_write_cstr(&w, c->host);
    wire_write_cstr(&w, c->reply_to);
    wire_write_cstr(&w, c->correlation);
    return written(&w);
}

bool kept_read_call(const void *untrusted, size_t len, struct kept_call *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    wire_read_raw(&r, ret->id.bytes, ID_LEN);
    ret->deadline_ms = wire_read_u64(&r);
    ret->far = wire_read_u8(&r) != 0;
    read_address(&r, &ret->caller);
    read_address(&r, &ret->called);
    read_name(&r, ret->callee_tenant, true);
    read_name(&r, ret->callee_name, true);
    read_name(&r, ret->host, true);
    read_text(&r, ret->reply_to, sizeof ret->reply_to);
    read_text(&r, ret->correlation, sizeof ret->correlation);
    return wire_reader_end(&r);
}

size_t kept_write_dead(uint8_t out[KEPT_SMALL_CAP], const struct kept_dead *d)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_SMALL_CAP);
    wire_write_u64(&w, d->seq);
    wire_write_u64(&w, d->since_ms);
    wire_write_u8(&w, d->reason);
    return written(&w);
}

bool kept_read_dead(const void *untrusted, size_t len, struct kept_dead *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    ret->seq = wire_read_u64(&r);
    ret->since_ms = wire_read_u64(&r);
    ret->reason = wire_read_u8(&r);
    return wire_reader_end(&r);
}

size_t kept_write_attempts(uint8_t out[KEPT_SMALL_CAP], const struct kept_attempts *a)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_SMALL_CAP);
    wire_write_u64(&w, a->seq);
    wire_write_u32(&w, a->attempts);
    wire_write_u32(&w, a->deaths);
    return written(&w);
}

bool kept_read_attempts(const void *untrusted, size_t len, struct kept_attempts *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    ret->seq = wire_read_u64(&r);
    ret->attempts = wire_read_u32(&r);
    ret->deaths = wire_read_u32(&r);
    return wire_reader_end(&r);
}

size_t kept_write_hash_key(uint8_t out[KEPT_SMALL_CAP], const struct siphash_key *k)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_SMALL_CAP);
    wire_write_u64(&w, k->k0);
    wire_write_u64(&w, k->k1);
    return written(&w);
}

bool kept_read_hash_key(const void *untrusted, size_t len, struct siphash_key *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    ret->k0 = wire_read_u64(&r);
    ret->k1 = wire_read_u64(&r);
    return wire_reader_end(&r);
}

size_t kept_write_epoch(uint8_t out[KEPT_EPOCH_CAP], const struct kept_epoch *e)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_EPOCH_CAP);
    wire_write_cstr(&w, e->queue);
    wire_write_cstr(&w, e->host);
    wire_write_u64(&w, e->epoch);
    return written(&w);
}

bool kept_read_epoch(const void *untrusted, size_t len, struct kept_epoch *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    read_text(&r, ret->queue, sizeof ret->queue);
    read_name(&r, ret->host, false);
    ret->epoch = wire_read_u64(&r);
    return wire_reader_end(&r);
}

size_t kept_write_queue(uint8_t out[KEPT_OWNED_CAP], const struct kept_queue *q)
{
    struct wire_writer w;
    wire_writer_init(&w, out, KEPT_OWNED_CAP);
    wire_write_cstr(&w, q->queue);
    wire_write_cstr(&w, q->tenant);
    wire_write_cstr(&w, q->name);
    return written(&w);
}

bool kept_read_queue(const void *untrusted, size_t len, struct kept_queue *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, untrusted, len);
    read_text(&r, ret->queue, sizeof ret->queue);
    read_name(&r, ret->tenant, false);
    read_name(&r, ret->name, false);
    return wire_reader_end(&r);
}
