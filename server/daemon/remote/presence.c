// What hosts tell each other about their environments, for those that monitor them: that one has gone, who
// knows one, and that a host is there at all. Said to every host over exchange env.event, key host.presence.
// Called by the router through remote_ops, by incoming.c and by the tick; knows no monitors.
//
//   header env-presence: gone   env-tenant, env-name, env-reason: an environment of mine ended
//                        asks   env-tenant, env-name: whose is it?
//                        is     env-tenant, env-name, env-reason: mine; it runs when the reason is empty
//                        alive  nothing more
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/io.h"
#include "common/log.h"
#include "remote/remote_internal.h"

#define ALIVE_MS   5000
#define SILENT_MS  20000
#define PEERS_MAX  1000
#define REASON_CAP (AGENT_REASON_MAX + 1)

int remote_presence_init(struct remote *r)
{
    amqp_key(NAME_HOST, "presence", false, r->presence_key);
    return broker_want_binding(r->broker, r->talk, AMQP_EXCHANGE_EVENT, r->presence_key);
}

void remote_presence_done(struct remote *r)
{
    struct peer *p;
    while ((p = LIST_FIRST(&r->peers))) {
        LIST_REMOVE(p, link);
        free(p);
    }
}

// ---- saying ----

// Nobody waits for it: what does not arrive is asked for again, or is silence.
static void on_said(void *arg, enum broker_outcome outcome)
{
    (void)arg;
    (void)outcome;
}

static void say(struct remote *r, const char *what, const char *tenant, const char *name, const char *reason)
{
    struct broker_publication p = {
        .exchange = broker_text_of(AMQP_EXCHANGE_EVENT),
        .routing_key = broker_text_of(r->presence_key),
        .properties = {.user_id = broker_text_of(r->user),
                       .expiration = broker_text_of("30000"),
                       .n_headers = 4,
                       .headers = {{broker_text_of("env-presence"), broker_text_of(what)},
                                   {broker_text_of("env-tenant"), broker_text_of(tenant)},
                                   {broker_text_of("env-name"), broker_text_of(name)},
                                   {broker_text_of("env-reason"), broker_text_of(reason)}}},
        .patience_ms = ALIVE_MS,
    };
    if (r->broker)
        broker_publish(r->broker, &p, on_said, NULL);
}

void remote_presence_went(void *arg, const char *tenant, const char *name, const char *reason)
{
    say(arg, "gone", tenant, name, reason);
}

void remote_presence_ask(void *arg, const char *tenant, const char *name)
{
    say(arg, "asks", tenant, name, "");
}

// ---- hearing ----

static struct peer *find_peer(struct remote *r, const char *host)
{
    struct peer *p;
    size_t n = 0;
    LIST_FOREACH(p, &r->peers, link)
    {
        if (strcmp(p->host, host) == 0)
            return p;
        n++;
    }
    p = n < PEERS_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    snprintf(p->host, sizeof p->host, "%s", host);
    LIST_INSERT_HEAD(&r->peers, p, link);
    return p;
}

bool remote_talk_header(const struct broker_delivery *d, const char *name, char *out, size_t cap)
{
    for (size_t i = 0; i < d->properties.n_headers; i++) {
        const struct broker_header *h = &d->properties.headers[i];
        if (h->name.len != strlen(name) || memcmp(h->name.data, name, h->name.len) != 0)
            continue;
        return wire_view_to_cstr((struct wire_view){(const uint8_t *)h->value.data, h->value.len}, out, cap);
    }
    return false;
}

bool remote_talk_sender(const struct broker_delivery *d, char host[NAME_CAP])
{
    const struct broker_text *u = &d->properties.user_id;
    size_t prefix = strlen(AMQP_USER_HOST);
    if (u->len <= prefix || memcmp(u->data, AMQP_USER_HOST, prefix) != 0 ||
        !name_valid(u->data + prefix, u->len - prefix))
        return false;
    memcpy(host, u->data + prefix, u->len - prefix);
    host[u->len - prefix] = '\0';
    return true;
}

static void answer(struct remote *r, const char *tenant, const char *name)
{
    char reason[REASON_CAP];
    if (router_presence_here(r->router, tenant, name, reason, sizeof reason))
        say(r, "is", tenant, name, reason);
}

bool remote_presence_is(const struct remote *r, const struct broker_delivery *d)
{
    size_t len = strlen(r->presence_key);
    return d->routing_key.len == len && memcmp(d->routing_key.data, r->presence_key, len) == 0 &&
           d->exchange.len == strlen(AMQP_EXCHANGE_EVENT) &&
           memcmp(d->exchange.data, AMQP_EXCHANGE_EVENT, d->exchange.len) == 0;
}

void remote_presence_heard(struct remote *r, const struct broker_delivery *d)
{
    char host[NAME_CAP], what[16], tenant[NAME_CAP], name[NAME_CAP], reason[REASON_CAP];
    if (!remote_talk_sender(d, host) || strcmp(host, r->host) == 0 ||
        !remote_talk_header(d, "env-presence", what, sizeof what))
        return;
    struct peer *p = find_peer(r, host);
    if (p) {
        p->heard_ms = io_realtime_ms();
        p->silent = false;
    }
    if (!remote_talk_header(d, "env-tenant", tenant, sizeof tenant) || !name_valid(tenant, strlen(tenant)) ||
        !remote_talk_header(d, "env-name", name, sizeof name) || !name_valid(name, strlen(name)))
        return; // alive
    if (!remote_talk_header(d, "env-reason", reason, sizeof reason))
        reason[0] = '\0';
    if (strcmp(what, "asks") == 0)
        answer(r, tenant, name);
    else if (strcmp(what, "is") == 0)
        router_presence_told(r->router, host, tenant, name, reason);
    else if (strcmp(what, "gone") == 0)
        router_presence_went(r->router, host, tenant, name, reason);
}

// ---- time ----

// Who has not been heard of for a while cannot be reached, or this host cannot: which of the two is not
// known.
void remote_presence_tick(struct remote *r, uint64_t now_ms)
{
    struct peer *p;
    if (now_ms - r->alive_ms >= ALIVE_MS || now_ms < r->alive_ms) {
        r->alive_ms = now_ms;
        say(r, "alive", "", "", "");
    }
    LIST_FOREACH(p, &r->peers, link)
    {
        if (p->silent || now_ms - p->heard_ms < SILENT_MS || now_ms < p->heard_ms)
            continue;
        p->silent = true;
        router_host_silent(r->router, p->host);
    }
    router_presence_tick(r->router, now_ms);
}
