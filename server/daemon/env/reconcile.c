// Owns the comparison of what is wanted with what is, after every event: starts, stops, restarts with
// backoff, removals. Called by the manager's settle event.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "env/internal.h"
#include "env/logfile.h"

#define REMOVE_AGAIN_MS 200
#define BACKOFF_MAX_MS  30000

void reconcile_queue(struct env *e)
{
    if (!e->queued) {
        e->queued = true;
        e->next_queued = e->manager->queue;
        e->manager->queue = e;
    }
    event_active(e->manager->settle, EV_TIMEOUT, 0);
}

static void queue_one(struct env *e, void *arg)
{
    (void)arg;
    reconcile_queue(e);
}

void reconcile_all(struct manager *m)
{
    env_each(m, queue_one, NULL);
}

// --- removal ---

struct removal {
    struct manager *manager;
    char tenant[NAME_CAP], name[NAME_CAP], uid[ID_TEXT_CAP];
};

static int removal_build(void *arg, const struct store *store, struct store_txn *txn)
{
    struct removal *r = arg;
    struct refusal why;
    return environment_remove(store, txn, r->tenant, r->name, r->uid, &why);
}

static void removal_done(void *arg, const struct store_result *result)
{
    struct removal *r = arg;
    struct env *e = env_find(r->manager, r->tenant, r->name);
    if (result->rc < 0 && result->rc != -ENOENT && e) {
        log_error(e->about, "cannot be removed, trying again: %s", result->err.text);
        e->removing = false;
        env_timer_in(e, REMOVE_AGAIN_MS); // and then it is reconciled
    }
    free(r);
}

static const struct mutation_ops removal_ops = {removal_build, removal_done};

static void remove_env(struct env *e)
{
    if (e->removing)
        return;
    struct removal *r = calloc(1, sizeof *r);
    if (r) {
        r->manager = e->manager;
        snprintf(r->tenant, sizeof r->tenant, "%s", e->tenant);
        snprintf(r->name, sizeof r->name, "%s", e->name);
        snprintf(r->uid, sizeof r->uid, "%s", e->uid);
    }
    if (r && mutate_queued(e->manager->deps.mutator, &removal_ops, r) == 0) {
        e->removing = true;
        return;
    }
    free(r);
    env_timer_in(e, REMOVE_AGAIN_MS);
}

// --- restarts ---

static bool wants_restart(const struct env *e)
{
    if (e->spec.restart == ENV_RESTART_NEVER || e->state == ENV_DEFINED)
        return false;
    bool clean = strcmp(e->reason.code, "powered-off") == 0 || (e->has_exit_status && e->exit_status == 0);
    bool failed = e->state != ENV_STOPPED || !clean;
    return e->spec.restart == ENV_RESTART_ALWAYS || failed;
}

// The guest has asked for it: no policy is needed, and it is no failure.
static bool rebooted(const struct env *e)
{
    return e->state == ENV_STOPPED && strcmp(e->reason.code, "rebooted") == 0;
}

static uint64_t backoff_ms(const struct env *e)
{
    uint64_t ms = e->manager->config.restart_min_ms;
    if (rebooted(e) && e->short_runs <= 1)
        return 0; // at once, but for one that does nothing else
    for (uint32_t i = 1; i < e->short_runs && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

// Starts again when it is time, and sees to it that somebody looks then.
static void restart(struct env *e)
{
    uint64_t now = io_monotonic_ns();
    if (e->restart_due_ns == 0) {
        uint64_t ms = backoff_ms(e);
        e->restart_due_ns = now + ms * 1000000u;
        e->next_start_ms = io_realtime_ms() + ms;
        env_timer_in(e, ms);
        status_dirty(e);
    }
    if (now < e->restart_due_ns) {
        env_timer_in(e, (e->restart_due_ns - now) / 1000000u + 1);
    } else {
        e->restart_due_ns = 0;
        if (rebooted(e))
            e->reboots++;
        else
            e->restarts++;
        env_dispatch(e, ENV_EVENT_START);
    }
}

static void start_anew(struct env *e)
{
    e->restarts = 0;
    e->reboots = 0;
    e->short_runs = 0;
    e->restart_due_ns = 0;
    env_dispatch(e, ENV_EVENT_START);
}

// --- the comparison ---

static void unwanted(struct env *e)
{
    e->restart_due_ns = 0;
    if (e->next_start_ms) {
        e->next_start_ms = 0;
        status_dirty(e);
    }
    if (env_state_has_vm(e->state) && e->state != ENV_STOPPING) {
        e->grace_ms = e->deleting ? 0 : operations_grace_ms(e);
        env_dispatch(e, ENV_EVENT_STOP);
    } else if (e->deleting && !env_state_has_vm(e->state)) {
        remove_env(e);
    }
}

static void wanted(struct env *e)
{
    if (env_state_has_vm(e->state) && e->state != ENV_STOPPING && e->generation_started < e->restart_below) {
        e->grace_ms = operations_grace_ms(e);
        env_dispatch(e, ENV_EVENT_STOP);
        return;
    }
    if (env_state_has_vm(e->state)) {
        run_follow_pause(e);
        if (e->state != ENV_STOPPING && e->generation_started != e->generation) {
            e->generation_started = e->generation; // asked to run again: it does already
            status_dirty(e);
        }
        return;
    }
    if (!priv_link_up(e->manager->priv))
        return; // everything is looked at again when the helper is back
    if (e->generation_started != e->generation)
        start_anew(e);
    else if (rebooted(e) || wants_restart(e))
        restart(e);
}

static void reconcile(struct env *e)
{
    if (e->spec.run && !e->deleting && !e->manager->stopping_all)
        wanted(e);
    else
        unwanted(e);
    operations_settle(e);
}

void on_settle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct manager *m = arg;
    if (!m->priv)
        return; // stopped
    operations_attach(m);
    while (m->queue) {
        struct env *e = m->queue;
        m->queue = e->next_queued;
        e->queued = false;
        reconcile(e);
    }
    status_flush(m);
    if (m->stopping_all)
        manager_check_stopped(m);
}
