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

static const amqp_method_number_t answers[] = {
    [STEP_EXCHANGE] = AMQP_EXCHANGE_DECLARE_OK_METHOD, [STEP_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD,
    [STEP_DELETE] = AMQP_QUEUE_DELETE_OK_METHOD,       [STEP_BIND] = AMQP_QUEUE_BIND_OK_METHOD,
    [STEP_UNBIND] = AMQP_QUEUE_UNBIND_OK_METHOD,       [STEP_QOS] = AMQP_BASIC_QOS_OK_METHOD,
    [STEP_CONSUME] = AMQP_BASIC_CONSUME_OK_METHOD,     [STEP_CANCEL] = AMQP_BASIC_CANCEL_OK_METHOD,
};

// --- pipelines ---

static bool has_place(const struct pipeline *p, size_t n)
{
    return p->n + n <= PIPELINE_MAX;
}

static void push(struct pipeline *p, struct step s)
{
    p->steps[(p->head + p->n++) % PIPELINE_MAX] = s;
}

static struct step pop(struct pipeline *p)
{
    struct step s = p->steps[p->head];
    p->head = (p->head + 1) % PIPELINE_MAX;
    p->n--;
    return s;
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
    amqp_table_entry_t e[6];
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
    amqp_queue_declare_t m = {.queue = bytes_of(q->name), .passive = !q->thing.wanted, .durable = 1};
    if (q->thing.wanted)
        m.arguments = (amqp_table_t){n, e};
    return conn_send(c, CHANNEL_DECLARE, AMQP_QUEUE_DECLARE_METHOD, &m, ret);
}

static int send_exchange(struct topology *t, struct exchange *e, struct conn *c, struct failure *ret)
{
    amqp_exchange_declare_t m = {.exchange = bytes_of(e->name), .type = bytes_of(e->type), .durable = 1};
    thing_set(t, &e->thing, THING_ASKED);
    push(&t->declaring, (struct step){.kind = STEP_EXCHANGE, .exchange = e});
    return conn_send(c, CHANNEL_DECLARE, AMQP_EXCHANGE_DECLARE_METHOD, &m, ret);
}

static int send_queue(struct topology *t, struct queue *q, struct conn *c, struct failure *ret)
{
    q->n_steps++;
    if (q->delete_it) {
        amqp_queue_delete_t m = {.queue = bytes_of(q->name)};
        q->deleting = true;
        push(&t->declaring, (struct step){.kind = STEP_DELETE, .queue = q});
        return conn_send(c, CHANNEL_DECLARE, AMQP_QUEUE_DELETE_METHOD, &m, ret);
    }
    thing_set(t, &q->thing, THING_ASKED);
    push(&t->declaring, (struct step){.kind = STEP_QUEUE, .queue = q});
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
    push(&t->declaring, (struct step){.kind = b->thing.wanted ? STEP_BIND : STEP_UNBIND, .binding = b});
    return b->thing.wanted ? conn_send(c, CHANNEL_DECLARE, AMQP_QUEUE_BIND_METHOD, &bind, ret)
                           : conn_send(c, CHANNEL_DECLARE, AMQP_QUEUE_UNBIND_METHOD, &unbind, ret);
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
    struct queue_ready *r = whole ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return;
    r->item.kind = ITEM_QUEUE_READY;
    snprintf(r->name, sizeof r->name, "%s", q->name);
    STAILQ_INSERT_TAIL(t->out, &r->item, link);
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

static int pump_declares(struct topology *t, struct conn *c, struct failure *ret)
{
    struct exchange *e;
    struct queue *q;
    int rc = 0;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (e->thing.state == THING_MISSING) {
        if (rc < 0 || !has_place(&t->declaring, 1) || !conn_may_send(c, STEP_BYTES))
            return rc;
        rc = send_exchange(t, e, c, ret);
    }
    while (rc == 0 && (q = TAILQ_FIRST(&t->queues_todo)) && has_place(&t->declaring, 1) &&
           conn_may_send(c, STEP_BYTES)) {
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
        push(&t->consuming, (struct step){.kind = STEP_QOS});
        if (conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_QOS_METHOD, &qos, ret) < 0)
            return -1;
    }
    push(&t->consuming, (struct step){.kind = STEP_CONSUME, .consumer = con});
    return conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_CONSUME_METHOD, &consume, ret);
}

static int send_cancel(struct topology *t, struct consumer *con, struct conn *c, struct failure *ret)
{
    char tag[CONSUMER_TAG_CAP];
    consumer_tag_make(tag, con->number);
    amqp_basic_cancel_t m = {.consumer_tag = bytes_of(tag)};
    thing_set(t, &con->thing, THING_ASKED);
    push(&t->consuming, (struct step){.kind = STEP_CANCEL, .consumer = con});
    return conn_send(c, CHANNEL_CONSUME, AMQP_BASIC_CANCEL_METHOD, &m, ret);
}

static void drop_consumer(struct topology *t, struct consumer *con)
{
    struct queue *q = con->queue;
    consumer_free(t, con);
    queue_free_if_unused(t, q);
}

static int pump_consumers(struct topology *t, struct conn *c, struct failure *ret)
{
    struct consumer *con;
    int rc = 0;
    while (rc == 0 && (con = TAILQ_FIRST(&t->consumers_todo)) && has_place(&t->consuming, 2) &&
           conn_may_send(c, STEP_BYTES)) {
        enum thing_state state = con->thing.state;
        TAILQ_REMOVE(&t->consumers_todo, con, todo_link);
        con->todo = false;
        if (!con->thing.wanted && (state == THING_MISSING || state == THING_FAILED))
            drop_consumer(t, con);
        else if (!con->thing.wanted && state == THING_THERE)
            rc = send_cancel(t, con, c, ret);
        else if (con->thing.wanted && state == THING_MISSING && con->queue->ready)
            rc = send_consume(t, con, c, ret);
    }
    return rc;
}

int topology_pump(struct topology *t, struct conn *c, bool declare, bool consume, struct failure *ret)
{
    int rc = declare ? pump_declares(t, c, ret) : 0;
    return rc == 0 && consume ? pump_consumers(t, c, ret) : rc;
}

bool topology_settled(const struct topology *t)
{
    const struct exchange *e;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (e->thing.state == THING_MISSING)
        return false;
    return t->declaring.n == 0 && t->consuming.n == 0 && TAILQ_EMPTY(&t->queues_todo) &&
           TAILQ_EMPTY(&t->consumers_todo);
}

const char *topology_why(struct topology *t)
{
    if (t->n_failed == 0 && t->why[0] && topology_settled(t))
        t->why[0] = '\0';
    return t->why;
}

// --- answers ---

static void on_queue(struct topology *t, const struct step *s)
{
    struct queue *q = s->queue;
    q->n_steps--;
    if (s->kind == STEP_QUEUE) {
        thing_set(t, &q->thing, q->changed ? THING_MISSING : THING_THERE);
        q->changed = false;
    } else {
        q->deleting = q->delete_it = false;
        thing_set(t, &q->thing, THING_MISSING);
    }
    queue_touch(t, q); // freed there when nobody wants it
}

static void on_binding(struct topology *t, const struct step *s)
{
    struct binding *b = s->binding;
    struct queue *q = b->queue;
    bool bound = s->kind == STEP_BIND;
    q->n_bindings_asked--;
    thing_set(t, &b->thing, bound ? THING_THERE : THING_MISSING);
    if (!b->thing.wanted && (!bound || !q->thing.wanted))
        binding_free(t, b);
    else if (b->thing.wanted != bound)
        binding_touch(t, b); // somebody changed their mind meanwhile
    queue_touch(t, q);
}

static void on_consumer(struct topology *t, const struct step *s)
{
    thing_set(t, &s->consumer->thing, s->kind == STEP_CONSUME ? THING_THERE : THING_MISSING);
    consumer_touch(t, s->consumer);
}

bool topology_answered(struct topology *t, amqp_channel_t channel, amqp_method_number_t method)
{
    struct pipeline *p = channel == CHANNEL_CONSUME ? &t->consuming : &t->declaring;
    if (p->n == 0 || answers[p->steps[p->head].kind] != method)
        return false;
    struct step s = pop(p);
    if (s.kind == STEP_EXCHANGE)
        thing_set(t, &s.exchange->thing, THING_THERE);
    else if (s.kind == STEP_QUEUE || s.kind == STEP_DELETE)
        on_queue(t, &s);
    else if (s.kind == STEP_BIND || s.kind == STEP_UNBIND)
        on_binding(t, &s);
    else if (s.kind != STEP_QOS)
        on_consumer(t, &s);
    return true;
}

// --- what goes wrong ---

static void unask(struct topology *t, const struct step *s, enum thing_state state)
{
    switch (s->kind) {
    case STEP_EXCHANGE:
        thing_set(t, &s->exchange->thing, state);
        break;
    case STEP_QUEUE:
    case STEP_DELETE:
        s->queue->n_steps--;
        s->queue->deleting = false;
        if (s->kind == STEP_DELETE && state == THING_FAILED)
            s->queue->delete_it = false; // not ours to delete
        thing_set(t, &s->queue->thing, state);
        queue_touch(t, s->queue);
        break;
    case STEP_BIND:
    case STEP_UNBIND:
        s->binding->queue->n_bindings_asked--;
        thing_set(t, &s->binding->thing, state);
        if (state == THING_MISSING)
            binding_touch(t, s->binding);
        queue_touch(t, s->binding->queue);
        break;
    case STEP_CONSUME:
    case STEP_CANCEL:
        thing_set(t, &s->consumer->thing, state);
        consumer_touch(t, s->consumer);
        break;
    case STEP_QOS:
        break;
    }
}

static const char *name_of(const struct step *s)
{
    if (s->kind == STEP_EXCHANGE)
        return s->exchange->name;
    if (s->kind == STEP_QUEUE || s->kind == STEP_DELETE)
        return s->queue->name;
    if (s->kind == STEP_BIND || s->kind == STEP_UNBIND)
        return s->binding->queue->name;
    return s->kind == STEP_QOS ? "prefetch" : s->consumer->queue->name;
}

static void forget_consumers(struct topology *t)
{
    struct queue *q;
    struct consumer *c;
    t->prefetch = 0;
    TAILQ_FOREACH(q, &t->queues, link)
    TAILQ_FOREACH(c, &q->consumers, link)
    if (c->thing.state != THING_FAILED) {
        thing_set(t, &c->thing, THING_MISSING);
        consumer_touch(t, c);
    }
}

void topology_channel_closed(struct topology *t, amqp_channel_t channel, uint64_t now_ns, const char *why)
{
    struct pipeline *p = channel == CHANNEL_CONSUME ? &t->consuming : &t->declaring;
    for (bool blamed = false; p->n > 0; blamed = true) {
        struct step s = pop(p);
        if (!blamed) {
            snprintf(t->why, sizeof t->why, "%.60s: %.180s", name_of(&s), why);
            t->retry_ns = now_ns + TOPOLOGY_RETRY_MS * 1000000ull;
        }
        unask(t, &s, blamed ? THING_MISSING : THING_FAILED);
    }
    if (channel == CHANNEL_CONSUME)
        forget_consumers(t);
}

// The queue is asked for anew, and with it its bindings.
static void rebuild(struct topology *t, struct queue *q)
{
    struct binding *b, *next;
    if (q->thing.state == THING_THERE)
        thing_set(t, &q->thing, THING_MISSING);
    for (b = TAILQ_FIRST(&q->bindings); b; b = next) {
        next = TAILQ_NEXT(b, link);
        if (b->thing.state != THING_ASKED) {
            thing_set(t, &b->thing, THING_MISSING);
            binding_touch(t, b);
        }
    }
    q->ready = false;
    queue_touch(t, q);
}

void topology_cancelled(struct topology *t, amqp_bytes_t consumer_tag)
{
    struct consumer *c = topology_consumer(t, consumer_tag_parse(consumer_tag));
    if (!c || c->thing.state != THING_THERE)
        return;
    thing_set(t, &c->thing, THING_MISSING);
    rebuild(t, c->queue);
}

static void reset_queue(struct topology *t, struct queue *q)
{
    struct consumer *c, *next;
    q->deleting = q->ready = q->changed = false;
    q->n_steps = q->n_bindings_asked = 0;
    thing_set(t, &q->thing, THING_THERE);
    struct binding *b;
    TAILQ_FOREACH(b, &q->bindings, link)
    thing_set(t, &b->thing, THING_MISSING);
    rebuild(t, q);
    for (c = TAILQ_FIRST(&q->consumers); c; c = next) {
        next = TAILQ_NEXT(c, link);
        thing_set(t, &c->thing, THING_MISSING);
        if (!c->thing.wanted)
            consumer_free(t, c);
    }
}

void topology_reset(struct topology *t)
{
    struct exchange *e;
    struct queue *q;
    t->declaring.n = t->consuming.n = 0;
    t->prefetch = 0;
    t->retry_ns = UINT64_MAX;
    t->why[0] = '\0';
    TAILQ_FOREACH(e, &t->exchanges, link)
    thing_set(t, &e->thing, THING_MISSING);
    TAILQ_FOREACH(q, &t->queues, link)
    reset_queue(t, q);
}

void topology_retry(struct topology *t, uint64_t now_ns, uint64_t *next_ns)
{
    struct exchange *e;
    struct queue *q;
    struct consumer *c;
    if (t->retry_ns > now_ns) {
        *next_ns = t->retry_ns < *next_ns ? t->retry_ns : *next_ns;
        return;
    }
    t->retry_ns = UINT64_MAX;
    TAILQ_FOREACH(e, &t->exchanges, link)
    if (e->thing.state == THING_FAILED)
        thing_set(t, &e->thing, THING_MISSING);
    TAILQ_FOREACH(q, &t->queues, link)
    {
        bool failed = q->thing.state == THING_FAILED;
        struct binding *b;
        TAILQ_FOREACH(b, &q->bindings, link)
        failed = failed || b->thing.state == THING_FAILED;
        TAILQ_FOREACH(c, &q->consumers, link)
        if (c->thing.state == THING_FAILED) {
            thing_set(t, &c->thing, THING_MISSING);
            consumer_touch(t, c);
            failed = true; // as a rule its queue is gone
        }
        if (!failed)
            continue;
        if (q->thing.state == THING_FAILED)
            thing_set(t, &q->thing, THING_MISSING);
        rebuild(t, q);
    }
}
