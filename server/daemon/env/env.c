// Owns one environment: its record, what its document says, and the only function that changes its state.
// Called by the other files of env/; performs actions through run.c.
#include "env/internal.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/io.h"
#include "common/log.h"

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct env *e = arg;
    if (env_state_has_vm(e->state))
        env_dispatch(e, ENV_EVENT_TIMEOUT);
    else
        reconcile_queue(e);
}

static int by_name(const void *a, const void *b)
{
    const struct env *x = a, *y = b;
    int d = strcmp(x->tenant, y->tenant);
    return d ? d : strcmp(x->name, y->name);
}

struct env *env_new(struct manager *m, const char *tenant, const char *name)
{
    struct env *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->manager = m;
    e->control_fd = -1;
    e->grace_ms = GRACE_MS;
    snprintf(e->tenant, sizeof e->tenant, "%s", tenant);
    snprintf(e->name, sizeof e->name, "%s", name);
    snprintf(e->about, sizeof e->about, "%s/%s", tenant, name);
    e->since_ms = io_realtime_ms();
    e->timer = event_new(m->deps.base, -1, 0, on_timer, e);
    if (!e->timer || !tsearch(e, &m->envs, by_name)) {
        if (e->timer)
            event_free(e->timer);
        free(e);
        return NULL;
    }
    return e;
}

void env_free(struct env *e)
{
    struct manager *m = e->manager;
    tdelete(e, &m->envs, by_name);
    for (struct env **p = &m->queue; *p; p = &(*p)->next_queued) {
        if (*p != e)
            continue;
        *p = e->next_queued;
        break;
    }
    run_let_go(e);
    operations_list_free(e->operations);
    event_free(e->timer);
    json_decref(e->doc);
    free(e);
}

static void take_labels(struct env *e)
{
    const char *key;
    json_t *value;
    e->n_labels = 0;
    json_object_foreach(json_object_get(e->doc, "labels"), key, value) if (e->n_labels < MEDIATE_LABELS_MAX)
        e->labels[e->n_labels++] = (struct mediate_label){.key = key, .value = json_string_value(value)};
}

bool env_take_document(struct env *e, json_t *doc)
{
    char key[DOC_KEY_CAP];
    const char *uid = json_get_string(doc, "uid", "");
    if (e->uid[0] == '\0')
        snprintf(e->uid, sizeof e->uid, "%s", uid);
    if (strcmp(e->uid, uid) != 0)
        return false;
    doc_key(key, DOC_TENANTS, e->tenant);
    json_t *tenant = doc_load(e->manager->deps.store, key, NULL);
    e->net = (uint32_t)json_get_integer(tenant, "net", 0);
    e->ipv4 = environment_ipv4(&e->manager->config.pool, tenant, doc);
    json_decref(tenant);
    json_decref(e->doc);
    e->doc = json_incref(doc);
    doc_read_spec(doc, &e->spec);
    take_labels(e);
    e->generation = json_get_integer(doc, "generation", 0);
    e->restart_below = json_get_integer(doc, "restart_below", 0);
    e->paused = json_get_boolean(doc, "paused", false);
    e->deleting = json_get_boolean(doc, "deleting", false);
    return e->ipv4 != 0;
}

struct env *env_find(const struct manager *m, const char *tenant, const char *name)
{
    struct env wanted;
    snprintf(wanted.tenant, sizeof wanted.tenant, "%s", tenant);
    snprintf(wanted.name, sizeof wanted.name, "%s", name);
    struct env *const *found = tfind(&wanted, &m->envs, by_name);
    return found ? *found : NULL;
}

struct each_context {
    void (*visit)(struct env *e, void *arg);
    void *arg;
};

static void each_node(const void *node, VISIT which, void *closure)
{
    const struct each_context *c = closure;
    if (which == postorder || which == leaf)
        c->visit(*(struct env *const *)node, c->arg);
}

void env_each(const struct manager *m, void (*visit)(struct env *e, void *arg), void *arg)
{
    struct each_context c = {visit, arg};
    twalk_r(m->envs, each_node, &c);
}

struct find_vm_context {
    const struct id *vm;
    struct env *found;
};

static void match_vm(struct env *e, void *arg)
{
    struct find_vm_context *c = arg;
    if (id_equals(&e->vm, c->vm))
        c->found = e;
}

struct env *env_find_vm(const struct manager *m, const struct id *vm)
{
    struct find_vm_context c = {.vm = vm};
    if (!id_is_zero(vm))
        env_each(m, match_vm, &c);
    return c.found;
}

void env_timer_in(struct env *e, uint64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(e->timer, &tv);
}

void env_timer_off(struct env *e)
{
    event_del(e->timer);
}

static void (*const actions[ENV_ACTION_COUNT])(struct env *e) = {
    [ENV_ACTION_SPAWN] = run_spawn,       [ENV_ACTION_ATTACH] = run_attach,
    [ENV_ACTION_SHUTDOWN] = run_shutdown, [ENV_ACTION_ESCALATE] = run_escalate,
    [ENV_ACTION_KILL] = run_kill,         [ENV_ACTION_RELEASE] = run_release,
    [ENV_ACTION_GIVE_UP] = run_give_up,   [ENV_ACTION_RESUMED] = run_resumed,
};

void env_tell_end(const struct env *e, char *ret, size_t cap)
{
    const struct reason *r = &e->reason;
    snprintf(ret, cap, "%s%s%s", env_state_name(e->state), r->code[0] ? ": " : "", r->code);
}

void env_dispatch(struct env *e, enum env_event event)
{
    struct env_transition t = lifecycle_next(e->state, event);
    if (t.action == ENV_ACTION_ERROR) {
        log_warn(e->about, "%s while %s: ignored", env_event_name(event), env_state_name(e->state));
        return;
    }
    enum env_state old = e->state;
    if (t.next != old) {
        e->state = t.next;
        e->since_ms = io_realtime_ms();
        env_timer_off(e);
        if (env_state_has_vm(t.next))
            reason_clear(&e->reason);
    }
    // Whoever dispatches has set the reason. The action may dispatch further: a spawn can be refused at once.
    if (t.next != old) {
        const struct reason *r = &e->reason;
        log_info(e->about, "%s -> %s (%s)%s%s%s%s", env_state_name(old), env_state_name(t.next),
                 env_event_name(event), r->code[0] ? ": " : "", r->code, r->text[0] ? ": " : "", r->text);
    }
    if (env_state_has_vm(old) && !env_state_has_vm(t.next)) {
        char why[AGENT_REASON_MAX + 1];
        env_tell_end(e, why, sizeof why);
        router_environment_went(e->manager->deps.router, e->tenant, e->name, AGENT_GONE_CERTAIN, why);
    }
    if (actions[t.action])
        actions[t.action](e);
    status_dirty(e);
    reconcile_queue(e);
}
