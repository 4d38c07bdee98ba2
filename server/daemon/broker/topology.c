// Owns the steps that make the broker have what is wanted, and what their answers mean. Called by link.c.
//
// Many steps are under way at once, answered in order. A refused one closes its channel: the step at the head
// of the pipeline is the one to blame, the others are sent again on the next channel, and the refused thing
// is tried again after a while, because what was in its way may be gone then.
#include "broker/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BYTES 2048 // at most, of one step

// --- pipelines ---

static bool has_place(const struct pipeline *p, size_t n)
{
    return p->n + n <= PIPELINE_MAX;
}

static void push(struct pipeline *p, struct step s)
{
    p->steps[(p->head + p->n++) % PIPELINE_MAX] = s;
}

// --- sending ---

static amqp_table_entry_t text_argument(const char *name, const char *value)
{
    amqp_table_entry_t e = {.key = bytes_of(name), .value.kind = AMQP_FIELD_KIND_UTF8};
    e.value.value.bytes = bytes_of(value);
    return e;
}

static amqp_table_entry_t number_argument(const char *name, uint64_t value)
{
    amqp_table_entry_t e = {.key = bytes_of(name), .value.kind = AMQP_FIELD_KIND_I64};
    e.value.value.i64 = value > INT64_MAX ? INT64_MAX : (int64_t)value;
    return e;
}

// A full queue refuses publications, which the publisher is told, rather than dropping what it has confirmed.
static int declare_queue(struct topology *t, const struct queue *q, struct conn *c, struct failure *ret)
{
    static const char *const types[] = {[BROKER_QUEUE_CLASSIC] = "classic", [BROKER_QUEUE_QUORUM] = "quorum"};
    amqp_table_entry_t e[7];
    int n = 0;
    enum broker_queue_type type = t->settings->queue_type;
    if (type != BROKER_QUEUE_AUTO)
        e[n++] = text_argument("x-queue-type", types[type]);
    if (q->limits.messages_max > 0)
        e[n++] = number_argument("x-max-length", q->limits.messages_max);
    if (q->limits.bytes_max > 0)
        e[n++] = number_argument("x-max-length-bytes", q->limits.bytes_max);
    if (q->limits.messages_max > 0 || q->limits.bytes_max > 0)
        e[n++] = text_argument("x-overflow", "reject-publish");
    if (q->dead_letter_exchange)
        e[n++] = text_argument("x-dead-letter-exchange", q->dead_letter_exchange);
    if (q->limits.one_consumer)
        e[n++] = (amqp_table_entry_t){.key = bytes_of("x-single-active-consumer"),
                                      .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = true}};
    amqp_queue_declare_t m = {
        .queue = bytes_of(q->name), .passive = !q->thing.wanted || q->look, .durable = 1};
    if (!m.passive)
        m.arguments = (amqp_table_t){n, e};
    return conn_send(c, q->channel, AMQP_QUEUE_DECLARE_METHOD, &m, ret);
}

static int send_exchange(struct topology *t, struct exchange *e, struct conn *c, struct failure *ret)
{
    amqp_exchange_declare_t m = {.exchange = bytes_of(e->name), .type = bytes_of(e->type), .durable = 1};
    thing_set(t, &e->thing, THING_ASKED);
    push(&t->pipelines[CHANNEL_DECLARE], (struct step){.kind = STEP_EXCHANGE, .exchange = e});
    return conn_send(c, CHANNEL_DECLARE, AMQP_EXCHANGE_DECLARE_METHOD, &m, ret);
}

static int send_queue(struct topology *t, struct queue *q, struct conn *c, struct failure *ret)
{
    q->n_steps++;
    if (q->delete_it) {
        amqp_queue_delete_t m = {.queue = bytes_of(q->name)};
        q->deleting = true;
        push(&t->pipelines[q->channel], (struct step){.kind = STEP_DELETE, .queue = q});
        return conn_send(c, q->channel, AMQP_QUEUE_DELETE_METHOD, &m, ret);
    }
    thing_set(t, &q->thing, THING_ASKED);
    push(&t->pipelines[q->channel], (struct step){.kind = STEP_QUEUE, .queue = q});
    return declare_queue(t, q, c, ret);
}

static int send_binding(struct topology *t, struct binding *b, struct conn *c, struct failure *ret)
{
    struct queue *q = b->queue;
    amqp_queue_bind_t bind = {
        .queue = bytes_of(q->name), .exchange = bytes_of(b->exchange), .routing_key = bytes_of(b->key)};
    amqp_queue_unbind_t unbind = {
        .queue = bytes_of(q->name), .exchange = bytes_of(b->exchange), .routing_key = bytes_of(b->key)};
    TAILQ_REMOVE(&q->bindings_todo, b, link);
    TAILQ_INSERT_TAIL(&q->bindings, b, link);
    b->todo = false;
    thing_set(t, &b->thing, THING_ASKED);
    q->n_bindings_asked++;
    push(&t->pipelines[q->channel],
         (struct step){.kind = b->thing.wanted ? STEP_BIND : STEP_UNBIND, .binding = b});
    return b->thing.wanted ? conn_send(c, q->channel, AMQP_QUEUE_BIND_METHOD, &bind, ret)
                           : conn_send(c, q->channel, AMQP_QUEUE_UNBIND_METHOD, &unbind, ret);
}

void topology_tell(struct topology *t, const struct queue *q, enum item_kind what)
{
    struct queue_news *news = calloc(1, sizeof *news);
    if (!news)
        return;
    news->item.kind = what;
    snprintf(news->name, sizeof news->name, "%s", q->name);
    STAILQ_INSERT_TAIL(t->out, &news->item, link);
}

static void say_ready(struct topology *t, struct queue *q)
{
    struct consumer *c;
    struct binding *b;
    bool whole = q->thing.wanted;
    q->ready = true;
    TAILQ_FOREACH(c, &q->consumers, link)
    consumer_touch(t, c);
    if (t->n_failed > 0) // rare: else all of a queue's bindings need not be looked at
        TAILQ_FOREACH(b, &q->bindings, link)
    whole = whole && b->thing.state == THING_THERE;
    if (whole)
        topology_tell(t, q, ITEM_QUEUE_READY);
}

// One step for q; false: nothing can be done for it now.
static bool advance(struct topology *t, struct queue *q, struct conn *c, int *ret_rc, struct failure *ret)
{
    struct binding *b = TAILQ_FIRST(&q->bindings_todo);
    enum thing_state state = q->thing.state;
    if (q->deleting || (q->delete_it && state == THING_ASKED))
        return false; // its answer comes first
    if (q->delete_it || state == THING_MISSING) {
        bool needed =
            q->delete_it || q->thing.wanted || b || !TAILQ_EMPTY(&q->bindings) || !TAILQ_EMPTY(&q->consumers);
        if (needed)
            *ret_rc = send_queue(t, q, c, ret);
        return needed;
    }
    if (state == THING_FAILED)
        return false;
    if (b) {
        *ret_rc = send_binding(t, b, c, ret);
        return true;
    }
    if (state == THING_THERE && q->n_bindings_asked == 0 && !q->ready)
        say_ready(t, q);
    return false;
}

static int pump_exchanges(struct topology *t, struct conn *c, struct failure *ret)
{
    struct exchange *e;
    int rc = 0;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (e->thing.state == THING_MISSING) {
        if (rc < 0 || !has_place(&t->pipelines[CHANNEL_DECLARE], 1) || !conn_may_send(c, STEP_BYTES))
            return rc;
        rc = send_exchange(t, e, c, ret);
    }
    return rc;
}

static bool exchanges_answered(const struct topology *t)
{
    const struct exchange *e;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (e->thing.state == THING_MISSING || e->thing.state == THING_ASKED)
        return false;
    return true;
}

// After the exchanges, because the channels of queues do not wait for each other.
static int pump_queues(struct topology *t, struct conn *c, const bool open[N_CHANNELS], struct failure *ret)
{
    struct queue *q;
    int rc = 0;
    if (t->probe && !t->probe->todo && t->probe->thing.state == THING_MISSING)
        queue_touch(t, t->probe);
    while (rc == 0 && (q = TAILQ_FIRST(&t->queues_todo)) && open[q->channel] &&
           has_place(&t->pipelines[q->channel], 1) && conn_may_send(c, STEP_BYTES)) {
        if (advance(t, q, c, &rc, ret))
            continue;
        TAILQ_REMOVE(&t->queues_todo, q, todo_link);
        q->todo = false;
        queue_free_if_unused(t, q);
    }
    return rc;
}

static int send_consume(struct topology *t, struct consumer *con, struct conn *c, struct failure *ret)
{
    char tag[CONSUMER_TAG_CAP];
    consumer_tag_make(tag, con->number);
    amqp_basic_qos_t qos = {.prefetch_count = con->prefetch};
    amqp_basic_consume_t consume = {.queue = bytes_of(con->queue->name),
                                    .consumer_tag = bytes_of(tag),
                                    .exclusive = con->queue->limits.exclusive_host};
    thing_set(t, &con->thing, THING_ASKED);
    if (t->prefetch != con->prefetch) { // it is for the consumers that come after it
        t->prefetch = con->prefetch;
        push(&t->pipelines[CHANNEL_CONSUME], (struct step){.kind = STEP_QOS});
        if (conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_QOS_METHOD, &qos, ret) < 0)
            return -1;
    }
    push(&t->pipelines[CHANNEL_CONSUME], (struct step){.kind = STEP_CONSUME, .consumer = con});
    return conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_CONSUME_METHOD, &consume, ret);
}

static int send_cancel(struct topology *t, struct consumer *con, struct conn *c, struct failure *ret)
{
    char tag[CONSUMER_TAG_CAP];
    consumer_tag_make(tag, con->number);
    amqp_basic_cancel_t m = {.consumer_tag = bytes_of(tag)};
    thing_set(t, &con->thing, THING_ASKED);
    push(&t->pipelines[CHANNEL_CONSUME], (struct step){.kind = STEP_CANCEL, .consumer = con});
    return conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_CANCEL_METHOD, &m, ret);
}

static void drop_consumer(struct topology *t, struct consumer *con)
{
    struct queue *q = con->queue;
    consumer_free(t, con);
    queue_free_if_unused(t, q);
}

// What was there is consumed before it is declared again, unless the broker lost it.
static bool may_consume(const struct topology *t, const struct queue *q)
{
    return q->ready || (q->was_there && q->thing.wanted && !t->probe);
}

// The order holds only if nothing of a consumer before is still on its way back: what the broker has left
// would overtake it.
static bool may_follow(const struct topology *t, const struct consumer *con)
{
    const struct consumer *other;
    bool shared = false;
    TAILQ_FOREACH(other, &con->queue->consumers, link)
    {
        bool there = other->thing.state == THING_THERE || other->thing.state == THING_ASKED;
        if (other != con && there && !other->thing.wanted)
            return false;
        shared = shared || (other != con && there);
    }
    return shared || !deliveries_any(t->unsettled, con->queue->serial);
}

static void let_wait(struct topology *t, struct consumer *con)
{
    con->waits = true;
    TAILQ_INSERT_TAIL(&t->consumers_waiting, con, todo_link);
}

static void look_at_waiting(struct topology *t)
{
    struct consumer *con, *next;
    for (con = TAILQ_FIRST(&t->consumers_waiting); con; con = next) {
        next = TAILQ_NEXT(con, todo_link);
        if (may_follow(t, con))
            consumer_touch(t, con);
    }
}

static int pump_consumers(struct topology *t, struct conn *c, struct failure *ret)
{
    struct consumer *con;
    int rc = 0;
    look_at_waiting(t);
    while (rc == 0 && (con = TAILQ_FIRST(&t->consumers_todo)) &&
           has_place(&t->pipelines[CHANNEL_CONSUME], 2) && conn_may_send(c, STEP_BYTES)) {
        enum thing_state state = con->thing.state;
        TAILQ_REMOVE(&t->consumers_todo, con, todo_link);
        con->todo = false;
        if (!con->thing.wanted && (state == THING_MISSING || state == THING_FAILED))
            drop_consumer(t, con);
        else if (!con->thing.wanted && state == THING_THERE)
            rc = send_cancel(t, con, c, ret);
        else if (con->thing.wanted && state == THING_MISSING && !may_follow(t, con))
            let_wait(t, con);
        else if (con->thing.wanted && state == THING_MISSING && may_consume(t, con->queue))
            rc = send_consume(t, con, c, ret);
    }
    return rc;
}

int topology_pump(struct topology *t, struct conn *c, const bool open[N_CHANNELS], struct failure *ret)
{
    int rc = open[CHANNEL_DECLARE] ? pump_exchanges(t, c, ret) : 0;
    if (rc == 0 && exchanges_answered(t))
        rc = pump_queues(t, c, open, ret);
    return rc == 0 && open[CHANNEL_CONSUME] ? pump_consumers(t, c, ret) : rc;
}

bool topology_publishable(const struct topology *t)
{
    return exchanges_answered(t) && !t->probe;
}

static bool settled(const struct topology *t)
{
    for (size_t i = 0; i < N_CHANNELS; i++)
        if (t->pipelines[i].n > 0)
            return false;
    return exchanges_answered(t) && TAILQ_EMPTY(&t->queues_todo) && TAILQ_EMPTY(&t->consumers_todo);
}

const char *topology_why(struct topology *t)
{
    if (t->n_failed == 0 && t->why[0] && settled(t))
        t->why[0] = '\0';
    return t->why[0] || t->n_differing == 0 ? t->why : t->differing;
}
