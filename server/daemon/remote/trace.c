// Asks every host what it remembers of a message, and answers when others ask. Called by the API through
// far_trace.h, and by incoming.c; what the bytes are is trace_map.c's. Said over exchange env.event:
//
//   key host.trace        header env-trace: asks, env-trace-round: a number of the asker's, message-id: of
//   what key host.trace.HOST   header env-trace: tells, the same round and message-id; the body is the answer
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "remote/remote_internal.h"
#include "remote/trace_map.h"

#define PATIENCE_MS      1000
#define NEWCOMER_MS      10000 // so long after its start a host may not have heard of all others
#define ROUNDS_MAX       16
#define HOSTS_MAX        1000
#define ANSWERS_EVERY_MS 1000 // at most ANSWERS_MAX in this time: a flood of questions costs no more
#define ANSWERS_MAX      200

// One question, until all have answered or its time is over.
struct trace_round {
    LIST_ENTRY(trace_round) link;
    struct remote *remote;
    struct event *timer;
    uint64_t number, asked_us;
    struct id id;
    remote_trace_cb *cb;
    void *arg;
    uint64_t tag;
    bool linger; // who is there is not known yet: waits its whole time
    char why[256];
    size_t n_hosts, n_waiting, n_stages;
    struct remote_trace_host *hosts; // HOSTS_MAX of them
};

const char *remote_trace_state_name(enum remote_trace_state state)
{
    static const char *const names[REMOTE_TRACE_STATES] = {
        [REMOTE_TRACE_HERE] = "here",
        [REMOTE_TRACE_ANSWERED] = "answered",
        [REMOTE_TRACE_LATE] = "late",
        [REMOTE_TRACE_SILENT] = "silent",
        [REMOTE_TRACE_UNREADABLE] = "unreadable",
    };
    return state < REMOTE_TRACE_STATES ? names[state] : "unknown";
}

// Nobody waits for it: what does not arrive is an answer that is late.
static void on_said(void *arg, enum broker_outcome outcome)
{
    (void)arg;
    (void)outcome;
}

static int say(struct remote *r, const char *key, const char *what, uint64_t round, const struct id *id,
               struct broker_text body)
{
    char id_text[ID_TEXT_CAP], number[24];
    id_format(id, id_text);
    snprintf(number, sizeof number, "%" PRIu64, round);
    const struct broker_publication p = {
        .exchange = broker_text_of(AMQP_EXCHANGE_EVENT),
        .routing_key = broker_text_of(key),
        .properties = {.user_id = broker_text_of(r->user),
                       .message_id = broker_text_of(id_text),
                       .expiration = broker_text_of("5000"),
                       .n_headers = 2,
                       .headers = {{broker_text_of("env-trace"), broker_text_of(what)},
                                   {broker_text_of("env-trace-round"), broker_text_of(number)}}},
        .body = body,
        .patience_ms = PATIENCE_MS,
    };
    return broker_publish(r->broker, &p, on_said, NULL);
}

// --- the end of a round ---

static void round_free(struct trace_round *t)
{
    for (size_t i = 0; i < t->n_hosts; i++)
        free(t->hosts[i].stages);
    free(t->hosts);
    if (t->timer)
        event_free(t->timer);
    free(t);
}

static void tell(const struct remote_trace_host *hosts, size_t n_hosts, const struct id *id, const char *why,
                 remote_trace_cb *cb, void *arg, uint64_t tag)
{
    size_t n = 1;
    for (size_t i = 0; i < n_hosts; i++)
        n += hosts[i].n_stages;
    struct remote_trace_line *lines = calloc(n, sizeof *lines);
    struct remote_trace story = {.id = *id, .hosts = hosts, .n_hosts = n_hosts, .lines = lines, .why = why};
    if (lines)
        story.n_lines = trace_merge(hosts, n_hosts, lines);
    cb(arg, tag, &story);
    free(lines);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct trace_round *t = arg;
    (void)fd;
    (void)what;
    LIST_REMOVE(t, link);
    tell(t->hosts, t->n_hosts, &t->id, t->why[0] ? t->why : NULL, t->cb, t->arg, t->tag);
    round_free(t);
}

static void finish_if_whole(struct trace_round *t)
{
    const struct timeval now = {0};
    if (t->n_waiting == 0 && !t->linger)
        event_add(t->timer, &now);
}

// --- asking ---

static struct remote_trace_host *add_host(struct trace_round *t, const char *name,
                                          enum remote_trace_state state)
{
    if (t->n_hosts == HOSTS_MAX)
        return NULL;
    struct remote_trace_host *h = &t->hosts[t->n_hosts++];
    snprintf(h->name, sizeof h->name, "%s", name);
    h->state = state;
    t->n_waiting += state == REMOTE_TRACE_LATE;
    return h;
}

static void add_peers(struct trace_round *t)
{
    const struct peer *p;
    LIST_FOREACH(p, &t->remote->peers, link)
    {
        add_host(t, p->host, p->silent ? REMOTE_TRACE_SILENT : REMOTE_TRACE_LATE);
    }
}

// Why nobody can be asked; "" when they were.
static void ask(struct trace_round *t)
{
    struct remote *r = t->remote;
    struct broker_stats s;
    broker_get_stats(r->broker, &s);
    if (s.state != BROKER_READY)
        snprintf(t->why, sizeof t->why, "broker %.64s is %s%s%.100s", r->broker_host,
                 broker_state_name(s.state), s.why[0] ? ": " : "", s.why);
    else if (say(r, r->trace_key, "asks", t->number, &t->id, (struct broker_text){"", 0}) < 0)
        snprintf(t->why, sizeof t->why, "the link to the broker has no room for the question");
    if (!t->why[0])
        return;
    t->n_waiting = 0;
    t->linger = false;
}

static struct trace_round *round_new(struct remote *r, const struct id *id)
{
    struct trace_round *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->remote = r;
    t->id = *id;
    t->number = ++r->ids;
    t->asked_us = io_realtime_us();
    t->linger = io_realtime_ms() - r->started_ms < NEWCOMER_MS;
    t->timer = evtimer_new(r->base, on_time, t);
    t->hosts = calloc(HOSTS_MAX, sizeof *t->hosts);
    struct remote_trace_host *here = t->hosts ? add_host(t, r->host, REMOTE_TRACE_HERE) : NULL;
    if (!t->timer || !here || trace_collect(r->router, id, t->asked_us, here) < 0) {
        round_free(t);
        return NULL;
    }
    t->n_stages = here->n_stages;
    return t;
}

int remote_trace(struct remote *r, const struct id *id, remote_trace_cb *cb, void *arg, uint64_t tag)
{
    const struct timeval patience = {PATIENCE_MS / 1000, PATIENCE_MS % 1000 * 1000L};
    const struct trace_round *other;
    size_t n = 0;
    if (!r->broker)
        return -ENOTCONN;
    LIST_FOREACH(other, &r->traces, link)
    {
        n++;
    }
    if (n >= ROUNDS_MAX)
        return -EBUSY;
    struct trace_round *t = round_new(r, id);
    if (!t || event_add(t->timer, &patience) < 0) {
        if (t)
            round_free(t);
        return -ENOMEM;
    }
    t->cb = cb;
    t->arg = arg;
    t->tag = tag;
    add_peers(t);
    LIST_INSERT_HEAD(&r->traces, t, link);
    ask(t);
    finish_if_whole(t);
    return 0;
}

int remote_trace_here(const struct router *router, const char *host, const struct id *id, remote_trace_cb *cb,
                      void *arg, uint64_t tag)
{
    struct remote_trace_host here = {.state = REMOTE_TRACE_HERE};
    int rc = trace_collect(router, id, io_realtime_us(), &here);
    if (rc < 0)
        return rc;
    snprintf(here.name, sizeof here.name, "%s", host ? host : "");
    tell(&here, 1, id, NULL, cb, arg, tag);
    free(here.stages);
    return 0;
}

// --- what the others say ---

static struct trace_round *find_round(const struct remote *r, const char *number)
{
    struct trace_round *t;
    char text[24];
    LIST_FOREACH(t, &r->traces, link)
    {
        snprintf(text, sizeof text, "%" PRIu64, t->number);
        if (strcmp(text, number) == 0)
            return t;
    }
    return NULL;
}

// NULL: it has answered already, or there are too many.
static struct remote_trace_host *expect_host(struct trace_round *t, const char *name)
{
    for (size_t i = 1; i < t->n_hosts; i++) {
        struct remote_trace_host *h = &t->hosts[i];
        if (strcmp(h->name, name) == 0)
            return h->state == REMOTE_TRACE_LATE || h->state == REMOTE_TRACE_SILENT ? h : NULL;
    }
    return add_host(t, name, REMOTE_TRACE_LATE);
}

static void take_answer(struct trace_round *t, const char *name, const struct broker_delivery *d)
{
    struct remote_trace_host *h = expect_host(t, name);
    if (!h)
        return;
    t->n_waiting -= h->state == REMOTE_TRACE_LATE;
    h->state = REMOTE_TRACE_UNREADABLE;
    if (trace_read(d->body.data ? d->body.data : "", d->body.len, h)) {
        h->state = REMOTE_TRACE_ANSWERED;
        trace_compare_clocks(h, t->asked_us, io_realtime_us());
        if (t->n_stages + h->n_stages > TRACE_STORY_STAGES) {
            h->n_stages = 0;
            h->more = true;
        }
        t->n_stages += h->n_stages;
    }
    finish_if_whole(t);
}

static bool may_answer(struct remote *r)
{
    uint64_t now_ms = io_realtime_ms();
    if (now_ms - r->answered_ms >= ANSWERS_EVERY_MS) {
        r->answered_ms = now_ms;
        r->n_answered = 0;
    }
    return r->n_answered++ < ANSWERS_MAX;
}

static void answer(struct remote *r, const char *asker, const char *round, const struct id *id)
{
    uint8_t body[TRACE_ANSWER_CAP];
    char key[sizeof r->trace_key + NAME_CAP + 1], *end;
    struct remote_trace_host here = {.state = REMOTE_TRACE_HERE};
    uint64_t number = strtoull(round, &end, 10);
    if (round[0] < '0' || round[0] > '9' || *end != '\0' || !may_answer(r) ||
        trace_collect(r->router, id, io_realtime_us(), &here) < 0)
        return;
    snprintf(key, sizeof key, "%s.%s", r->trace_key, asker);
    size_t len = trace_write(&here, body);
    (void)say(r, key, "tells", number, id, (struct broker_text){(const char *)body, len});
    free(here.stages);
}

bool remote_trace_is(const struct remote *r, const struct broker_delivery *d)
{
    return broker_text_is(d->exchange, AMQP_EXCHANGE_EVENT) &&
           (broker_text_is(d->routing_key, r->trace_key) || broker_text_is(d->routing_key, r->answer_key));
}

void remote_trace_heard(struct remote *r, const struct broker_delivery *d)
{
    char host[NAME_CAP], what[8], round[24];
    struct broker_text id_text = d->properties.message_id;
    struct id id;
    if (!r->broker || !remote_talk_sender(d, host) || strcmp(host, r->host) == 0 ||
        !remote_talk_header(d, "env-trace", what, sizeof what) ||
        !remote_talk_header(d, "env-trace-round", round, sizeof round) ||
        !id_parse(id_text.data ? id_text.data : "", id_text.len, &id))
        return;
    struct trace_round *t = strcmp(what, "tells") == 0 ? find_round(r, round) : NULL;
    if (t && id_equals(&t->id, &id))
        take_answer(t, host, d);
    else if (strcmp(what, "asks") == 0 && broker_text_is(d->routing_key, r->trace_key))
        answer(r, host, round, &id);
}

// --- life ---

int remote_trace_init(struct remote *r)
{
    r->started_ms = io_realtime_ms();
    amqp_key(NAME_HOST, "trace", false, r->trace_key);
    int n = snprintf(r->answer_key, sizeof r->answer_key, "%s.%s", r->trace_key, r->host);
    if (n < 0 || (size_t)n >= sizeof r->answer_key)
        return -EINVAL;
    int rc = broker_want_binding(r->broker, r->talk, AMQP_EXCHANGE_EVENT, r->trace_key);
    return rc == 0 ? broker_want_binding(r->broker, r->talk, AMQP_EXCHANGE_EVENT, r->answer_key) : rc;
}

void remote_trace_done(struct remote *r)
{
    struct trace_round *t, *next;
    for (t = LIST_FIRST(&r->traces); t; t = next) {
        next = LIST_NEXT(t, link);
        round_free(t);
    }
    LIST_INIT(&r->traces);
}
