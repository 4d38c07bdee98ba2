// Owns delivery tags and handles. Called by link.c. What is unknown is ignored here, so that a wrong
// settlement never reaches the broker, which would close the channel over it.
#include "broker/consume.h"

#include <errno.h>
#include <stdlib.h>

#define TAG_BITS  44
#define ACK_BYTES 64

int deliveries_init(struct deliveries *d, amqp_channel_t channel, struct broker_stats *stats)
{
    *d = (struct deliveries){.channel = channel, .stats = stats};
    TAILQ_INIT(&d->all);
    TAILQ_INIT(&d->marked);
    return table_init(&d->by_handle, 256) < 0 || table_init(&d->tallies, 64) < 0 ? -ENOMEM : 0;
}

static struct tally *find_tally(const struct deliveries *d, uint64_t queue)
{
    struct table_node *n = table_first(&d->tallies, queue);
    return n ? table_entry(n, struct tally, node) : NULL;
}

bool deliveries_any(const struct deliveries *d, uint64_t queue)
{
    return find_tally(d, queue) != NULL;
}

static struct tally *count_in(struct deliveries *d, uint64_t queue)
{
    struct tally *t = find_tally(d, queue);
    if (!t && (t = calloc(1, sizeof *t)))
        table_insert(&d->tallies, &t->node, queue);
    if (t)
        t->n++;
    return t;
}

static void count_out(struct deliveries *d, struct tally *t)
{
    if (--t->n > 0)
        return;
    table_remove(&d->tallies, &t->node);
    free(t);
}

static void drop(struct deliveries *d, struct unsettled *u)
{
    TAILQ_REMOVE(&d->all, u, link);
    if (u->marked)
        TAILQ_REMOVE(&d->marked, u, marked_link);
    table_remove(&d->by_handle, &u->node);
    count_out(d, u->tally);
    d->stats->unsettled--;
    free(u);
}

void deliveries_reset(struct deliveries *d, uint64_t generation)
{
    struct unsettled *u;
    while ((u = TAILQ_FIRST(&d->all)))
        drop(d, u);
    d->generation = generation;
}

void deliveries_done(struct deliveries *d)
{
    if (!d->by_handle.slots)
        return;
    deliveries_reset(d, 0);
    table_done(&d->by_handle);
    table_done(&d->tallies);
}

static uint64_t handle_of(const struct deliveries *d, uint64_t tag)
{
    return d->generation << TAG_BITS | (tag & ((1ull << TAG_BITS) - 1));
}

uint64_t deliveries_add(struct deliveries *d, uint64_t tag, uint64_t queue)
{
    struct unsettled *u = calloc(1, sizeof *u);
    if (!u || !(u->tally = count_in(d, queue))) {
        free(u);
        return 0;
    }
    u->tag = tag;
    TAILQ_INSERT_TAIL(&d->all, u, link);
    table_insert(&d->by_handle, &u->node, handle_of(d, tag)); // tags are consecutive: as good as a hash
    d->stats->unsettled++;
    return u->node.hash;
}

bool deliveries_settle(struct deliveries *d, uint64_t handle, enum broker_settlement how)
{
    struct table_node *node = table_first(&d->by_handle, handle);
    struct unsettled *u = node ? table_entry(node, struct unsettled, node) : NULL;
    if (!u || u->marked)
        return u != NULL;
    u->marked = true;
    u->how = how;
    TAILQ_INSERT_TAIL(&d->marked, u, marked_link);
    return true;
}

static void count(struct deliveries *d, enum broker_settlement how)
{
    struct broker_stats *s = d->stats;
    uint64_t *const counters[] = {
        [BROKER_ACK] = &s->acked, [BROKER_REQUEUE] = &s->requeued, [BROKER_DEAD_LETTER] = &s->dead_lettered};
    (*counters[how])++;
}

bool deliveries_next(struct deliveries *d, uint64_t *ret_tag, bool *ret_multiple,
                     enum broker_settlement *ret_how)
{
    size_t n = 0;
    struct unsettled *u;
    // All before the last of these are settled: one ack says so.
    while ((u = TAILQ_FIRST(&d->all)) && u->marked && u->how == BROKER_ACK) {
        *ret_tag = u->tag;
        count(d, BROKER_ACK);
        drop(d, u);
        n++;
    }
    *ret_multiple = n > 1;
    *ret_how = BROKER_ACK;
    if (n > 0)
        return true;
    u = TAILQ_FIRST(&d->marked);
    if (!u)
        return false;
    *ret_tag = u->tag;
    *ret_how = u->how;
    count(d, u->how);
    drop(d, u);
    return true;
}

int deliveries_flush(struct deliveries *d, struct conn *c, struct failure *ret)
{
    uint64_t tag;
    bool multiple;
    enum broker_settlement how;
    int rc = 0;
    while (rc == 0 && !TAILQ_EMPTY(&d->marked) && conn_may_send(c, ACK_BYTES) &&
           deliveries_next(d, &tag, &multiple, &how)) {
        amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
        amqp_basic_reject_t reject = {.delivery_tag = tag, .requeue = how == BROKER_REQUEUE};
        rc = how == BROKER_ACK ? conn_send(c, d->channel, AMQP_BASIC_ACK_METHOD, &ack, ret)
                               : conn_send(c, d->channel, AMQP_BASIC_REJECT_METHOD, &reject, ret);
    }
    return rc;
}
