// See monitors.h. What is watched is known by its name alone, because it may be on another host, or be
// deleted and made again.
#include "route/monitors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mediate/gcra.h"
#include "route/router_internal.h"

#define ASK_AGAIN_MS  2000
#define UNANSWERED_MS 5000

struct watched {
    struct table_node node;
    struct address address; // with its tenant
    uint32_t n_gone;        // how often it went since somebody first monitored it
    LIST_ENTRY(watched) of_far;
    bool far;                    // it was not of this host when somebody first monitored it
    uint64_t first_ms, asked_ms; // when other hosts were asked for it
    char host[NAME_CAP];         // that has it; "": not known
    LIST_HEAD(, monitor) monitors;
};

struct watcher {
    struct table_node node;
    struct environment *environment;
    unsigned n_monitors;
    LIST_HEAD(, monitor) monitors;
};

struct monitor {
    LIST_ENTRY(monitor) of_watched, of_watcher;
    struct watched *watched;
    struct watcher *watcher;
    char asked[ADDRESS_CAP]; // the address as the agent wrote it
    uint32_t n_gone;         // of watched: how much of it the agent was told
    bool waiting;            // for the first word of another host
    bool stale;              // the agent's connection was lost, and it has not asked again
};

int monitors_init(struct monitors *m)
{
    LIST_INIT(&m->far);
    return table_init(&m->watched, 0) < 0 || table_init(&m->watchers, 0) < 0 ? -ENOMEM : 0;
}

static void forget_watched(struct router *r, struct watched *w)
{
    table_remove(&r->monitors.watched, &w->node);
    if (w->far)
        LIST_REMOVE(w, of_far);
    free(w);
}

static void drop(struct router *r, struct monitor *m)
{
    struct watched *watched = m->watched;
    struct watcher *watcher = m->watcher;
    LIST_REMOVE(m, of_watched);
    LIST_REMOVE(m, of_watcher);
    free(m);
    if (LIST_EMPTY(&watched->monitors))
        forget_watched(r, watched);
    if (--watcher->n_monitors == 0) {
        table_remove(&r->monitors.watchers, &watcher->node);
        free(watcher);
    }
}

static void drop_all(struct router *r, struct watcher *w)
{
    struct monitor *next;
    for (struct monitor *m = LIST_FIRST(&w->monitors); m; m = next) {
        next = LIST_NEXT(m, of_watcher);
        drop(r, m); // the last one takes w along
    }
}

void monitors_done(struct router *r)
{
    struct table_node *n;
    while ((n = table_any(&r->monitors.watchers)))
        drop_all(r, table_entry(n, struct watcher, node));
    table_done(&r->monitors.watched);
    table_done(&r->monitors.watchers);
}

// ---- finding ----

static uint64_t hash_address(const struct router *r, const struct address *a)
{
    char text[ADDRESS_CAP];
    address_format(a, text);
    return siphash(&r->key, text, strlen(text));
}

static struct watched *find_watched(const struct router *r, const struct address *a)
{
    struct table_node *n = table_first(&r->monitors.watched, hash_address(r, a));
    while (n && !address_equals(&table_entry(n, struct watched, node)->address, a))
        n = table_next(n);
    return n ? table_entry(n, struct watched, node) : NULL;
}

static struct watcher *find_watcher(const struct router *r, const struct environment *e)
{
    struct table_node *n = table_first(&r->monitors.watchers, e->serial);
    return n ? table_entry(n, struct watcher, node) : NULL;
}

static struct monitor *find_asked(const struct router *r, const struct environment *e, const char *address)
{
    struct watcher *w = find_watcher(r, e);
    struct monitor *m = w ? LIST_FIRST(&w->monitors) : NULL;
    while (m && strcmp(m->asked, address) != 0)
        m = LIST_NEXT(m, of_watcher);
    return m;
}

// ---- asking ----

static struct watched *take_watched(struct router *r, const struct address *a)
{
    struct watched *w = find_watched(r, a);
    if (w || !(w = calloc(1, sizeof *w)))
        return w;
    w->address = *a;
    LIST_INIT(&w->monitors);
    table_insert(&r->monitors.watched, &w->node, hash_address(r, a));
    w->far = !directory_find(&r->directory, a->tenant, a->name);
    if (w->far)
        LIST_INSERT_HEAD(&r->monitors.far, w, of_far);
    return w;
}

static struct watcher *take_watcher(struct router *r, struct environment *e)
{
    struct watcher *w = find_watcher(r, e);
    if (w || !(w = calloc(1, sizeof *w)))
        return w;
    w->environment = e;
    LIST_INIT(&w->monitors);
    table_insert(&r->monitors.watchers, &w->node, e->serial);
    return w;
}

// Room for one more: one that the agent has not asked for again makes it.
static bool make_room(struct router *r, const struct environment *e)
{
    struct watcher *w = find_watcher(r, e);
    if (!w || w->n_monitors < MONITORS_MAX)
        return true;
    struct monitor *m = LIST_FIRST(&w->monitors);
    while (m && !m->stale)
        m = LIST_NEXT(m, of_watcher);
    if (m)
        drop(r, m);
    return m != NULL;
}

static struct monitor *add(struct router *r, struct environment *e, const struct address *a,
                           const char *asked)
{
    struct monitor *m = calloc(1, sizeof *m);
    struct watched *watched = m ? take_watched(r, a) : NULL;
    struct watcher *watcher = watched ? take_watcher(r, e) : NULL;
    if (!watcher) {
        if (watched && LIST_EMPTY(&watched->monitors))
            forget_watched(r, watched);
        free(m);
        return NULL;
    }
    *m = (struct monitor){.watched = watched, .watcher = watcher, .n_gone = watched->n_gone};
    snprintf(m->asked, sizeof m->asked, "%s", asked);
    LIST_INSERT_HEAD(&watched->monitors, m, of_watched);
    LIST_INSERT_HEAD(&watcher->monitors, m, of_watcher);
    watcher->n_monitors++;
    return m;
}

// The question whether e may send the other one a message about it.
static void make_question(const struct router *r, const struct environment *e, const struct address *to,
                          struct mediate_question *q)
{
    const char *unused_image;
    *q = (struct mediate_question){.target = {.tenant = to->tenant, .name = to->name},
                                   .subject = MONITORS_SUBJECT,
                                   .kind = MESSAGE_SEND};
    router_describe(r, e->tenant, e->name, &q->source, &q->image);
    if (directory_find(&r->directory, to->tenant, to->name))
        router_describe(r, to->tenant, to->name, &q->target, &unused_image);
}

// A refusal is remembered like a message's.
static enum receipt_code decide(struct router *r, struct environment *e, const struct address *to,
                                struct id *ret_refusal)
{
    struct mediate_question q;
    struct mediate_decision d = {
        .code = RECEIPT_RATE_LIMITED, .reason = MEDIATE_REASON_RATE_LIMIT, .rule = POLICY_RULE_NONE};
    uint64_t now_ns = r->ops->monotonic_ns(r->ops_arg), now_ms = r->ops->realtime_ms(r->ops_arg);
    make_question(r, e, to, &q);
    if (r->config.rate_per_s == 0 ||
        gcra_take(&e->rate_bucket, now_ns, r->config.rate_per_s, r->config.rate_burst))
        mediator_decide(r->mediator, &q, now_ns, &d);
    if (d.code == RECEIPT_ACCEPTED && !r->remote && !directory_find(&r->directory, to->tenant, to->name))
        d = (struct mediate_decision){.code = RECEIPT_NO_SUCH_ENVIRONMENT,
                                      .reason = MEDIATE_REASON_NO_TARGET,
                                      .rule = POLICY_RULE_NONE};
    if (d.code == RECEIPT_ACCEPTED)
        return RECEIPT_ACCEPTED;
    enum receipt_code told = router_may_tell(r, &q, &d);
    *ret_refusal = router_new_id(now_ms);
    mediator_record(r->mediator, ret_refusal, now_ms, &q, &d, told);
    return told;
}

static void ask_hosts(struct router *r, struct watched *w)
{
    w->asked_ms = r->ops->realtime_ms(r->ops_arg);
    if (r->remote && r->remote->environment_asked)
        r->remote->environment_asked(r->remote_arg, w->address.tenant, w->address.name);
}

static void look(const struct router *r, const struct address *a, bool missed, struct monitors_answer *ret)
{
    *ret = (struct monitors_answer){.away = missed, .certainty = AGENT_GONE_CERTAIN};
    snprintf(ret->reason, sizeof ret->reason, "it ended while this environment could not be told");
    if (r->ops->away && directory_find(&r->directory, a->tenant, a->name) &&
        r->ops->away(r->ops_arg, a->tenant, a->name, ret->reason, sizeof ret->reason))
        ret->away = true;
}

enum receipt_code monitors_add(struct router *r, struct environment *watcher, const char *address,
                               struct monitors_answer *ret)
{
    struct address a;
    *ret = (struct monitors_answer){.away = false};
    if (address_parse(address, strlen(address), &a) != NULL || a.is_service)
        return RECEIPT_INVALID;
    if (a.tenant[0] == '\0')
        memcpy(a.tenant, watcher->tenant, sizeof a.tenant);
    enum receipt_code code = decide(r, watcher, &a, &ret->refusal);
    if (code != RECEIPT_ACCEPTED)
        return code;
    struct monitor *m = find_asked(r, watcher, address);
    if (!m && make_room(r, watcher))
        m = add(r, watcher, &a, address);
    if (!m)
        return RECEIPT_RATE_LIMITED;
    look(r, &a, m->n_gone != m->watched->n_gone, ret);
    m->n_gone = m->watched->n_gone;
    m->stale = false;
    m->waiting = m->watched->far;
    if (m->watched->far) {
        m->watched->first_ms = r->ops->realtime_ms(r->ops_arg);
        ask_hosts(r, m->watched);
    }
    return RECEIPT_ACCEPTED;
}

enum receipt_code monitors_remove(struct router *r, struct environment *watcher, const char *address)
{
    struct monitor *m = find_asked(r, watcher, address);
    if (!m)
        return RECEIPT_NO_SUCH_ENVIRONMENT;
    drop(r, m);
    return RECEIPT_ACCEPTED;
}

// ---- telling ----

// The policy of now decides: it may be another than when the monitor began.
static bool may_know(const struct router *r, const struct monitor *m)
{
    struct mediate_question q;
    struct mediate_decision d;
    make_question(r, m->watcher->environment, &m->watched->address, &q);
    mediator_peek(r->mediator, &q, &d);
    return d.code == RECEIPT_ACCEPTED;
}

void monitors_detached(struct router *r, struct environment *watcher)
{
    struct watcher *w = find_watcher(r, watcher);
    struct monitor *m;
    if (w)
        LIST_FOREACH(m, &w->monitors, of_watcher)
    m->stale = true;
}

static void tell(const struct router *r, struct monitor *m, enum agent_certainty certainty,
                 const char *reason)
{
    struct endpoint *ep = m->watcher->environment->endpoint;
    if (m->stale || !ep || !ep->cb->on_gone)
        return; // it will ask
    m->n_gone = m->watched->n_gone;
    m->waiting = false;
    if (may_know(r, m))
        ep->cb->on_gone(ep->arg, m->asked, certainty, reason);
}

static void tell_all(const struct router *r, struct watched *w, enum agent_certainty certainty,
                     const char *reason)
{
    struct monitor *m;
    w->n_gone++;
    LIST_FOREACH(m, &w->monitors, of_watched)
    tell(r, m, certainty, reason);
}

static struct watched *find_by_name(const struct router *r, const char *tenant, const char *name)
{
    struct address a = {.is_service = false};
    snprintf(a.tenant, sizeof a.tenant, "%s", tenant);
    snprintf(a.name, sizeof a.name, "%s", name);
    return find_watched(r, &a);
}

void router_environment_went(struct router *r, const char *tenant, const char *name,
                             enum agent_certainty certainty, const char *reason)
{
    struct watched *watched = find_by_name(r, tenant, name);
    const struct environment *e = directory_find(&r->directory, tenant, name);
    if (watched)
        tell_all(r, watched, certainty, reason);
    if (!e || certainty != AGENT_GONE_CERTAIN)
        return;
    if (r->remote && r->remote->environment_went)
        r->remote->environment_went(r->remote_arg, tenant, name, reason);
    struct watcher *own = find_watcher(r, e);
    if (own) // the programs that wanted to know are no more
        drop_all(r, own);
}

void monitors_environment_removed(struct router *r, struct environment *e)
{
    char reason[MONITORS_REASON_CAP];
    bool known = r->ops->away && r->ops->away(r->ops_arg, e->tenant, e->name, reason, sizeof reason);
    struct watcher *own = find_watcher(r, e);
    if (!known) // else its end was told
        router_environment_went(r, e->tenant, e->name, AGENT_GONE_CERTAIN, "it was deleted");
    else if (own)
        drop_all(r, own);
}

// ---- other hosts ----

bool router_presence_here(const struct router *r, const char *tenant, const char *name, char *ret_reason,
                          size_t cap)
{
    ret_reason[0] = '\0';
    if (!directory_find(&r->directory, tenant, name))
        return false;
    if (r->ops->away && r->ops->away(r->ops_arg, tenant, name, ret_reason, cap) && ret_reason[0] == '\0')
        snprintf(ret_reason, cap, "it does not run");
    return true;
}

// What is said of an environment of this host by another one is not believed.
static struct watched *find_far(const struct router *r, const char *tenant, const char *name)
{
    struct watched *w = find_by_name(r, tenant, name);
    return w && w->far && !directory_find(&r->directory, tenant, name) ? w : NULL;
}

void router_presence_told(struct router *r, const char *host, const char *tenant, const char *name,
                          const char *reason)
{
    struct watched *w = find_far(r, tenant, name);
    struct monitor *m;
    if (!w)
        return;
    bool first = w->host[0] == '\0';
    snprintf(w->host, sizeof w->host, "%s", host);
    LIST_FOREACH(m, &w->monitors, of_watched)
    {
        if ((m->waiting || first) && reason[0])
            tell(r, m, AGENT_GONE_CERTAIN, reason);
        m->waiting = false;
    }
}

void router_presence_went(struct router *r, const char *host, const char *tenant, const char *name,
                          const char *reason)
{
    struct watched *w = find_far(r, tenant, name);
    if (!w)
        return;
    snprintf(w->host, sizeof w->host, "%s", host);
    tell_all(r, w, AGENT_GONE_CERTAIN, reason);
}

void router_host_silent(struct router *r, const char *host)
{
    struct watched *w;
    LIST_FOREACH(w, &r->monitors.far, of_far)
    {
        if (strcmp(w->host, host) != 0)
            continue;
        w->host[0] = '\0'; // whoever has it when hosts are heard of again will say so
        tell_all(r, w, AGENT_GONE_UNKNOWN, "nothing has been heard of its host for a while");
    }
}

void router_presence_tick(struct router *r, uint64_t now_ms)
{
    struct watched *w;
    struct monitor *m;
    LIST_FOREACH(w, &r->monitors.far, of_far)
    {
        if (w->host[0] || now_ms - w->asked_ms < ASK_AGAIN_MS)
            continue;
        ask_hosts(r, w);
        LIST_FOREACH(m, &w->monitors, of_watched)
        if (m->waiting && now_ms - w->first_ms >= UNANSWERED_MS)
            tell(r, m, AGENT_GONE_UNKNOWN, "no host says that it has it");
    }
}
