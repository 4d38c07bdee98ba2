// What is refused for good, after its sender has heard that it was accepted: a copy goes to the dead letters
// with the reason, then the original goes, then a caller is told. In this order: who is told that its call
// was refused can rely on that it will not be delivered, and a crash between two of them leaves a second copy
// or a call that ends at its deadline. Called by incoming.c; decides nothing.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/remote_internal.h"

#define PATIENCE_MS 10000 // for the broker's confirm of the copy

struct burial {
    struct remote *remote;
    uint64_t handle;
    struct remote_refusal refusal;
};

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
    struct burial *b = malloc(sizeof *b);
    int rc = b ? 0 : -ENOMEM;
    if (b) {
        *b = (struct burial){r, d->handle, *refusal};
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
