// Consumers and their credit: when deliveries are acknowledged, and when a queue is left alone.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "remote/remote_internal.h"

#define WINDOW_MAILBOX 256   // messages at a receiver above which it is sent no more
#define WINDOW_SERVICE 32    // small, so that other hosts' servers have their share
#define PREFETCH       16    // AMQP messages, each perhaps a bundle
#define HELD_MAX_MS    60000 // far below the broker's patience with who does not acknowledge
#define PAUSE_MS       500

static uint32_t window_of(const struct intake *in)
{
    return in->kind == INTAKE_SERVICE ? WINDOW_SERVICE : WINDOW_MAILBOX;
}

static uint64_t depth_of(const struct intake *in)
{
    switch (in->kind) {
    case INTAKE_MAILBOX:
        return router_depth(in->remote->router, in->tenant, in->name);
    case INTAKE_SERVICE:
        return router_service_depth(in->remote->router, in->tenant, in->name);
    default:
        return 0; // shared by many: who is full is refused, nobody waits for it
    }
}

static uint64_t hash_queue(const struct remote *r, const char *queue)
{
    return siphash(&r->key, queue, strlen(queue));
}

struct intake *intake_find(const struct remote *r, uint64_t id)
{
    struct table_node *n = id ? table_first(&r->intakes_by_id, id) : NULL;
    return n ? table_entry(n, struct intake, by_id) : NULL;
}

struct intake *intake_find_queue(const struct remote *r, const char *queue)
{
    for (struct table_node *n = table_first(&r->intakes_by_queue, hash_queue(r, queue)); n;
         n = table_next(n)) {
        struct intake *in = table_entry(n, struct intake, by_queue);
        if (strcmp(in->queue, queue) == 0)
            return in;
    }
    return NULL;
}

static void consume(struct intake *in)
{
    struct remote *r = in->remote;
    in->id = ++r->ids;
    table_insert(&r->intakes_by_id, &in->by_id, in->id);
    broker_want_consumer(r->broker, in->queue, in->kind == INTAKE_SERVICE ? WINDOW_SERVICE : PREFETCH,
                         in->id);
}

static void set_n_held(struct intake *in, uint32_t n)
{
    if (in->kind == INTAKE_SERVICE && in->n_held == 0 && n > 0)
        LIST_INSERT_HEAD(&in->remote->services_holding, in, in_holding);
    else if (in->kind == INTAKE_SERVICE && in->n_held > 0 && n == 0)
        LIST_REMOVE(in, in_holding);
    in->n_held = n;
}

static void settle_held(struct intake *in, uint32_t n)
{
    for (; n > 0 && in->n_held > 0; n--) {
        broker_settle(in->remote->broker, in->held[in->held_at], BROKER_ACK);
        in->held_at = (in->held_at + 1) % INTAKE_PREFETCH_MAX;
        set_n_held(in, in->n_held - 1);
    }
    in->held_ms = io_realtime_ms();
}

static void stop_consuming(struct intake *in)
{
    if (!in->id)
        return;
    if (in->remote->broker) {
        broker_unwant_consumer(in->remote->broker, in->id);
        settle_held(in, in->n_held);
    }
    table_remove(&in->remote->intakes_by_id, &in->by_id);
    in->id = 0;
    set_n_held(in, 0);
}

struct intake *intake_start(struct remote *r, enum intake_kind kind, const char *tenant, const char *name,
                            const char *queue)
{
    struct intake *in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    in->remote = r;
    in->kind = kind;
    LIST_INIT(&in->epochs);
    snprintf(in->tenant, sizeof in->tenant, "%s", tenant);
    snprintf(in->name, sizeof in->name, "%s", name);
    snprintf(in->queue, sizeof in->queue, "%s", queue);
    table_insert(&r->intakes_by_queue, &in->by_queue, hash_queue(r, queue));
    LIST_INSERT_HEAD(&r->intakes, in, link);
    consume(in);
    return in;
}

void intake_stop(struct intake *in)
{
    struct host_epoch *e;
    stop_consuming(in);
    table_remove(&in->remote->intakes_by_queue, &in->by_queue);
    LIST_REMOVE(in, link);
    while ((e = LIST_FIRST(&in->epochs))) {
        LIST_REMOVE(e, link);
        free(e);
    }
    free(in);
}

void intake_stored(struct intake *in, uint64_t handle)
{
    if (depth_of(in) < window_of(in) || in->n_held == INTAKE_PREFETCH_MAX) {
        broker_settle(in->remote->broker, handle, BROKER_ACK);
        return;
    }
    if (in->n_held == 0)
        in->held_ms = io_realtime_ms();
    in->held[(in->held_at + in->n_held) % INTAKE_PREFETCH_MAX] = handle;
    set_n_held(in, in->n_held + 1);
}

void intake_pause(struct intake *in)
{
    if (in->paused)
        return;
    stop_consuming(in);
    in->paused = true;
    in->paused_ms = io_realtime_ms();
}

void intake_forget_held(struct remote *r)
{
    struct intake *in;
    LIST_FOREACH(in, &r->intakes, link)
    {
        set_n_held(in, 0);
    }
}

static void let_more_come(struct intake *in)
{
    uint64_t depth = depth_of(in);
    if (in->n_held > 0 && depth < window_of(in))
        settle_held(in, (uint32_t)(window_of(in) - depth));
}

void intake_on_processed(void *arg, const char *tenant, const char *name)
{
    struct remote *r = arg;
    char queue[QUEUE_NAME_CAP];
    snprintf(queue, sizeof queue, "mailbox.%s.%s", tenant, name);
    struct intake *in = intake_find_queue(r, queue);
    if (in)
        let_more_come(in);
    for (in = LIST_FIRST(&r->services_holding); in;) { // letting more come takes it out
        struct intake *next = LIST_NEXT(in, in_holding);
        if (strcmp(in->tenant, tenant) == 0)
            let_more_come(in);
        in = next;
    }
}

void intake_tick(struct remote *r, uint64_t now_ms)
{
    struct intake *in;
    LIST_FOREACH(in, &r->intakes, link)
    {
        if (in->n_held > 0 && now_ms - in->held_ms > HELD_MAX_MS) {
            intake_pause(in);
        } else if (in->paused && now_ms - in->paused_ms >= PAUSE_MS && depth_of(in) < window_of(in)) {
            in->paused = false;
            consume(in);
        }
    }
}

static struct host_epoch *get_epoch(struct intake *in, const char *host)
{
    struct host_epoch *e;
    LIST_FOREACH(e, &in->epochs, link)
    {
        if (strcmp(e->host, host) == 0)
            return e;
    }
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    snprintf(e->host, sizeof e->host, "%s", host);
    e->epoch = router_epoch(in->remote->router, in->queue, host);
    LIST_INSERT_HEAD(&in->epochs, e, link);
    return e;
}

enum intake_epoch intake_epoch(struct intake *in, const char *host, uint64_t epoch, bool redelivered)
{
    struct host_epoch *e = get_epoch(in, host);
    if (!e)
        return INTAKE_EPOCH_UNKEPT;
    if (epoch < e->epoch)
        return redelivered ? INTAKE_EPOCH_HOLDS : INTAKE_EPOCH_STALE;
    if (epoch > e->epoch && router_keep_epoch(in->remote->router, in->queue, host, epoch) < 0)
        return INTAKE_EPOCH_UNKEPT;
    e->epoch = epoch;
    return INTAKE_EPOCH_HOLDS;
}
