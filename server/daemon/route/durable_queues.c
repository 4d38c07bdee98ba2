// The queues at the broker that are there for environments of this host, in the journal. What is kept is that
// there is one, from its environment's beginning to the broker's word that it is gone: so no crash in between
// leaves one behind, and none can take the queue of an environment that was made again. Called by the link.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/durable_internal.h"
#include "route/queues.h"

struct kept_queue_entry {
    struct table_node node;
    LIST_ENTRY(kept_queue_entry) link;
    uint64_t seq;
    struct kept_queue kept;
};

static uint64_t hash_queue(const struct durable *d, const char *queue)
{
    return siphash(&d->key, queue, strlen(queue));
}

static struct kept_queue_entry *find(const struct durable *d, const char *queue)
{
    for (struct table_node *n = table_first(&d->queues, hash_queue(d, queue)); n; n = table_next(n)) {
        struct kept_queue_entry *e = table_entry(n, struct kept_queue_entry, node);
        if (strcmp(e->kept.queue, queue) == 0)
            return e;
    }
    return NULL;
}

static int add(struct durable *d, const struct kept_queue *kept, uint64_t seq)
{
    struct kept_queue_entry *e = malloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    *e = (struct kept_queue_entry){.seq = seq, .kept = *kept};
    table_insert(&d->queues, &e->node, hash_queue(d, kept->queue));
    LIST_INSERT_HEAD(&d->all_queues, e, link);
    return 0;
}

static void drop(struct durable *d, struct kept_queue_entry *e)
{
    table_remove(&d->queues, &e->node);
    LIST_REMOVE(e, link);
    free(e);
}

int durable_recover_queue(struct durable *d, const struct journal_record *r, bool live)
{
    struct kept_queue kept;
    if (!live)
        return 0;
    return kept_read_queue(r->data, r->len, &kept) ? add(d, &kept, r->seq) : -EBADMSG;
}

void durable_free_queues(struct durable *d)
{
    while (!LIST_EMPTY(&d->all_queues))
        drop(d, LIST_FIRST(&d->all_queues));
    table_done(&d->queues);
}

// Not that of one that is there, but whose document cannot be read: nobody deleted that.
static bool is_left(const struct durable *d, const struct kept_queue *q)
{
    const struct environment *e = directory_find(&d->router->directory, q->tenant, q->name);
    return !e || (e->announced && !e->queue);
}

void durable_tell_left_queues(const struct durable *d)
{
    const struct router *r = d->router;
    const struct kept_queue_entry *e;
    if (!r->remote)
        return;
    LIST_FOREACH(e, &d->all_queues, link)
    {
        if (is_left(d, &e->kept))
            r->remote->queue_left(r->remote_arg, e->kept.queue);
    }
}

int router_keep_queue(struct router *r, const char *queue, const char *tenant, const char *name)
{
    struct durable *d = r->durable;
    struct kept_queue kept = {0};
    uint8_t bytes[KEPT_OWNED_CAP];
    uint64_t seq;
    if (!d || !d->journal)
        return -EIO;
    if (find(d, queue))
        return 0;
    snprintf(kept.queue, sizeof kept.queue, "%s", queue);
    snprintf(kept.tenant, sizeof kept.tenant, "%s", tenant);
    snprintf(kept.name, sizeof kept.name, "%s", name);
    const struct iovec part = {bytes, kept_write_queue(bytes, &kept)};
    int rc = journal_append(d->journal, KEPT_QUEUE, &part, 1, NULL, NULL, &seq);
    if (rc == 0 && (rc = add(d, &kept, seq)) < 0)
        journal_forget(d->journal, seq);
    return rc;
}

void router_queue_deleted(struct router *r, const char *queue)
{
    struct durable *d = r->durable;
    struct kept_queue_entry *e = d ? find(d, queue) : NULL;
    if (!e || !d->journal || !is_left(d, &e->kept))
        return;
    journal_forget(d->journal, e->seq);
    drop(d, e);
}
