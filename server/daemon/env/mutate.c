// Owns the queue of read-modify-write work on the store. Called by api/ and env/; must not know what is
// written.
#include "env/mutate.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#define ATTEMPTS_MAX 16
#define QUEUE_MAX    4096

struct mutation {
    struct mutation *next;
    struct mutator *mutator;
    const struct mutation_ops *ops;
    void *arg;
    int attempts;
    bool queued; // runs alone
};

struct mutator {
    struct store *store;
    struct event *kick;
    struct mutation *head, **tail; // to be built, in order
    struct mutation *running;      // the queued one that is being committed
    size_t n;
    bool stopped;
};

static void mutation_end(struct mutation *m, const struct store_result *result)
{
    struct mutator *owner = m->mutator;
    if (owner->running == m)
        owner->running = NULL;
    owner->n--;
    m->ops->done(m->arg, result);
    free(m);
    if (owner->head && !owner->stopped)
        event_active(owner->kick, EV_TIMEOUT, 0);
}

static void mutation_try(struct mutation *m);

static void on_commit(void *arg, const struct store_result *result)
{
    struct mutation *m = arg;
    if (result->rc == -ESTALE && ++m->attempts < ATTEMPTS_MAX && !m->mutator->stopped)
        mutation_try(m);
    else
        mutation_end(m, result);
}

static void mutation_try(struct mutation *m)
{
    struct store_txn *txn = store_txn_new(m->mutator->store);
    int rc = txn ? m->ops->build(m->arg, m->mutator->store, txn) : -ENOMEM;
    if (rc == 0) {
        store_txn_commit(txn, on_commit, m);
        return;
    }
    store_txn_free(txn);
    struct store_result result = {.rc = rc};
    err_errno(&result.err, rc, "change the store");
    mutation_end(m, &result);
}

static struct mutation *pop(struct mutator *m)
{
    struct mutation *first = m->head;
    m->head = first->next;
    if (!m->head)
        m->tail = &m->head;
    return first;
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct mutator *m = arg;
    while (m->head && !(m->head->queued && m->running)) {
        struct mutation *first = pop(m);
        if (first->queued)
            m->running = first;
        mutation_try(first);
    }
}

struct mutator *mutator_new(struct event_base *base, struct store *store)
{
    struct mutator *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->store = store;
    m->tail = &m->head;
    m->kick = event_new(base, -1, 0, on_kick, m);
    if (!m->kick) {
        free(m);
        return NULL;
    }
    return m;
}

void mutator_free(struct mutator *m)
{
    if (!m)
        return;
    event_free(m->kick);
    free(m);
}

void mutator_stop(struct mutator *m)
{
    struct store_result result = {.rc = -ESHUTDOWN};
    err_set(&result.err, result.rc, "envd is shutting down");
    m->stopped = true;
    while (m->head)
        mutation_end(pop(m), &result);
}

static int submit(struct mutator *m, const struct mutation_ops *ops, void *arg, bool queued)
{
    if (m->stopped)
        return -ESHUTDOWN;
    if (m->n >= QUEUE_MAX)
        return -EBUSY;
    struct mutation *new = calloc(1, sizeof *new);
    if (!new)
        return -ENOMEM;
    *new = (struct mutation){.mutator = m, .ops = ops, .arg = arg, .queued = queued};
    m->n++;
    if (queued) {
        *m->tail = new;
        m->tail = &new->next;
    } else {
        // In front, so that it does not wait for the queue.
        new->next = m->head;
        m->head = new;
        if (m->tail == &m->head)
            m->tail = &new->next;
    }
    event_active(m->kick, EV_TIMEOUT, 0);
    return 0;
}

int mutate_queued(struct mutator *m, const struct mutation_ops *ops, void *arg)
{
    return submit(m, ops, arg, true);
}

int mutate_at_once(struct mutator *m, const struct mutation_ops *ops, void *arg)
{
    return submit(m, ops, arg, false);
}
