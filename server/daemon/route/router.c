// The router itself: made, told which environments there are, counted, ended. What happens to a message
// begins in submit.c.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "route/router_internal.h"

#define SWEEP_S          1
#define MAILBOX_MESSAGES (1u << 16) // the most that a mailbox is built for
#define DEDUP_MAX        (1u << 16)

void router_config_default(struct router_config *ret)
{
    *ret = (struct router_config){
        .body_max_bytes = ENVELOPE_BODY_DEFAULT,
        .mailbox_messages_max = 1000,
        .mailbox_bytes_max = 8u << 20,
        .total_bytes_max = 256u << 20,
        .attempts_max = 16,
        .dead_max = 100,
        .dedup_window = 1024,
        .rate_per_s = 20000,
        .rate_burst = 20000,
        .calls_max = 256,
        .call_timeout_ms = 30000,
        .call_timeout_max_ms = 3600ull * 1000,
    };
}

static uint32_t at_most(uint32_t value, uint32_t max)
{
    return value < max ? value : max;
}

// Limits that would make no sense together are brought into line: a mailbox holds at least one message.
static struct router_config sane(const struct router_config *config)
{
    struct router_config c = *config;
    c.body_max_bytes = at_most(c.body_max_bytes, ENVELOPE_BODY_MAX);
    c.mailbox_messages_max = at_most(c.mailbox_messages_max ? c.mailbox_messages_max : 1, MAILBOX_MESSAGES);
    c.attempts_max = c.attempts_max ? c.attempts_max : 1;
    c.dedup_window = at_most(c.dedup_window ? c.dedup_window : 1, DEDUP_MAX);
    if (c.mailbox_bytes_max < c.body_max_bytes + ENVELOPE_OVERHEAD_MAX)
        c.mailbox_bytes_max = c.body_max_bytes + ENVELOPE_OVERHEAD_MAX;
    c.rate_per_s = at_most(c.rate_per_s, POLICY_RATE_MAX);
    c.rate_burst = at_most(c.rate_burst ? c.rate_burst : 1, POLICY_RATE_MAX);
    return c;
}

static void on_sweep(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct router *r = arg;
    uint64_t now_ms = r->ops->realtime_ms(r->ops_arg);
    struct environment *e;
    durable_tick(r->durable);
    LIST_FOREACH(e, &r->directory.all, link)
    {
        if (e->mailbox->ops->expire(e->mailbox, now_ms) && e->endpoint)
            e->endpoint->cb->on_mail(e->endpoint->arg);
    }
}

struct router *router_new(struct event_base *base, const struct router_config *config,
                          const struct router_ops *ops, void *arg, struct mediator *mediator)
{
    struct router *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->base = base;
    r->config = sane(config);
    r->ops = ops;
    r->ops_arg = arg;
    r->mediator = mediator;
    r->key = siphash_key_random();
    r->budget.bytes_max = r->config.total_bytes_max;
    LIST_INIT(&r->directory.all);
    if (directory_init(&r->directory) < 0 || calls_init(&r->calls) < 0 || monitors_init(&r->monitors) < 0 ||
        trace_init(&r->trace, ops->monotonic_ns, arg) < 0)
        goto fail;
    const struct timeval every = {.tv_sec = SWEEP_S};
    r->sweep = event_new(base, -1, EV_PERSIST, on_sweep, r);
    if (r->sweep && event_add(r->sweep, &every) == 0)
        return r;
fail:
    router_free(r);
    return NULL;
}

void router_free(struct router *r)
{
    if (!r)
        return;
    if (r->sweep)
        event_free(r->sweep);
    r->directory.on_service = NULL;
    router_flush(r);
    durable_close(r->durable); // what ends from here on is found again by the next envd
    calls_done(&r->calls);
    monitors_done(r);
    directory_done(&r->directory);
    durable_free(r->durable);
    trace_done(&r->trace);
    free(r);
}

int router_open_journal(struct router *r, const struct journal_config *config, struct err *err)
{
    return durable_open(r, config, &r->durable, err);
}

void router_settle(struct router *r)
{
    durable_settle(r->durable);
}

static struct journal *journal_of(const struct router *r)
{
    return r->durable ? *durable_journal(r->durable) : NULL;
}

void router_flush(struct router *r)
{
    if (journal_of(r))
        journal_flush(journal_of(r));
}

bool router_journal_stats(const struct router *r, struct journal_stats *ret)
{
    if (journal_of(r))
        journal_get_stats(journal_of(r), ret);
    return journal_of(r) != NULL;
}

const struct router_config *router_get_config(const struct router *r)
{
    return &r->config;
}

static struct mailbox *new_mailbox(struct router *r, const char *tenant, const char *name,
                                   struct kept_box *box)
{
    static struct journal *const none = NULL;
    const struct mailbox_limits limits = {
        .messages_max = r->config.mailbox_messages_max,
        .bytes_max = r->config.mailbox_bytes_max,
        .window = r->config.dedup_window,
        .attempts_max = r->config.attempts_max,
        .dead_max = r->config.dead_max,
        .budget = &r->budget,
    };
    return mailbox_host_new(&limits, r->durable ? durable_journal(r->durable) : &none, tenant, name, box);
}

static void trace_mailbox(void *arg, const struct message *m, enum mailbox_event event)
{
    static const enum trace_stage stages[] = {
        [MAILBOX_PUT] = TRACE_STORED,        [MAILBOX_TAKEN] = TRACE_DELIVERED, [MAILBOX_ACKED] = TRACE_ACKED,
        [MAILBOX_RELEASED] = TRACE_RELEASED, [MAILBOX_EXPIRED] = TRACE_EXPIRED, [MAILBOX_BURIED] = TRACE_DEAD,
        [MAILBOX_REPLAYED] = TRACE_REPLAYED, [MAILBOX_PURGED] = TRACE_PURGED,
    };
    const struct environment *e = arg;
    trace_add(e->trace, &m->id, stages[event], e->serial);
}

// The replies that it sent, so that it can send them again.
static void take_replies(const struct router *r, struct environment *e, const struct kept_box *box)
{
    const struct kept_key_list *keys = box ? &box->windows[KEPT_WINDOW_REPLIES] : NULL;
    if (!keys || keys->n == 0 || !(e->replies_sent = seen_new(r->config.dedup_window)))
        return;
    for (size_t i = 0; i < keys->n; i++)
        if (!seen_has(e->replies_sent, keys->keys[i].key))
            seen_add(e->replies_sent, keys->keys[i].key);
}

int router_environment_added(struct router *r, const char *tenant, const char *name)
{
    if (!name_valid(tenant, strlen(tenant)) || !name_valid(name, strlen(name)) ||
        strcmp(tenant, NAME_HOST) == 0 || strcmp(tenant, NAME_CLIENTS) == 0)
        return -EINVAL;
    if (directory_find(&r->directory, tenant, name))
        return -EEXIST;
    struct kept_box *box = durable_take_box(r->durable, tenant, name);
    struct mailbox *mailbox = new_mailbox(r, tenant, name, box);
    struct environment *e = mailbox ? directory_add(&r->directory, tenant, name, mailbox) : NULL;
    if (e) {
        take_replies(r, e, box);
        e->trace = &r->trace;
        mailbox->watch = trace_mailbox;
        mailbox->watch_arg = e;
    } else if (mailbox) {
        mailbox->ops->close(mailbox, false);
    }
    durable_free_box(box);
    return e ? 0 : -ENOMEM;
}

void router_tell_running(const struct router *r, const struct environment *e, bool running)
{
    if (e->announced)
        r->remote->environment_running(r->remote_arg, e->tenant, e->name, running);
}

int router_environment_mailbox(struct router *r, const char *tenant, const char *name,
                               enum router_mailbox mailbox)
{
    struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    if (e->announced)
        return 0;
    e->queue = mailbox == ROUTER_MAILBOX_QUEUE || (r->remote && mailbox == ROUTER_MAILBOX_DEFAULT);
    if (!r->remote)
        return 0;
    e->announced = true;
    r->remote->environment_added(r->remote_arg, e->tenant, e->name, e->queue);
    if (e->endpoint)
        router_tell_running(r, e, true);
    return 0;
}

static void tell_served(void *arg, const char *tenant, const char *service, bool served)
{
    const struct router *r = arg;
    r->remote->service_served(r->remote_arg, tenant, service, served);
}

void router_set_remote(struct router *r, const struct remote_ops *ops, void *arg)
{
    r->remote = ops;
    r->remote_arg = arg;
    r->directory.on_service = tell_served;
    r->directory.arg = r;
}

static uint64_t depth_of(const struct environment *e)
{
    struct mailbox_stats mailbox;
    e->mailbox->ops->get_stats(e->mailbox, &mailbox);
    return mailbox.messages;
}

uint64_t router_depth(const struct router *r, const char *tenant, const char *name)
{
    const struct environment *e = directory_find(&r->directory, tenant, name);
    return e ? depth_of(e) : 0;
}

bool router_has_remote(const struct router *r)
{
    return r->remote != NULL;
}

bool router_mailbox_is_queue(const struct router *r, const char *tenant, const char *name)
{
    const struct environment *e = directory_find(&r->directory, tenant, name);
    return e && e->queue;
}

uint64_t router_service_depth(const struct router *r, const char *tenant, const char *service)
{
    const struct service *s = directory_find_service(&r->directory, tenant, service);
    const struct serving *v;
    uint64_t least = UINT64_MAX;
    if (!s)
        return 0;
    TAILQ_FOREACH(v, &s->servers, in_service)
    {
        uint64_t depth = depth_of(v->environment);
        least = depth < least ? depth : least;
    }
    return least;
}

int router_environment_removed(struct router *r, const char *tenant, const char *name)
{
    struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    monitors_environment_removed(r, e);
    struct endpoint *ep = e->endpoint;
    if (e->announced)
        r->remote->environment_removed(r->remote_arg, e->tenant, e->name, e->queue);
    if (ep) {
        e->endpoint = NULL;
        ep->cb->on_removed(ep->arg);
        free(ep);
    }
    struct mailbox_stats mailbox;
    e->mailbox->ops->get_stats(e->mailbox, &mailbox);
    r->stats.expired += mailbox.expired; // router_get_stats() adds only those of mailboxes that are there
    directory_remove(&r->directory, e);  // before operators hear of their calls, and try again
    calls_end_all(e);
    environment_free(e, true);
    return 0;
}

static void add_mailbox(struct router_stats *stats, const struct environment *e)
{
    struct mailbox_stats mailbox;
    e->mailbox->ops->get_stats(e->mailbox, &mailbox);
    stats->expired += mailbox.expired;
    stats->dead += mailbox.dead;
    stats->depth += mailbox.messages;
    stats->depth_bytes += mailbox.bytes;
}

void router_get_stats(const struct router *r, struct router_stats *ret)
{
    *ret = r->stats;
    ret->calls_waiting = r->calls.by_handle.n_nodes - r->calls.n_answered;
    struct environment *e;
    LIST_FOREACH(e, &r->directory.all, link)
    {
        add_mailbox(ret, e);
    }
}

int router_environment_stats(const struct router *r, const char *tenant, const char *name,
                             struct router_stats *ret)
{
    const struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    *ret = e->stats;
    ret->calls_waiting = e->n_calls_made;
    add_mailbox(ret, e);
    return 0;
}
