// Owns which publications wait for a declaration, and what a returned one means. Called by publish.c; changes
// nothing at the broker. The rule: what another host takes goes out at once; what this link itself wants to
// take waits until its binding is known to be there, and is never said to be nobody's.
#include <string.h>

#include "broker/topology.h"

static bool equal(amqp_bytes_t a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.bytes, b, a.len) == 0;
}

static uint64_t hash_address(const struct topology *t, amqp_bytes_t exchange, amqp_bytes_t key)
{
    uint64_t parts[2] = {siphash(&t->key, exchange.bytes, exchange.len),
                         siphash(&t->key, key.bytes, key.len)};
    return siphash(&t->key, parts, sizeof parts);
}

void binding_list(struct topology *t, struct binding *b)
{
    table_insert(&t->bindings_by_address, &b->by_address,
                 hash_address(t, bytes_of(b->exchange), bytes_of(b->key)));
}

// The next binding with that address, from node on; or NULL.
static struct binding *wanted_at(struct table_node *node, amqp_bytes_t exchange, amqp_bytes_t key)
{
    for (; node; node = table_next(node)) {
        struct binding *b = table_entry(node, struct binding, by_address);
        if (b->thing.wanted && equal(exchange, b->exchange) && equal(key, b->key))
            return b;
    }
    return NULL;
}

static bool pending(const struct thing *thing)
{
    return thing->state == THING_MISSING || thing->state == THING_ASKED;
}

// Goes ahead of the other queues.
static void await(struct topology *t, struct queue *q)
{
    q->thing.awaited = true;
    if (q->todo) {
        TAILQ_REMOVE(&t->queues_todo, q, todo_link);
        TAILQ_INSERT_HEAD(&t->queues_todo, q, todo_link);
    }
}

// What was there on the last connection still is, unless the broker lost it. What failed is not waited for:
// it may take for ever, and the broker may take it all the same.
static bool queue_holds(struct topology *t, struct queue *q)
{
    if (!q->thing.wanted || !pending(&q->thing) || (q->was_there && !t->probe))
        return false;
    await(t, q);
    return true;
}

static bool binding_holds(struct topology *t, struct binding *b)
{
    struct queue *q = b->queue;
    if (!pending(&b->thing) || q->thing.state == THING_FAILED || (b->was_there && !t->probe))
        return false;
    b->thing.awaited = true;
    await(t, q);
    return true;
}

bool topology_holds(struct topology *t, amqp_bytes_t exchange, amqp_bytes_t key)
{
    bool held = false;
    if (t->stats->wanted_missing == 0)
        return false;
    if (exchange.len == 0) { // straight to a queue
        struct queue *q = topology_queue(t, key.bytes, key.len);
        return q && queue_holds(t, q);
    }
    struct table_node *node = table_first(&t->bindings_by_address, hash_address(t, exchange, key));
    for (struct binding *b; (b = wanted_at(node, exchange, key)); node = table_next(&b->by_address))
        held = binding_holds(t, b) || held;
    return held;
}

bool topology_nobody_takes(const struct topology *t, amqp_bytes_t exchange, amqp_bytes_t key, uint64_t now_ns)
{
    struct table_node *node = table_first(&t->bindings_by_address, hash_address(t, exchange, key));
    return !wanted_at(node, exchange, key) && now_ns >= t->loss_ns;
}
