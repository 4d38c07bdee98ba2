// Owns the wanted things: finding, making and freeing them. Called through topology.h; what to send about
// them is topology.c's.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/topology.h"

int topology_init(struct topology *t, const struct settings *s, const struct deliveries *unsettled,
                  struct item_queue *out, struct broker_stats *stats)
{
    *t = (struct topology){.settings = s,
                           .unsettled = unsettled,
                           .out = out,
                           .stats = stats,
                           .retry_ns = UINT64_MAX,
                           .key = siphash_key_random()};
    TAILQ_INIT(&t->exchanges);
    TAILQ_INIT(&t->queues);
    TAILQ_INIT(&t->queues_todo);
    TAILQ_INIT(&t->consumers_todo);
    TAILQ_INIT(&t->consumers_waiting);
    if (table_init(&t->queues_by_name, 64) < 0 || table_init(&t->bindings_by_names, 64) < 0 ||
        table_init(&t->bindings_by_address, 64) < 0 || table_init(&t->consumers_by_number, 64) < 0)
        return -ENOMEM;
    return 0;
}

// --- what all things have ---

static void thing_begin(struct topology *t, struct thing *thing)
{
    *thing = (struct thing){.wanted = true};
    t->stats->wanted++;
    t->stats->wanted_missing++;
}

static void thing_end(struct topology *t, struct thing *thing)
{
    thing_set(t, thing, THING_THERE);
    t->stats->wanted--;
}

void thing_set(struct topology *t, struct thing *thing, enum thing_state state)
{
    if (thing->state == THING_THERE)
        t->stats->wanted_missing++;
    if (state == THING_THERE)
        t->stats->wanted_missing--;
    t->n_failed += (size_t)(state == THING_FAILED) - (size_t)(thing->state == THING_FAILED);
    thing->state = state;
    if (thing->awaited && (state == THING_THERE || state == THING_FAILED)) {
        thing->awaited = false;
        t->news = true;
    }
}

void queue_gone(struct queue *q)
{
    struct binding *b;
    q->was_there = false;
    TAILQ_FOREACH(b, &q->bindings, link)
    b->was_there = false;
    TAILQ_FOREACH(b, &q->bindings_todo, link)
    b->was_there = false;
}

void queue_set_differs(struct topology *t, struct queue *q, bool differs)
{
    t->n_differing += (size_t)differs - (size_t)q->differs;
    t->stats->differing = t->n_differing;
    q->differs = q->look = differs;
}

// --- finding ---

struct queue *topology_queue(const struct topology *t, const char *name, size_t len)
{
    struct table_node *node = table_first(&t->queues_by_name, siphash(&t->key, name, len));
    for (; node; node = table_next(node)) {
        struct queue *q = table_entry(node, struct queue, node);
        if (strlen(q->name) == len && memcmp(q->name, name, len) == 0)
            return q;
    }
    return NULL;
}

static struct queue *find_queue(const struct topology *t, const char *name)
{
    return topology_queue(t, name, strlen(name));
}

static uint64_t hash_names(const struct topology *t, const char *queue, const char *exchange, const char *key)
{
    uint64_t parts[3] = {siphash(&t->key, queue, strlen(queue)), siphash(&t->key, exchange, strlen(exchange)),
                         siphash(&t->key, key, strlen(key))};
    return siphash(&t->key, parts, sizeof parts);
}

static struct binding *find_binding(const struct topology *t, const char *queue, const char *exchange,
                                    const char *key)
{
    struct table_node *node = table_first(&t->bindings_by_names, hash_names(t, queue, exchange, key));
    for (; node; node = table_next(node)) {
        struct binding *b = table_entry(node, struct binding, node);
        if (strcmp(b->queue->name, queue) == 0 && strcmp(b->exchange, exchange) == 0 &&
            strcmp(b->key, key) == 0)
            return b;
    }
    return NULL;
}

static struct consumer *find_consumer(const struct topology *t, uint64_t number)
{
    struct table_node *node = table_first(&t->consumers_by_number, number);
    return node ? table_entry(node, struct consumer, node) : NULL;
}

struct consumer *topology_consumer(const struct topology *t, uint64_t number)
{
    struct consumer *c = find_consumer(t, number);
    return c && c->thing.wanted ? c : NULL;
}

uint64_t topology_serial(const struct topology *t, uint64_t consumer)
{
    const struct consumer *c = find_consumer(t, consumer);
    return c ? c->queue->serial : 0;
}

// --- having something to do ---

void queue_touch(struct topology *t, struct queue *q)
{
    if (q->todo)
        return;
    q->todo = true;
    TAILQ_INSERT_TAIL(&t->queues_todo, q, todo_link);
}

void binding_touch(struct topology *t, struct binding *b)
{
    if (!b->todo) {
        TAILQ_REMOVE(&b->queue->bindings, b, link);
        TAILQ_INSERT_TAIL(&b->queue->bindings_todo, b, link);
        b->todo = true;
    }
    b->queue->ready = false;
    queue_touch(t, b->queue);
}

static void stop_waiting(struct topology *t, struct consumer *c)
{
    if (c->waits)
        TAILQ_REMOVE(&t->consumers_waiting, c, todo_link);
    c->waits = false;
}

void consumer_touch(struct topology *t, struct consumer *c)
{
    if (c->todo)
        return;
    stop_waiting(t, c);
    c->todo = true;
    TAILQ_INSERT_TAIL(&t->consumers_todo, c, todo_link);
}

// --- making and freeing ---

static struct queue *make_queue(struct topology *t, const char *name)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q || !(q->name = strdup(name))) {
        free(q);
        return NULL;
    }
    TAILQ_INIT(&q->bindings_todo);
    TAILQ_INIT(&q->bindings);
    TAILQ_INIT(&q->consumers);
    q->serial = ++t->last_serial;
    q->channel = (uint8_t)(CHANNEL_DECLARE + t->last_channel++ % N_DECLARING);
    thing_begin(t, &q->thing);
    q->thing.wanted = false;
    TAILQ_INSERT_TAIL(&t->queues, q, link);
    table_insert(&t->queues_by_name, &q->node, siphash(&t->key, name, strlen(name)));
    return q;
}

void queue_free_if_unused(struct topology *t, struct queue *q)
{
    if (q->thing.wanted || q->delete_it || q->n_steps > 0 || !TAILQ_EMPTY(&q->bindings) ||
        !TAILQ_EMPTY(&q->bindings_todo) || !TAILQ_EMPTY(&q->consumers))
        return;
    if (q->todo)
        TAILQ_REMOVE(&t->queues_todo, q, todo_link);
    TAILQ_REMOVE(&t->queues, q, link);
    table_remove(&t->queues_by_name, &q->node);
    thing_end(t, &q->thing);
    queue_set_differs(t, q, false);
    free(q->name);
    free(q->dead_letter_exchange);
    free(q);
}

void binding_free(struct topology *t, struct binding *b)
{
    struct queue *q = b->queue;
    if (b->todo)
        TAILQ_REMOVE(&q->bindings_todo, b, link);
    else
        TAILQ_REMOVE(&q->bindings, b, link);
    table_remove(&t->bindings_by_names, &b->node);
    table_remove(&t->bindings_by_address, &b->by_address);
    thing_end(t, &b->thing);
    free(b->exchange);
    free(b->key);
    free(b);
}

void consumer_free(struct topology *t, struct consumer *c)
{
    if (c->todo)
        TAILQ_REMOVE(&t->consumers_todo, c, todo_link);
    stop_waiting(t, c);
    TAILQ_REMOVE(&c->queue->consumers, c, link);
    table_remove(&t->consumers_by_number, &c->node);
    thing_end(t, &c->thing);
    free(c);
}

// --- wishes ---

static int want_exchange(struct topology *t, const struct wish *w)
{
    struct exchange *e;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (strcmp(e->name, w->name) == 0)
        return 0;
    e = calloc(1, sizeof *e);
    if (!e || !(e->name = strdup(w->name)) || !(e->type = strdup(w->other))) {
        if (e)
            free(e->name);
        free(e);
        return -ENOMEM;
    }
    thing_begin(t, &e->thing);
    TAILQ_INSERT_TAIL(&t->exchanges, e, link);
    return 0;
}

static bool same_queue(const struct queue *q, const struct wish *w)
{
    const char *dead = q->dead_letter_exchange ? q->dead_letter_exchange : "";
    return q->thing.wanted && q->limits.messages_max == w->limits.messages_max &&
           q->limits.bytes_max == w->limits.bytes_max && q->limits.one_consumer == w->limits.one_consumer &&
           strcmp(dead, w->other) == 0;
}

static int want_queue(struct topology *t, const struct wish *w)
{
    struct queue *q = find_queue(t, w->name);
    char *dead = w->other[0] ? strdup(w->other) : NULL;
    if ((w->other[0] && !dead) || (!q && !(q = make_queue(t, w->name)))) {
        free(dead);
        return -ENOMEM;
    }
    if (!same_queue(q, w) && q != t->probe)
        queue_set_differs(t, q, false);
    if (!same_queue(q, w) && q->thing.state == THING_ASKED)
        q->changed = true;
    else if (!same_queue(q, w))
        thing_set(t, &q->thing, THING_MISSING);
    free(q->dead_letter_exchange);
    q->dead_letter_exchange = dead;
    q->limits = w->limits;
    q->thing.wanted = true;
    q->delete_it = false;
    q->ready = false; // said again, even if nothing changed: who asks waits for it
    queue_touch(t, q);
    return 0;
}

static int unwant_queue(struct topology *t, const struct wish *w)
{
    struct queue *q = find_queue(t, w->name);
    struct binding *b, *next;
    if (!q && !w->limits.delete_it)
        return 0;
    if (!q && !(q = make_queue(t, w->name)))
        return -ENOMEM;
    if (q == t->probe)
        topology_end_probe(t);
    q->thing.wanted = false;
    queue_gone(q);
    q->delete_it = w->limits.delete_it;
    t->news = true; // what waits for it, waits no more
    b = TAILQ_FIRST(&q->bindings_todo);
    for (; b;
         b = next) { // what was not asked for yet; those of the other list go with the queue, or stay with it
        next = TAILQ_NEXT(b, link);
        binding_free(t, b);
    }
    for (b = TAILQ_FIRST(&q->bindings); b; b = next) {
        next = TAILQ_NEXT(b, link);
        b->thing.wanted = false;
        if (b->thing.state != THING_ASKED)
            binding_free(t, b);
    }
    queue_touch(t, q);
    return 0;
}

static int want_binding(struct topology *t, const struct wish *w)
{
    struct binding *b = find_binding(t, w->name, w->other, w->key);
    struct queue *q = find_queue(t, w->name);
    if (b) {
        if (!b->thing.wanted && b->thing.state != THING_ASKED) // else its answer tells what to do next
            binding_touch(t, b);
        b->thing.wanted = true;
        return 0;
    }
    if (!q && !(q = make_queue(t, w->name)))
        return -ENOMEM;
    b = calloc(1, sizeof *b);
    if (!b || !(b->exchange = strdup(w->other)) || !(b->key = strdup(w->key))) {
        if (b)
            free(b->exchange);
        free(b);
        return -ENOMEM;
    }
    b->queue = q;
    b->todo = true;
    thing_begin(t, &b->thing);
    TAILQ_INSERT_TAIL(&q->bindings_todo, b, link);
    table_insert(&t->bindings_by_names, &b->node, hash_names(t, w->name, w->other, w->key));
    binding_list(t, b);
    binding_touch(t, b);
    return 0;
}

static int unwant_binding(struct topology *t, const struct wish *w)
{
    struct binding *b = find_binding(t, w->name, w->other, w->key);
    if (!b || !b->thing.wanted)
        return 0;
    b->thing.wanted = false;
    t->news = true;
    if (b->thing.state != THING_ASKED)
        binding_touch(t, b);
    return 0;
}

static int want_consumer(struct topology *t, const struct wish *w)
{
    struct consumer *c = find_consumer(t, w->consumer);
    struct queue *q = find_queue(t, w->name);
    if (c) { // under way out: it comes again when that is through
        c->thing.wanted = true;
        consumer_touch(t, c);
        return 0;
    }
    if (!q && !(q = make_queue(t, w->name)))
        return -ENOMEM;
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->queue = q;
    c->number = w->consumer;
    c->prefetch = w->prefetch;
    thing_begin(t, &c->thing);
    TAILQ_INSERT_TAIL(&q->consumers, c, link);
    table_insert(&t->consumers_by_number, &c->node, c->number);
    consumer_touch(t, c);
    queue_touch(t, q);
    return 0;
}

static int unwant_consumer(struct topology *t, const struct wish *w)
{
    struct consumer *c = find_consumer(t, w->consumer);
    if (!c)
        return 0;
    c->thing.wanted = false;
    consumer_touch(t, c);
    return 0;
}

int topology_apply(struct topology *t, const struct wish *w)
{
    static int (*const by_kind[])(struct topology *, const struct wish *) = {
        [WISH_EXCHANGE] = want_exchange,      [WISH_QUEUE] = want_queue,
        [WISH_NO_QUEUE] = unwant_queue,       [WISH_BINDING] = want_binding,
        [WISH_NO_BINDING] = unwant_binding,   [WISH_CONSUMER] = want_consumer,
        [WISH_NO_CONSUMER] = unwant_consumer,
    };
    return by_kind[w->kind](t, w);
}

void topology_done(struct topology *t)
{
    struct exchange *e;
    struct table_node *node;
    struct queue *q;
    while ((node = table_any(&t->consumers_by_number)))
        consumer_free(t, table_entry(node, struct consumer, node));
    while ((node = table_any(&t->bindings_by_names)))
        binding_free(t, table_entry(node, struct binding, node));
    while ((q = TAILQ_FIRST(&t->queues))) {
        q->thing.wanted = q->delete_it = false;
        q->n_steps = 0;
        queue_free_if_unused(t, q);
    }
    while ((e = TAILQ_FIRST(&t->exchanges))) {
        TAILQ_REMOVE(&t->exchanges, e, link);
        free(e->name);
        free(e->type);
        free(e);
    }
    table_done(&t->queues_by_name);
    table_done(&t->bindings_by_names);
    table_done(&t->bindings_by_address);
    table_done(&t->consumers_by_number);
}
