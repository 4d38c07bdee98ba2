// Owns the set of environments: loading it, following the store, the conversation with envpriv, adoption
// after a restart. Called by main and api/; what one environment does is in env.c, run.c and reconcile.c.
#include "env/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "env/logfile.h"
#include "env/measure.h"

#define FIGURES_TICKS 10 // so often environments are asked what they use, for the metrics

// --- what the store says ---

static void env_forget(struct env *e)
{
    struct manager *m = e->manager;
    operations_env_removed(e);
    disk_work_remove(e);
    logfile_remove(m->config.log_folder, e->tenant, e->name);
    router_environment_removed(m->deps.router, e->tenant, e->name);
    if (m->on_log)
        m->on_log(m->on_log_arg, e->tenant, e->name); // whoever follows its log learns of the end
    env_free(e);
}

static struct env *env_add(struct manager *m, const char *tenant, const char *name)
{
    struct env *e = env_new(m, tenant, name);
    int rc = e ? router_environment_added(m->deps.router, tenant, name) : -ENOMEM;
    if (rc == 0)
        return e;
    log_error(NULL, "cannot take in environment %s/%s: %s", tenant, name, strerror(-rc));
    if (e)
        env_free(e);
    return NULL;
}

// Only a document says how its mail comes.
static void announce(const struct env *e)
{
    static const enum router_mailbox mailboxes[] = {
        [ENV_MAILBOX_DEFAULT] = ROUTER_MAILBOX_DEFAULT,
        [ENV_MAILBOX_HOST] = ROUTER_MAILBOX_HOST,
        [ENV_MAILBOX_QUEUE] = ROUTER_MAILBOX_QUEUE,
    };
    if (e->doc)
        router_environment_mailbox(e->manager->deps.router, e->tenant, e->name, mailboxes[e->spec.mailbox]);
}

static void take_environment(struct manager *m, const char *key, json_t *doc)
{
    char tenant[NAME_CAP], name[NAME_CAP];
    if (!doc_key_split(key, DOC_ENVIRONMENTS, tenant, name))
        return;
    struct env *e = env_find(m, tenant, name);
    if (!e)
        e = env_add(m, tenant, name);
    if (!e)
        return;
    if (!env_take_document(e, doc))
        log_error(e->about, "the stored document is not usable: its tenant or its address is missing");
    announce(e);
    reconcile_queue(e);
}

static void on_environment(void *arg, const struct store_event *event)
{
    struct manager *m = arg;
    char tenant[NAME_CAP], name[NAME_CAP];
    if (event->type == STORE_EVENT_PUT) {
        _cleanup_json_ json_t *doc = json_loadb(event->value, event->len, 0, NULL);
        take_environment(m, event->key, doc);
    } else if (event->type == STORE_EVENT_DELETE &&
               doc_key_split(event->key, DOC_ENVIRONMENTS, tenant, name)) {
        struct env *e = env_find(m, tenant, name);
        if (e)
            env_forget(e);
    }
}

static void on_operation(void *arg, const struct store_event *event)
{
    if (event->type != STORE_EVENT_PUT)
        return;
    _cleanup_json_ json_t *doc = json_loadb(event->value, event->len, 0, NULL);
    operations_take(arg, event->key, doc);
}

// The tenant that had the network is gone: so goes its bridge.
static void on_net(void *arg, const struct store_event *event)
{
    struct manager *m = arg;
    unsigned net;
    int end = 0;
    if ((event->type != STORE_EVENT_PUT && event->type != STORE_EVENT_DELETE) ||
        sscanf(event->key, "net/%4u%n", &net, &end) != 1 || event->key[end] != '\0' || net >= PRIVCTL_NET_MAX)
        return;
    helper_net_gone(m, net, event->type == STORE_EVENT_DELETE);
}

static void load_environments(struct manager *m)
{
    const struct store *store = m->deps.store;
    for (const struct store_entry *at = store_next(store, DOC_ENVIRONMENTS, NULL); at;
         at = store_next(store, DOC_ENVIRONMENTS, at->key)) {
        char tenant[NAME_CAP], name[NAME_CAP], key[DOC_KEY_CAP];
        _cleanup_json_ json_t *doc = doc_of(at);
        if (!doc || !doc_key_split(at->key, DOC_ENVIRONMENTS, tenant, name))
            continue;
        take_environment(m, at->key, doc);
        struct env *e = env_find(m, tenant, name);
        doc_key_of(key, DOC_STATUS, tenant, name);
        _cleanup_json_ json_t *status = doc_load(store, key, NULL);
        if (e && status)
            status_load(e, status);
    }
}

// --- coming and going ---

static void on_rewrite(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct manager *m = arg;
    event_active(m->settle, EV_TIMEOUT, 0);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct manager *m = arg;
    log_warn(NULL, "not every virtual machine ended in time");
    m->on_stopped(m->on_stopped_arg);
}

static void watch(struct env *e, void *arg)
{
    run_watch(e, *(const uint64_t *)arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct manager *m = arg;
    uint64_t now_ns = io_monotonic_ns();
    env_each(m, watch, &now_ns);
    if (++m->ticks % FIGURES_TICKS == 0)
        stats_refresh_all(m);
}

static int make_events(struct manager *m)
{
    m->settle = event_new(m->deps.base, -1, 0, on_settle, m);
    m->rewrite = event_new(m->deps.base, -1, 0, on_rewrite, m);
    m->stop_timer = event_new(m->deps.base, -1, 0, on_stop_timer, m);
    m->tick = event_new(m->deps.base, -1, EV_PERSIST, on_tick, m);
    if (!m->settle || !m->rewrite || !m->stop_timer || !m->tick)
        return -ENOMEM;
    return event_add(m->tick, &(struct timeval){.tv_sec = 1}) < 0 ? -ENOMEM : 0;
}

static int follow_store(struct manager *m)
{
    uint64_t since = store_revision(m->deps.store);
    m->watch_envs = store_watch_open(m->deps.store, DOC_ENVIRONMENTS, since, on_environment, m);
    m->watch_operations = store_watch_open(m->deps.store, DOC_OPERATIONS, since, on_operation, m);
    m->watch_nets = store_watch_open(m->deps.store, "net/", since, on_net, m);
    return m->watch_envs && m->watch_operations && m->watch_nets ? 0 : -ENOMEM;
}

int manager_new(const struct manager_config *config, const struct manager_deps *deps, struct manager **ret,
                struct err *err)
{
    struct manager *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for the environments");
    m->config = *config;
    m->deps = *deps;
    int rc = measure_file(config->kernel_fd, m->kernel_digest);
    if (rc == 0)
        rc = make_events(m);
    if (rc == 0) {
        m->worker = file_worker_new(deps->base);
        rc = m->worker ? 0 : -ENOMEM;
    }
    if (rc == 0) {
        load_environments(m);
        disk_work_sweep(m); // before anybody can make disks
        operations_load(m);
        rc = follow_store(m);
    }
    if (rc == 0) {
        m->priv = priv_link_new(deps->base, config->priv_socket, &helper_callbacks, m);
        rc = m->priv ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        manager_stop(m);
        manager_free(m);
        return err_errno(err, rc, "take in the environments");
    }
    *ret = m;
    return 0;
}

static void let_go(struct env *e, void *arg)
{
    (void)arg;
    run_let_go(e);
}

void manager_stop(struct manager *m)
{
    status_flush(m);
    if (m->settle)
        event_del(m->settle);
    if (m->rewrite)
        event_del(m->rewrite);
    if (m->tick)
        event_del(m->tick);
    m->on_log = NULL;
    stats_free(m);
    env_each(m, let_go, NULL);
    priv_link_free(m->priv);
    m->priv = NULL;
    store_watch_close(m->watch_envs);
    store_watch_close(m->watch_operations);
    store_watch_close(m->watch_nets);
    m->watch_envs = m->watch_operations = m->watch_nets = NULL;
}

void manager_free(struct manager *m)
{
    if (!m)
        return;
    while (m->envs)
        env_free(*(struct env *const *)m->envs);
    file_worker_free(m->worker); // gives back what starts left with it
    operations_free(m);
    free(m->strays);
    if (m->settle)
        event_free(m->settle);
    if (m->rewrite)
        event_free(m->rewrite);
    if (m->tick)
        event_free(m->tick);
    if (m->stop_timer)
        event_free(m->stop_timer);
    free(m);
}

static void start_again_later(struct env *e, void *arg)
{
    (void)arg;
    if (env_state_has_vm(e->state)) {
        e->generation_started = 0; // so that the next envd finds that it was asked for and did not run
        reconcile_queue(e);
    }
}

static void count_running(struct env *e, void *arg)
{
    *(size_t *)arg += env_state_has_vm(e->state);
}

void manager_check_stopped(struct manager *m)
{
    size_t running = 0;
    env_each(m, count_running, &running);
    if (running == 0 && m->on_stopped) {
        void (*done)(void *arg) = m->on_stopped;
        m->on_stopped = NULL;
        event_del(m->stop_timer);
        done(m->on_stopped_arg);
    }
}

void manager_stop_all(struct manager *m, uint32_t timeout_ms, void (*done)(void *arg), void *arg)
{
    m->stopping_all = true;
    m->on_stopped = done;
    m->on_stopped_arg = arg;
    event_add(m->stop_timer, &(struct timeval){.tv_sec = timeout_ms / 1000,
                                               .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000});
    env_each(m, start_again_later, NULL);
    event_active(m->settle, EV_TIMEOUT, 0);
}

bool manager_describe(struct manager *m, const char *tenant, const char *name, struct router_identity *ret)
{
    const struct env *e = env_find(m, tenant, name);
    if (!e)
        return false;
    ret->labels = e->labels;
    ret->n_labels = e->n_labels;
    ret->image = e->measurement[0] ? e->measurement : NULL;
    return true;
}

bool manager_away(const struct manager *m, const char *tenant, const char *name, char *ret_reason,
                  size_t cap)
{
    const struct env *e = env_find(m, tenant, name);
    if (!e || env_state_has_vm(e->state) || !priv_link_up(m->priv))
        return false;
    env_tell_end(e, ret_reason, cap);
    return true;
}

bool manager_helper_up(const struct manager *m)
{
    return priv_link_up(m->priv);
}

const char *manager_helper_trouble(const struct manager *m)
{
    return m->trouble;
}

const struct priv_facts *manager_facts(const struct manager *m)
{
    return &m->facts;
}

static void count_state(struct env *e, void *arg)
{
    size_t *by_state = arg;
    by_state[e->state]++;
}

void manager_count(const struct manager *m, size_t ret_by_state[ENV_STATE_COUNT])
{
    memset(ret_by_state, 0, ENV_STATE_COUNT * sizeof ret_by_state[0]);
    env_each(m, count_state, ret_by_state);
}

void manager_on_log(struct manager *m, void (*cb)(void *arg, const char *tenant, const char *name), void *arg)
{
    m->on_log = cb;
    m->on_log_arg = arg;
}
