// Publishes a dead letter to where it came from, as far as it is proven who sent it. Called by dead.c. The
// receiver's host decides on it again: who replays vouches for its sender and for nothing else
// (env-replayed-by, env-replayed-exchange; amqp_read.c).
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/io.h"
#include "remote/bundle.h"
#include "remote/remote_internal.h"

#define PATIENCE_MS 10000

// The last of that name: what a host added is behind what the sender said.
struct broker_text remote_last_header(const struct broker_properties *p, const char *name)
{
    for (size_t i = p->n_headers; i-- > 0;)
        if (broker_text_is(p->headers[i].name, name))
            return p->headers[i].value;
    return (struct broker_text){NULL, 0};
}

static void drop_headers(struct broker_properties *p, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_headers; i++)
        if (!broker_text_begins(p->headers[i].name, prefix))
            p->headers[n++] = p->headers[i];
    p->n_headers = n;
}

// The letter as it was before it was refused. What a host wrote among the dead letters bears the host's
// user-id, which the broker validated, and nobody else can write env-refused-* behind it. False: nothing
// proves who sent it.
static bool restore(struct broker_delivery *d)
{
    struct broker_properties *p = &d->properties;
    bool by_host = broker_text_begins(p->user_id, AMQP_USER_HOST);
    if (by_host && remote_last_header(p, "env-refused-by").len > 0) {
        d->exchange = remote_last_header(p, "env-refused-exchange");
        p->user_id = remote_last_header(p, "env-refused-user");
    } else if (by_host) { // the broker put a host's message there
        d->exchange = remote_last_header(p, "x-first-death-exchange");
    } else if (broker_text_begins(p->user_id, AMQP_USER_CLIENT)) {
        d->exchange = p->user_id;
    } else {
        return false;
    }
    drop_headers(p, "env-refused");
    drop_headers(p, "x-first-death");
    drop_headers(p, "x-last-death");
    return true;
}

static int refuse(const char *why_code, const char *why_text, const char **ret_code, const char **ret_text)
{
    *ret_code = why_code;
    *ret_text = why_text;
    return -EINVAL;
}

static int check(struct remote *r, struct broker_delivery *d, const char **ret_code, const char **ret_text)
{
    const struct envelope *e = &r->incoming.envelope;
    uint64_t now_ms = io_realtime_ms();
    if (!restore(d))
        return refuse("unproven-sender", "nothing proves who sent it", ret_code, ret_text);
    if (bundle_is(
            d)) // the only way in which several in one come here: none of them is worth anything any more
        return refuse("expired", "it is several messages in one, whose time is over", ret_code, ret_text);
    enum amqp_fault fault = amqp_read(d, now_ms, &r->incoming, ret_text);
    if (fault != AMQP_GOOD)
        return refuse(amqp_fault_name(fault), *ret_text, ret_code, ret_text);
    if (e->kind == MESSAGE_REPLY)
        return refuse("expired", "it is a reply: the call that it answers is over", ret_code, ret_text);
    if (e->expires_ms != 0 && e->expires_ms <= now_ms)
        return refuse("expired", "its time is over", ret_code, ret_text);
    return 0;
}

int remote_dead_publish(struct remote *r, const struct broker_delivery *letter, broker_done_cb *done,
                        void *arg, const char **ret_code, const char **ret_text)
{
    struct broker_delivery d = *letter;
    struct broker_properties *p = &d.properties;
    char id[ID_TEXT_CAP];
    uint8_t random[10];
    int rc = check(r, &d, ret_code, ret_text);
    if (rc < 0)
        return rc;
    // Of one that was replayed before, where it came from at first.
    struct broker_text origin = remote_last_header(p, "env-replayed-exchange");
    if (origin.len == 0)
        origin = d.exchange;
    drop_headers(p, "env-replayed-");
    if (p->n_headers + 2 > BROKER_HEADERS_MAX)
        return refuse("oversized-headers", "there are too many headers", ret_code, ret_text);
    p->headers[p->n_headers++] =
        (struct broker_header){broker_text_of("env-replayed-by"), broker_text_of(r->host)};
    p->headers[p->n_headers++] = (struct broker_header){broker_text_of("env-replayed-exchange"), origin};
    if (p->message_id.len == 0) { // outside clients need give none; the broker's answer does
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return refuse("busy", "there is no randomness for its id", ret_code, ret_text);
        const struct id made = id_make(io_realtime_ms(), random);
        id_format(&made, id);
        p->message_id = broker_text_of(id);
    }
    p->user_id = broker_text_of(r->user);
    p->expiration = (struct broker_text){NULL, 0};
    const struct broker_publication out = {
        .exchange =
            broker_text_of(broker_text_is(origin, AMQP_EXCHANGE_EVENT) ? AMQP_EXCHANGE_EVENT : AMQP_EXCHANGE),
        .routing_key = d.routing_key,
        .mandatory = true,
        .properties = *p,
        .body = d.body,
        .patience_ms = PATIENCE_MS};
    rc = broker_publish(r->broker, &out, done, arg);
    return rc == 0 ? 0 : refuse("busy", "the link to the broker has no room for it now", ret_code, ret_text);
}
