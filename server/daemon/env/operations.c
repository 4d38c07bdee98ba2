// Owns operations: made by the API's transactions, attached to their environment here, and ended when its
// state says so. Only this file changes an operation's document after it was made. Called by manager.c and
// reconcile.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "env/internal.h"

#define KEPT_MAX  1000 // finished operations that stay readable
#define TRIM_STEP 64

enum operation_action {
    OPERATION_START,
    OPERATION_STOP,
    OPERATION_DELETE,
    OPERATION_RESTART,
    OPERATION_PAUSE,
    OPERATION_RESUME,
};

struct operation {
    struct operation *next;
    char key[DOC_KEY_CAP];
    json_t *doc;
    enum operation_action action;
    int64_t generation;
    uint32_t grace_ms;
    uint64_t attached_ns;
};

static void operation_free(struct operation *o)
{
    json_decref(o->doc);
    free(o);
}

// --- ending ---

static void finish(struct manager *m, struct operation *o, const char *environment_state,
                   const struct reason *error, const char *remedy)
{
    json_t *status = json_object_get(o->doc, "status");
    json_object_set_new(status, "state", json_string(error ? "failed" : "done"));
    json_object_set_new(status, "finished", json_integer((json_int_t)io_realtime_ms()));
    if (environment_state)
        json_object_set_new(status, "environment_state", json_string(environment_state));
    if (error) {
        json_t *e = json_pack("{s:s, s:s}", "code", error->code, "detail", error->text);
        if (e && remedy)
            json_object_set_new(e, "remedy", json_string(remedy));
        json_object_set_new(status, "error", e);
    }
    o->next = m->finished;
    m->finished = o;
    event_active(m->settle, EV_TIMEOUT, 0);
}

static bool was_cancelled(const struct env *e, const struct operation *o)
{
    const char *id = json_get_string(e->doc, "cancelled", "");
    return strcmp(id, o->key + strlen(DOC_OPERATIONS)) == 0;
}

// True when the start is over; *ret_error is set when it failed.
static bool start_over(const struct env *e, const struct operation *o, struct reason *error, bool *ret_failed)
{
    *ret_failed = false;
    if (!e->spec.run || e->deleting) {
        *ret_failed = true;
        if (was_cancelled(e, o))
            reason_set(error, "cancelled", "the start was cancelled by an operator");
        else
            reason_set(error, "superseded", "it was told to stop before it was ready");
        return true;
    }
    if (e->generation_started < o->generation)
        return false; // not begun
    if (e->state == ENV_FAILED || e->state == ENV_LOST) {
        *ret_failed = true;
        *error = e->reason;
        return true;
    }
    return e->state == ENV_READY || e->state == ENV_STOPPED;
}

static bool stop_over(const struct env *e, const struct operation *o, struct reason *error, bool *ret_failed)
{
    (void)o;
    (void)error;
    (void)ret_failed;
    return !env_state_has_vm(e->state);
}

// With its environment: operations_env_removed().
static bool delete_over(const struct env *e, const struct operation *o, struct reason *error,
                        bool *ret_failed)
{
    (void)e;
    (void)o;
    (void)error;
    (void)ret_failed;
    return false;
}

static bool is_late(const struct env *e, const struct operation *o, uint64_t now_ns)
{
    return (o->action == OPERATION_PAUSE || o->action == OPERATION_RESUME) &&
           now_ns - o->attached_ns >= e->manager->config.still_timeout_ms * 1000000ull;
}

static bool still_over(const struct env *e, const struct operation *o, struct reason *error, bool *ret_failed)
{
    bool pause = o->action == OPERATION_PAUSE;
    *ret_failed = true;
    if (!env_state_has_vm(e->state) || e->state == ENV_STOPPING)
        reason_set(error, "not-running", "it ended before it %s", pause ? "stood still" : "went on");
    else if (e->paused != pause)
        reason_set(error, "superseded", "it was told to %s meanwhile", pause ? "go on" : "stand still");
    else if ((e->state == ENV_PAUSED) != pause && is_late(e, o, io_monotonic_ns()))
        reason_set(
            error, "monitor-silent",
            "its virtual machine's monitor (pid %u) has not said within %u ms that it %s; it will when "
            "the monitor comes to it",
            e->pid, e->manager->config.still_timeout_ms, pause ? "stands still" : "goes on");
    else
        *ret_failed = false;
    return *ret_failed || (e->state == ENV_PAUSED) == pause;
}

static bool try_finish(struct env *e, struct operation *o)
{
    static bool (*const overs[])(const struct env *, const struct operation *, struct reason *, bool *) = {
        [OPERATION_START] = start_over,   [OPERATION_STOP] = stop_over,   [OPERATION_DELETE] = delete_over,
        [OPERATION_RESTART] = start_over, [OPERATION_PAUSE] = still_over, [OPERATION_RESUME] = still_over,
    };
    struct reason error;
    bool failed = false;
    bool over = overs[o->action](e, o, &error, &failed);
    if (over)
        finish(e->manager, o, env_state_name(e->state), failed ? &error : NULL,
               failed ? reason_remedy(error.code) : NULL);
    return over;
}

void operations_settle(struct env *e)
{
    for (struct operation **p = &e->operations; *p;) {
        struct operation *o = *p, *next = o->next;
        if (try_finish(e, o))
            *p = next;
        else
            p = &o->next;
    }
}

void operations_list_free(struct operation *list)
{
    while (list) {
        struct operation *o = list;
        list = o->next;
        operation_free(o);
    }
}

static void finish_without_env(struct manager *m, struct operation *o)
{
    struct reason gone;
    reason_set(&gone, "no-such-environment", "the environment was deleted");
    finish(m, o, NULL, o->action == OPERATION_STOP || o->action == OPERATION_DELETE ? NULL : &gone, NULL);
}

void operations_env_removed(struct env *e)
{
    while (e->operations) {
        struct operation *o = e->operations;
        e->operations = o->next;
        finish_without_env(e->manager, o);
    }
}

bool operations_overdue(const struct env *e, uint64_t now_ns)
{
    for (const struct operation *o = e->operations; o; o = o->next)
        if (is_late(e, o, now_ns))
            return true;
    return false;
}

uint32_t operations_grace_ms(const struct env *e)
{
    // The newest stop is the first of the list.
    for (const struct operation *o = e->operations; o; o = o->next)
        if (o->action == OPERATION_STOP || o->action == OPERATION_RESTART)
            return o->grace_ms;
    return GRACE_MS;
}

// --- coming in ---

static bool parse_action(const char *text, enum operation_action *ret)
{
    static const char *const names[] = {
        [OPERATION_START] = "start",     [OPERATION_STOP] = "stop",   [OPERATION_DELETE] = "delete",
        [OPERATION_RESTART] = "restart", [OPERATION_PAUSE] = "pause", [OPERATION_RESUME] = "resume"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *ret = (enum operation_action)i;
        return true;
    }
    return false;
}

void operations_take(struct manager *m, const char *key, json_t *doc)
{
    const json_t *spec = json_object_get(doc, "spec");
    const char *state = json_get_string(json_object_get(doc, "status"), "state", "");
    struct operation *o = strcmp(state, "pending") == 0 ? calloc(1, sizeof *o) : NULL;
    if (!o)
        return;
    if (!parse_action(json_get_string(spec, "action", ""), &o->action)) {
        free(o);
        return;
    }
    snprintf(o->key, sizeof o->key, "%s", key);
    o->doc = json_incref(doc);
    o->generation = json_get_integer(spec, "generation", 0);
    o->grace_ms = (uint32_t)json_get_integer(spec, "grace_ms", GRACE_MS);
    o->next = m->incoming;
    m->incoming = o;
    event_active(m->settle, EV_TIMEOUT, 0);
}

void operations_attach(struct manager *m)
{
    while (m->incoming) {
        struct operation *o = m->incoming;
        m->incoming = o->next;
        struct env *e = env_find(m, json_get_string(o->doc, "tenant", ""),
                                 json_get_string(json_object_get(o->doc, "spec"), "environment", ""));
        if (e) {
            o->attached_ns = io_monotonic_ns();
            o->next = e->operations;
            e->operations = o;
            reconcile_queue(e);
        } else {
            finish_without_env(m, o);
        }
    }
}

void operations_load(struct manager *m)
{
    const struct store *store = m->deps.store;
    for (const struct store_entry *at = store_next(store, DOC_OPERATIONS, NULL); at;
         at = store_next(store, DOC_OPERATIONS, at->key)) {
        json_t *doc = doc_of(at);
        if (doc)
            operations_take(m, at->key, doc);
        json_decref(doc);
    }
}

// --- writing ---

bool operations_pending_writes(const struct manager *m)
{
    return m->finished != NULL;
}

// Takes the oldest finished ones out when there are too many. Their ids are in the order of time.
static void trim(struct manager *m, struct store_txn *txn)
{
    const struct store *store = m->deps.store;
    if (store_count(store, DOC_OPERATIONS) < KEPT_MAX + TRIM_STEP)
        return;
    const struct store_entry *at = store_next(store, DOC_OPERATIONS, NULL);
    for (int i = 0; i < TRIM_STEP && at; i++, at = store_next(store, DOC_OPERATIONS, at->key)) {
        json_t *doc = doc_of(at);
        const char *state = json_get_string(json_object_get(doc, "status"), "state", "");
        if (strcmp(state, "pending") != 0)
            store_txn_delete(txn, at->key); // what does not fit is taken out the next time
        json_decref(doc);
    }
}

struct operation *operations_write(struct manager *m, struct store_txn *txn, size_t room)
{
    struct operation *written = NULL;
    for (; m->finished && room > 0; room--) {
        struct operation *o = m->finished;
        if (doc_put(txn, o->key, o->doc) < 0)
            break;
        m->finished = o->next;
        o->next = written;
        written = o;
    }
    if (!m->finished && room > TRIM_STEP)
        trim(m, txn);
    return written;
}

void operations_write_again(struct manager *m, struct operation *list)
{
    while (list) {
        struct operation *o = list;
        list = o->next;
        o->next = m->finished;
        m->finished = o;
    }
}

void operations_free(struct manager *m)
{
    operations_list_free(m->finished);
    operations_list_free(m->incoming);
    m->finished = m->incoming = NULL;
}
