// Owns the documents under status/: reading them at start, writing what changed, in batches. Called by env.c,
// reconcile.c and manager.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "env/internal.h"

#define BATCH   (STORE_TXN_MAX - 1)
#define RETRY_S 1

// A document of our own: anything that it lacks is as in a new environment.
void status_load(struct env *e, const json_t *status)
{
    const json_t *reason = json_object_get(status, "reason");
    const char *vm = json_get_string(status, "vm", "");
    if (strcmp(json_get_string(status, "uid", ""), e->uid) != 0)
        return; // of an earlier environment of that name
    env_state_parse(json_get_string(status, "state", ""), &e->state);
    snprintf(e->reason.code, sizeof e->reason.code, "%s", json_get_string(reason, "code", ""));
    snprintf(e->reason.text, sizeof e->reason.text, "%s", json_get_string(reason, "text", ""));
    e->has_exit_status = json_object_get(status, "exit_status") != NULL;
    e->exit_status = (int32_t)json_get_integer(status, "exit_status", 0);
    e->restarts = (uint32_t)json_get_integer(status, "restarts", 0);
    e->reboots = (uint32_t)json_get_integer(status, "reboots", 0);
    e->since_ms = (uint64_t)json_get_integer(status, "since", 0);
    e->started_ms = (uint64_t)json_get_integer(status, "started", 0);
    e->generation_started = json_get_integer(status, "generation", 0);
    e->pid = (uint32_t)json_get_integer(status, "pid", 0);
    id_parse(vm, strlen(vm), &e->vm);
    snprintf(e->measurement, sizeof e->measurement, "%s", json_get_string(status, "measurement", ""));
    snprintf(e->software, sizeof e->software, "%s",
             json_get_string(json_object_get(status, "agent"), "software", ""));
}

static json_t *status_doc(const struct env *e)
{
    char vm[ID_TEXT_CAP];
    id_format(&e->vm, vm);
    json_t *doc = json_pack("{s:s, s:s, s:I, s:i, s:I, s:s}", "uid", e->uid, "state",
                            env_state_name(e->state), "since", (json_int_t)e->since_ms, "restarts",
                            (int)e->restarts, "generation", (json_int_t)e->generation_started, "vm", vm);
    if (!doc)
        return NULL;
    if (e->reason.code[0])
        json_object_set_new(doc, "reason",
                            json_pack("{s:s, s:s}", "code", e->reason.code, "text", e->reason.text));
    if (e->has_exit_status && !env_state_has_vm(e->state))
        json_object_set_new(doc, "exit_status", json_integer(e->exit_status));
    if (e->reboots)
        json_object_set_new(doc, "reboots", json_integer(e->reboots));
    if (e->started_ms)
        json_object_set_new(doc, "started", json_integer((json_int_t)e->started_ms));
    if (e->next_start_ms)
        json_object_set_new(doc, "next_start", json_integer((json_int_t)e->next_start_ms));
    if (e->pid)
        json_object_set_new(doc, "pid", json_integer(e->pid));
    if (e->measurement[0])
        json_object_set_new(doc, "measurement", json_string(e->measurement));
    if (e->software[0])
        json_object_set_new(doc, "agent", json_pack("{s:s}", "software", e->software));
    return doc;
}

void status_dirty(struct env *e)
{
    e->status_dirty = true;
    event_active(e->manager->settle, EV_TIMEOUT, 0);
}

static void mark_dirty(struct env *e, void *arg)
{
    (void)arg;
    e->status_dirty = true;
}

struct written {
    struct manager *manager;
    struct operation *operations;
};

// The store could not keep it (the disk is full, say): what is in memory stays the truth, and all of it is
// written again later.
static void written_failed(struct manager *m, const struct err *err)
{
    if (!m->write_failed)
        log_error(NULL, "the store cannot keep what environments do, trying again: %s", err->text);
    m->write_failed = true;
    env_each(m, mark_dirty, NULL);
    event_add(m->rewrite, &(struct timeval){.tv_sec = RETRY_S});
}

static void on_written(void *arg, const struct store_result *result)
{
    struct written *w = arg;
    if (result->rc == 0) {
        if (w->manager->write_failed)
            log_info(NULL, "the store keeps what environments do again");
        w->manager->write_failed = false;
        operations_list_free(w->operations);
    } else {
        operations_write_again(w->manager, w->operations);
        written_failed(w->manager, &result->err);
    }
    free(w);
}

struct batch {
    struct manager *m;
    struct store_txn *txn;
    size_t n;
};

static void add_status(struct env *e, void *arg)
{
    struct batch *b = arg;
    char key[DOC_KEY_CAP];
    if (!e->status_dirty || e->removing || b->n >= BATCH)
        return;
    if (!b->txn)
        b->txn = store_txn_new(b->m->deps.store);
    json_t *doc = b->txn ? status_doc(e) : NULL;
    doc_key_of(key, DOC_STATUS, e->tenant, e->name);
    if (doc && doc_put(b->txn, key, doc) == 0) {
        e->status_dirty = false;
        b->n++;
    }
    json_decref(doc);
}

void status_flush(struct manager *m)
{
    struct batch b = {.m = m};
    if (m->write_failed && event_pending(m->rewrite, EV_TIMEOUT, NULL))
        return; // it is tried again by the timer
    env_each(m, add_status, &b);
    if (!b.txn && operations_pending_writes(m))
        b.txn = store_txn_new(m->deps.store);
    struct written *w = b.txn ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        store_txn_free(b.txn);
        return;
    }
    *w = (struct written){m, operations_write(m, b.txn, BATCH - b.n)};
    store_txn_commit(b.txn, on_written, w);
    if (b.n >= BATCH || operations_pending_writes(m))
        event_active(m->settle, EV_TIMEOUT, 0); // the rest, in a transaction of its own
}
