// Owns the asking after what environments use: rounds of questions to monitors and agents, the last answers,
// the sums. Called by run.c (answers), manager.c (its tick) and api/.
#include "env/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/io.h"
#include "common/log.h"
#include "env/disks.h"
#include "env/internal.h"

#define ROUND_MS 500 // who has not answered by then is shown as it was

struct stats_round {
    struct stats_round *next;
    struct manager *manager;
    char tenant[NAME_CAP], name[NAME_CAP]; // empty: all
    uint64_t since_ns;
    size_t pending; // answers that have not come
    struct event *timer;
    stats_cb *cb;
    void *arg;
};

static bool includes(const struct stats_round *r, const struct env *e)
{
    return (r->tenant[0] == '\0' || strcmp(r->tenant, e->tenant) == 0) &&
           (r->name[0] == '\0' || strcmp(r->name, e->name) == 0);
}

static void round_free(struct stats_round *r)
{
    for (struct stats_round **p = &r->manager->rounds; *p; p = &(*p)->next) {
        if (*p != r)
            continue;
        *p = r->next;
        break;
    }
    event_free(r->timer);
    free(r);
}

static void on_round_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct stats_round *r = arg;
    stats_cb *cb = r->cb;
    void *cb_arg = r->arg;
    round_free(r);
    cb(cb_arg);
}

// An answer of e came, the one before at *ret_ns.
static void answered(struct env *e, uint64_t *ret_ns)
{
    uint64_t before_ns = *ret_ns;
    *ret_ns = io_monotonic_ns();
    for (struct stats_round *r = e->manager->rounds; r; r = r->next)
        if (includes(r, e) && before_ns < r->since_ns && r->pending > 0 && --r->pending == 0)
            event_active(r->timer, EV_TIMEOUT, 0);
}

void stats_vm_answered(struct env *e, const struct vmctl_stats *stats)
{
    if (stats->disk_errors > e->vm_stats.disk_errors)
        log_warn(e->about,
                 "%llu requests of its disks failed since it was asked last: %s; the guest saw I/O errors",
                 (unsigned long long)(stats->disk_errors - e->vm_stats.disk_errors),
                 strerror((int)stats->disk_last_errno));
    e->vm_stats = *stats;
    e->vm_stats_ms = io_realtime_ms();
    answered(e, &e->vm_stats_ns);
}

static void on_guest_stats(void *arg, int rc, const struct agent_stats *stats)
{
    struct env *e = arg;
    e->guest_asked = false;
    e->has_guest_stats = rc == 0;
    if (rc == 0)
        e->guest_stats = *stats;
    answered(e, &e->guest_stats_ns);
}

static void ask(struct env *e, void *arg)
{
    struct stats_round *r = arg;
    if (!includes(r, e) || !e->link)
        return;
    if (vm_link_stats(e->link) == 0)
        r->pending++;
    if (e->stands_still || !e->session)
        return;
    if (!e->guest_asked)
        e->guest_asked = session_request_stats(e->session, ROUND_MS, on_guest_stats, e) == 0;
    r->pending += e->guest_asked;
}

struct stats_round *stats_refresh(struct manager *m, const char *tenant, const char *name, stats_cb *cb,
                                  void *arg)
{
    struct stats_round *r = calloc(1, sizeof *r);
    if (r)
        r->timer = event_new(m->deps.base, -1, 0, on_round_over, r);
    if (!r || !r->timer) {
        free(r);
        return NULL;
    }
    r->manager = m;
    r->cb = cb;
    r->arg = arg;
    snprintf(r->tenant, sizeof r->tenant, "%s", tenant ? tenant : "");
    snprintf(r->name, sizeof r->name, "%s", name ? name : "");
    r->since_ns = io_monotonic_ns();
    r->next = m->rounds;
    m->rounds = r;
    env_each(m, ask, r);
    event_add(r->timer, &(struct timeval){.tv_usec = r->pending > 0 ? ROUND_MS * 1000 : 0});
    return r;
}

void stats_cancel(struct stats_round *r)
{
    if (r)
        round_free(r);
}

void stats_free(struct manager *m)
{
    while (m->rounds)
        round_free(m->rounds);
}

static void on_background(void *arg)
{
    (void)arg;
}

void stats_refresh_all(struct manager *m)
{
    stats_refresh(m, NULL, NULL, on_background, NULL);
}

bool stats_get(const struct manager *m, const char *tenant, const char *name, struct env_stats *ret)
{
    const struct env *e = env_find(m, tenant, name);
    if (!e)
        return false;
    const struct disks_owner owner = {m->config.state_folder, e->tenant, e->name, e->uid};
    *ret = (struct env_stats){.state = e->state,
                              .taken_ms = e->vm_stats_ms,
                              .vm = e->vm_stats,
                              .has_guest = e->has_guest_stats,
                              .guest = e->guest_stats,
                              .memory_mib = e->spec.memory_mib,
                              .vcpus = e->spec.vcpus};
    if (e->spec.kind == ENV_KIND_LINUX)
        ret->disk_used_bytes = disks_used_bytes(&owner, &e->spec);
    router_environment_stats(m->deps.router, tenant, name, &ret->messages);
    return true;
}

// --- sums ---

// The members that only grow while a machine runs; the others are what is used now.
static const size_t counters[] = {
    offsetof(struct vmctl_stats, cpu_ns),           offsetof(struct vmctl_stats, net_rx_bytes),
    offsetof(struct vmctl_stats, net_rx_packets),   offsetof(struct vmctl_stats, net_rx_dropped),
    offsetof(struct vmctl_stats, net_tx_bytes),     offsetof(struct vmctl_stats, net_tx_packets),
    offsetof(struct vmctl_stats, net_tx_dropped),   offsetof(struct vmctl_stats, disk_reads),
    offsetof(struct vmctl_stats, disk_writes),      offsetof(struct vmctl_stats, disk_read_bytes),
    offsetof(struct vmctl_stats, disk_write_bytes), offsetof(struct vmctl_stats, disk_flushes),
    offsetof(struct vmctl_stats, disk_errors),
};

static uint64_t *member(struct vmctl_stats *s, size_t offset)
{
    return (uint64_t *)(void *)((char *)s + offset);
}

static void add_counters(struct vmctl_stats *sum, struct vmctl_stats *s)
{
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        *member(sum, counters[i]) += *member(s, counters[i]);
}

void stats_run_over(struct env *e)
{
    add_counters(&e->manager->ended, &e->vm_stats);
    e->vm_stats = (struct vmctl_stats){0};
    e->vm_stats_ms = 0;
    e->has_guest_stats = false;
}

static void add_env(struct env *e, void *arg)
{
    struct vmctl_stats *sum = arg;
    add_counters(sum, &e->vm_stats);
    sum->rss_bytes += e->vm_stats.rss_bytes;
    sum->guest_memory_bytes += e->vm_stats.guest_memory_bytes;
    sum->balloon_bytes += e->vm_stats.balloon_bytes;
}

void stats_totals(const struct manager *m, struct vmctl_stats *ret)
{
    *ret = m->ended;
    env_each(m, add_env, ret);
}
