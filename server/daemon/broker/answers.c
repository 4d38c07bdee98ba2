// Owns what the broker's answers and refusals mean for the wanted things, and when they are tried again.
// Called by link.c; knows no connection, what is sent is topology.c's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/topology.h"

#define CODE_NOT_FOUND           404
#define CODE_PRECONDITION_FAILED 406
#define LOOK_MS                  10000 // at queues that differ, at least
#define LOOK_EACH_MS             10
#define QUOTED_CAP               (BROKER_SHORT_MAX + 3)

static const amqp_method_number_t answers[] = {
    [STEP_EXCHANGE] = AMQP_EXCHANGE_DECLARE_OK_METHOD, [STEP_QUEUE] = AMQP_QUEUE_DECLARE_OK_METHOD,
    [STEP_DELETE] = AMQP_QUEUE_DELETE_OK_METHOD,       [STEP_BIND] = AMQP_QUEUE_BIND_OK_METHOD,
    [STEP_UNBIND] = AMQP_QUEUE_UNBIND_OK_METHOD,       [STEP_QOS] = AMQP_BASIC_QOS_OK_METHOD,
    [STEP_CONSUME] = AMQP_BASIC_CONSUME_OK_METHOD,     [STEP_CANCEL] = AMQP_BASIC_CANCEL_OK_METHOD,
};

static struct step *step_at(struct pipeline *p, size_t i)
{
    return &p->steps[(p->head + i) % PIPELINE_MAX];
}

static struct step take(struct pipeline *p, size_t i)
{
    struct step s = *step_at(p, i);
    for (; i > 0; i--)
        *step_at(p, i) = *step_at(p, i - 1);
    p->head = (p->head + 1) % PIPELINE_MAX;
    p->n--;
    return s;
}

// --- answers ---

// All queues that were there wait for it.
void topology_end_probe(struct topology *t)
{
    struct queue *q;
    struct consumer *c;
    t->probe->look = t->probe->differs;
    t->probe = NULL;
    TAILQ_FOREACH(q, &t->queues, link)
    TAILQ_FOREACH(c, &q->consumers, link)
    consumer_touch(t, c);
}

static void on_queue(struct topology *t, const struct step *s)
{
    struct queue *q = s->queue;
    q->n_steps--;
    if (s->kind == STEP_QUEUE) {
        bool again = q->changed || q == t->probe; // it is there, if not as it is wanted
        thing_set(t, &q->thing, again ? THING_MISSING : THING_THERE);
        q->changed = false;
        q->was_there = q->thing.wanted;
        if (q == t->probe)
            topology_end_probe(t);
    } else {
        q->deleting = q->delete_it = false;
        topology_tell(t, q, ITEM_QUEUE_DELETED);
        queue_gone(q);
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
    b->was_there = bound;
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

// Which consumer an answer is about; 0: none of ours.
static uint64_t consumer_of(amqp_method_number_t method, const void *decoded)
{
    if (method == AMQP_BASIC_CONSUME_OK_METHOD)
        return consumer_tag_parse(((const amqp_basic_consume_ok_t *)decoded)->consumer_tag);
    if (method == AMQP_BASIC_CANCEL_OK_METHOD)
        return consumer_tag_parse(((const amqp_basic_cancel_ok_t *)decoded)->consumer_tag);
    return 0;
}

// The step that is answered, as its place in the pipeline; its n: none. On the channel of the consumers
// answers overtake each other: of basic.consume and basic.cancel the queue's own process tells, of the others
// the channel's (RabbitMQ 3.10, rabbit_amqqueue_process:maybe_send_reply()).
static size_t find_answered(struct pipeline *p, amqp_channel_t channel, amqp_method_number_t method,
                            const void *decoded)
{
    bool is_consumers = method == AMQP_BASIC_CONSUME_OK_METHOD || method == AMQP_BASIC_CANCEL_OK_METHOD;
    uint64_t consumer = consumer_of(method, decoded);
    size_t last = channel == CHANNEL_CONSUME ? p->n : p->n > 0;
    for (size_t i = 0; i < last; i++) {
        const struct step *s = step_at(p, i);
        if (answers[s->kind] == method && (!is_consumers || s->consumer->number == consumer))
            return i;
    }
    return p->n;
}

bool topology_answered(struct topology *t, amqp_channel_t channel, amqp_method_number_t method,
                       const void *decoded)
{
    struct pipeline *p = &t->pipelines[channel];
    size_t i = find_answered(p, channel, method, decoded);
    if (i == p->n)
        return false;
    struct step s = take(p, i);
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

// The broker lost its data, or somebody deleted that one queue: what is returned now may just not have been
// declared anew.
static void on_loss(struct topology *t, uint64_t now_ns)
{
    struct queue *q;
    t->loss_ns = now_ns + TOPOLOGY_LOSS_MS * 1000000ull;
    TAILQ_FOREACH(q, &t->queues, link)
    {
        queue_gone(q);
        queue_set_differs(t, q, false);
    }
    topology_end_probe(t);
}

// A queue of that name with other arguments is better than none: its mail goes on, and the reason is told.
static void on_differing(struct topology *t, struct queue *q, const char *why)
{
    queue_set_differs(t, q, true);
    snprintf(t->differing, sizeof t->differing,
             "%.60s has other arguments and is used as it is; delete it when it is empty, and it is made "
             "anew (%.90s)",
             q->name, why);
}

// Refusals with an answer of their own. False: there is none.
static bool mends(struct topology *t, const struct step *s, uint64_t now_ns, uint16_t code, const char *why)
{
    struct queue *q = s->kind == STEP_QUEUE ? s->queue : s->kind == STEP_CONSUME ? s->consumer->queue : NULL;
    if (!q || !q->thing.wanted || (s->kind == STEP_CONSUME && (code != CODE_NOT_FOUND || q->ready)))
        return false;
    if (s->kind == STEP_CONSUME) {
        queue_gone(q); // it was consumed before it was asked for
    } else if (q == t->probe && code == CODE_NOT_FOUND) {
        on_loss(t, now_ns);
    } else if (q == t->probe) {
        topology_end_probe(t);
    } else if (q->look && code == CODE_NOT_FOUND) {
        queue_set_differs(t, q, false);
        queue_gone(q);
        queue_rebuild(t, q);
    } else if (!q->look && code == CODE_PRECONDITION_FAILED) {
        on_differing(t, q, why);
    } else {
        return false;
    }
    return true;
}

// The step that the channel was closed over: steps before it may not be answered any more (see
// find_answered()), so it is the first that the broker's text names, or else just the first.
static size_t find_blamed(struct pipeline *p, const char *why)
{
    char quoted[QUOTED_CAP];
    for (size_t i = 0; i < p->n; i++) {
        snprintf(quoted, sizeof quoted, "'%s'", name_of(step_at(p, i)));
        if (strstr(why, quoted))
            return i;
    }
    return 0;
}

void topology_channel_closed(struct topology *t, amqp_channel_t channel, uint64_t now_ns, uint16_t code,
                             const char *why)
{
    struct pipeline *p = &t->pipelines[channel];
    size_t blame = channel == CHANNEL_CONSUME ? find_blamed(p, why) : 0;
    for (bool first = true; p->n > 0; first = false) {
        struct step s = take(p, first ? blame : 0);
        bool blamed = first && !mends(t, &s, now_ns, code, why);
        if (blamed) {
            snprintf(t->why, sizeof t->why, "%.60s: %.180s", name_of(&s), why);
            t->retry_ns = now_ns + TOPOLOGY_RETRY_MS * 1000000ull;
        }
        unask(t, &s, blamed ? THING_FAILED : THING_MISSING);
    }
    if (channel == CHANNEL_CONSUME)
        forget_consumers(t);
}

// The queue is asked for anew, and with it its bindings.
void queue_rebuild(struct topology *t, struct queue *q)
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
    queue_gone(c->queue);
    queue_rebuild(t, c->queue);
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
    queue_rebuild(t, q);
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
    for (size_t i = 0; i < N_CHANNELS; i++)
        t->pipelines[i].n = 0;
    t->prefetch = 0;
    t->retry_ns = UINT64_MAX;
    t->why[0] = '\0';
    t->probe = NULL;
    TAILQ_FOREACH(e, &t->exchanges, link)
    thing_set(t, &e->thing, THING_MISSING);
    TAILQ_FOREACH(q, &t->queues, link)
    {
        reset_queue(t, q);
        if (!t->probe && q->was_there && q->thing.wanted)
            t->probe = q;
    }
    if (t->probe)
        t->probe->look = true;
}

// Somebody may have deleted them.
static void look_at_differing(struct topology *t, uint64_t now_ns, uint64_t *next_ns)
{
    struct queue *q;
    if (t->n_differing == 0)
        return;
    if (now_ns >= t->look_ns) {
        t->look_ns = now_ns + (LOOK_MS + LOOK_EACH_MS * t->n_differing) * 1000000ull;
        TAILQ_FOREACH(q, &t->queues, link)
        if (q->differs && q->thing.state == THING_THERE) {
            thing_set(t, &q->thing, THING_MISSING);
            queue_touch(t, q);
        }
    }
    *next_ns = t->look_ns < *next_ns ? t->look_ns : *next_ns;
}

void topology_retry(struct topology *t, uint64_t now_ns, uint64_t *next_ns)
{
    struct exchange *e;
    struct queue *q;
    struct consumer *c;
    look_at_differing(t, now_ns, next_ns);
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
        queue_rebuild(t, q);
    }
}
