// Reply capabilities in two tables, by the call's id and by a handle of our own, each with a timer for its
// deadline.
#include "route/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "route/router_internal.h"

int calls_init(struct calls *c)
{
    *c = (struct calls){.key = siphash_key_random()};
    int rc = table_init(&c->by_id, 64);
    if (rc == 0)
        rc = table_init(&c->by_handle, 64);
    if (rc < 0)
        table_done(&c->by_id);
    return rc;
}

void calls_done(struct calls *c)
{
    struct table_node *n;
    while ((n = table_any(&c->by_id)))
        calls_remove(table_entry(n, struct call, by_id));
    table_done(&c->by_id);
    table_done(&c->by_handle);
}

static uint64_t hash_id(const struct calls *c, const struct id *id)
{
    return siphash(&c->key, id->bytes, ID_LEN);
}

static void on_deadline(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    calls_end(arg);
}

static int arm(struct call *call, uint64_t left_ms)
{
    call->timer = evtimer_new(call->router->base, on_deadline, call);
    const struct timeval tv = {.tv_sec = (time_t)(left_ms / 1000),
                               .tv_usec = (suseconds_t)(left_ms % 1000 * 1000)};
    if (call->timer && evtimer_add(call->timer, &tv) == 0)
        return 0;
    if (call->timer)
        event_free(call->timer);
    return -ENOMEM;
}

struct call *calls_add(struct router *r, const struct id *id, struct environment *caller,
                       struct environment *callee, uint64_t deadline_ms, uint64_t now_ms)
{
    struct calls *c = &r->calls;
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    *call = (struct call){.router = r,
                          .handle = ++c->handles,
                          .id = *id,
                          .caller = caller,
                          .callee = callee,
                          .deadline_ms = deadline_ms};
    if (arm(call, deadline_ms > now_ms ? deadline_ms - now_ms : 0) < 0) {
        free(call);
        return NULL;
    }
    table_insert(&c->by_id, &call->by_id, hash_id(c, id));
    table_insert(&c->by_handle, &call->by_handle, call->handle);
    LIST_INSERT_HEAD(&callee->calls_served, call, in_callee);
    if (caller) {
        LIST_INSERT_HEAD(&caller->calls_made, call, in_caller);
        caller->n_calls_made++;
    }
    return call;
}

void calls_remove(struct call *call)
{
    struct calls *c = &call->router->calls;
    table_remove(&c->by_id, &call->by_id);
    table_remove(&c->by_handle, &call->by_handle);
    LIST_REMOVE(call, in_callee);
    if (call->caller) {
        LIST_REMOVE(call, in_caller);
        call->caller->n_calls_made--;
    }
    event_free(call->timer);
    free(call);
}

void calls_end(struct call *call)
{
    void (*on_reply)(void *arg, const struct envelope *reply) = call->on_reply;
    void *arg = call->arg;
    calls_remove(call);
    if (on_reply)
        on_reply(arg, NULL);
}

// Starts anew after each: a callback may have ended others. The analyzer does not see that a removed call is
// not the first any more.
void calls_end_all(struct environment *e)
{
    while (!LIST_EMPTY(&e->calls_made))          // NOLINT(clang-analyzer-unix.Malloc)
        calls_end(LIST_FIRST(&e->calls_made));   // NOLINT(clang-analyzer-unix.Malloc)
    while (!LIST_EMPTY(&e->calls_served))        // NOLINT(clang-analyzer-unix.Malloc)
        calls_end(LIST_FIRST(&e->calls_served)); // NOLINT(clang-analyzer-unix.Malloc)
}

struct call *calls_find_handle(const struct calls *c, uint64_t handle)
{
    struct table_node *n = table_first(&c->by_handle, handle);
    return n ? table_entry(n, struct call, by_handle) : NULL;
}

struct call *calls_find_made(const struct calls *c, const struct environment *caller, const struct id *id)
{
    for (struct table_node *n = table_first(&c->by_id, hash_id(c, id)); n; n = table_next(n)) {
        struct call *call = table_entry(n, struct call, by_id);
        if (call->caller == caller && id_equals(&call->id, id))
            return call;
    }
    return NULL;
}

static bool made_by(const struct call *call, const struct address *a)
{
    const char *tenant = call->caller ? call->caller->tenant : NAME_HOST;
    const char *name = call->caller ? call->caller->name : ROUTER_OPERATOR;
    return !a->is_service && strcmp(a->tenant, tenant) == 0 && strcmp(a->name, name) == 0;
}

struct call *calls_find_served(const struct calls *c, const struct environment *callee, const struct id *id,
                               const struct address *to)
{
    for (struct table_node *n = table_first(&c->by_id, hash_id(c, id)); n; n = table_next(n)) {
        struct call *call = table_entry(n, struct call, by_id);
        if (call->callee == callee && id_equals(&call->id, id) && made_by(call, to))
            return call;
    }
    return NULL;
}
