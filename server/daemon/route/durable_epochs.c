// The lives of other hosts that were heard of, in the journal: a message of an earlier one is refused by who
// starts anew, too. What is kept here before a message is appended is durable with it. Called by the link.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/durable_internal.h"
#include "route/epochs.h"

struct kept_epoch_entry {
    struct table_node node;
    uint64_t seq;
    struct kept_epoch kept;
};

static uint64_t hash_queue(const struct durable *d, const char *queue)
{
    return siphash(&d->key, queue, strlen(queue));
}

// host NULL: any.
static struct kept_epoch_entry *find(const struct durable *d, const char *queue, const char *host)
{
    for (struct table_node *n = table_first(&d->epochs, hash_queue(d, queue)); n; n = table_next(n)) {
        struct kept_epoch_entry *e = table_entry(n, struct kept_epoch_entry, node);
        if (strcmp(e->kept.queue, queue) == 0 && (!host || strcmp(e->kept.host, host) == 0))
            return e;
    }
    return NULL;
}

// A crash between a record and the end of the one before it leaves both.
int durable_recover_epoch(struct durable *d, const struct journal_record *r, bool live)
{
    struct kept_epoch kept;
    if (!live)
        return 0;
    if (!kept_read_epoch(r->data, r->len, &kept))
        return -EBADMSG;
    struct kept_epoch_entry *e = find(d, kept.queue, kept.host);
    if (!e) {
        e = calloc(1, sizeof *e);
        if (!e)
            return -ENOMEM;
        table_insert(&d->epochs, &e->node, hash_queue(d, kept.queue));
    } else if (kept.epoch < e->kept.epoch) {
        return 0;
    }
    e->seq = r->seq;
    e->kept = kept;
    return 0;
}

void durable_free_epochs(struct durable *d)
{
    struct table_node *n;
    while ((n = table_any(&d->epochs))) {
        table_remove(&d->epochs, n);
        free(table_entry(n, struct kept_epoch_entry, node));
    }
    table_done(&d->epochs);
}

uint64_t router_epoch(const struct router *r, const char *queue, const char *host)
{
    const struct kept_epoch_entry *e = r->durable ? find(r->durable, queue, host) : NULL;
    return e ? e->kept.epoch : 0;
}

static int append(struct durable *d, const struct kept_epoch *kept, uint64_t *ret_seq)
{
    uint8_t bytes[KEPT_EPOCH_CAP];
    const struct iovec part = {bytes, kept_write_epoch(bytes, kept)};
    return part.iov_len ? journal_append(d->journal, KEPT_EPOCH, &part, 1, NULL, NULL, ret_seq)
                        : -ENAMETOOLONG;
}

int router_keep_epoch(struct router *r, const char *queue, const char *host, uint64_t epoch)
{
    struct durable *d = r->durable;
    if (!d || !d->journal)
        return -EIO;
    struct kept_epoch kept = {.epoch = epoch};
    snprintf(kept.queue, sizeof kept.queue, "%s", queue);
    snprintf(kept.host, sizeof kept.host, "%s", host);
    struct kept_epoch_entry *e = find(d, queue, host), *made = e ? NULL : calloc(1, sizeof *made);
    uint64_t before = e ? e->seq : 0, seq;
    if (!e && !made)
        return -ENOMEM;
    int rc = append(d, &kept, &seq);
    if (rc < 0) {
        free(made);
        return rc;
    }
    if (made)
        table_insert(&d->epochs, &made->node, hash_queue(d, queue));
    e = made ? made : e;
    e->kept = kept;
    e->seq = seq;
    if (before)
        journal_forget(d->journal, before);
    return 0;
}

void router_forget_epochs(struct router *r, const char *queue)
{
    struct durable *d = r->durable;
    struct kept_epoch_entry *e;
    while (d && (e = find(d, queue, NULL))) {
        if (d->journal)
            journal_forget(d->journal, e->seq);
        table_remove(&d->epochs, &e->node);
        free(e);
    }
}
