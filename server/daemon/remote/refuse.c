// What is refused for good, after its sender has heard that it was accepted: a copy goes to the dead letters
// with the reason, then the original goes, then a caller is told. In this order: who is told that its call
// was refused can rely on that it will not be delivered, and a crash between two of them leaves a second copy
// or a call that ends at its deadline. A part of a bundle that comes again for the sake of another part, and
// is refused again, lies there already. Called by incoming.c; decides nothing.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/remote_internal.h"
#include "route/seen.h"

#define PATIENCE_MS 10000 // for the broker's confirm of the copy

#define PARTS_WINDOW 4096 // of bundles: more than are unsettled at once, as a rule

struct burial {
    struct remote *remote;
    uint64_t handle, part;
    struct remote_refusal refusal;
};

static uint64_t hash_text(const struct remote *r, struct broker_text t)
{
    return siphash(&r->key, t.len ? t.data : "", t.len);
}

// Of a part of a bundle; 0: it came alone, as what is replayed from the dead letters does.
static uint64_t part_key(const struct remote *r, const struct broker_delivery *d)
{
    const struct broker_properties *p = &d->properties;
    const struct broker_text from = remote_last_header(p, "env-from");
    if (!incoming_bundle_has(r, d->handle))
        return 0;
    const uint64_t parts[] = {hash_text(r, p->message_id), hash_text(r, d->routing_key), hash_text(r, from)};
    return siphash(&r->key, parts, sizeof parts);
}

// Without memory a second copy may come.
static void remember_part(struct remote *r, uint64_t part)
{
    if (part == 0 || (!r->buried_parts && !(r->buried_parts = seen_new(PARTS_WINDOW))))
        return;
    if (!seen_has(r->buried_parts, part))
        seen_add(r->buried_parts, part);
}

void remote_settle(struct remote *r, uint64_t handle, enum broker_settlement how)
{
    if (incoming_bundle_settled(r, handle, &how) && r->broker)
        broker_settle(r->broker, handle, how);
}

// Without a copy, because the link was lost or stood still, it comes again and is decided on again. When the
// broker would not have the copy, the original goes where it would have gone: no reason, but not lost.
static void on_buried(void *arg, enum broker_outcome outcome)
{
    struct burial b = *(struct burial *)arg;
    free(arg);
    if (outcome == BROKER_UNKNOWN || outcome == BROKER_NOT_SENT) {
        b.remote->stats.put_back++;
        remote_settle(b.remote, b.handle, BROKER_REQUEUE);
        return;
    }
    if (outcome == BROKER_CONFIRMED)
        remember_part(b.remote, b.part);
    remote_settle(b.remote, b.handle, outcome == BROKER_CONFIRMED ? BROKER_ACK : BROKER_DEAD_LETTER);
    router_tell_caller(b.remote->router, &b.refusal);
}

static int publish_copy(struct remote *r, const struct broker_delivery *d, const char *code, const char *why,
                        struct burial *b)
{
    char exchange[BROKER_SHORT_MAX + 1], user[BROKER_SHORT_MAX + 1];
    struct broker_publication p = {.exchange = broker_text_of(AMQP_EXCHANGE_DEAD),
                                   .routing_key = d->routing_key,
                                   .properties = d->properties,
                                   .body = d->body,
                                   .patience_ms = PATIENCE_MS};
    snprintf(exchange, sizeof exchange, "%.*s", (int)d->exchange.len, d->exchange.data);
    snprintf(user, sizeof user, "%.*s", (int)d->properties.user_id.len,
             d->properties.user_id.data ? d->properties.user_id.data : "");
    if (strncmp(exchange, AMQP_USER_CLIENT, sizeof AMQP_USER_CLIENT - 1) == 0)
        memcpy(user, exchange, sizeof user); // nobody else may write there
    const struct broker_header headers[] = {
        {broker_text_of("env-refused"), broker_text_of(code)},
        {broker_text_of("env-refused-why"), broker_text_of(why)},
        {broker_text_of("env-refused-by"), broker_text_of(r->host)},
        {broker_text_of("env-refused-exchange"), broker_text_of(exchange)},
        {broker_text_of("env-refused-user"), broker_text_of(user)},
    };
    const size_t n = sizeof headers / sizeof headers[0];
    if (p.properties.n_headers > BROKER_HEADERS_MAX - n)
        p.properties.n_headers = BROKER_HEADERS_MAX - n; // no host sends as many: the reason is worth more
    memcpy(p.properties.headers + p.properties.n_headers, headers, sizeof headers);
    p.properties.n_headers += n;
    p.properties.user_id = broker_text_of(r->user); // the broker takes no other
    p.properties.expiration = (struct broker_text){NULL, 0};
    return broker_publish(r->broker, &p, on_buried, b);
}

void refuse_delivery(struct remote *r, const struct broker_delivery *d, const char *code, const char *why,
                     const struct remote_refusal *refusal)
{
    uint64_t part = part_key(r, d);
    if (part && d->redelivered && r->buried_parts && seen_has(r->buried_parts, part)) {
        remote_settle(r, d->handle, BROKER_ACK);
        return;
    }
    struct burial *b = malloc(sizeof *b);
    int rc = b ? 0 : -ENOMEM;
    if (b) {
        *b = (struct burial){r, d->handle, part, *refusal};
        rc = publish_copy(r, d, code, why, b);
    }
    if (rc == 0)
        return;
    free(b);
    if (rc == -EINVAL) { // with the reason it is too long
        remote_settle(r, d->handle, BROKER_DEAD_LETTER);
        router_tell_caller(r->router, refusal);
    } else {
        incoming_put_back(r, d->handle, intake_find(r, d->consumer));
    }
}
