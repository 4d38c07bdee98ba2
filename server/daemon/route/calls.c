// Reply capabilities in two tables, by the call's id and by a handle of our own, each with a timer for its
// deadline.
#include "route/calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/refusal.h"
#include "route/router_internal.h"

#define OPERATORS_MAX   1024 // calls of operators
#define REPLY_BYTES_MAX (16u << 20)

int calls_init(struct calls *c)
{
    *c = (struct calls){.key = siphash_key_random()};
    TAILQ_INIT(&c->operators);
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

static void far_free(struct call_far *far)
{
    if (!far)
        return;
    free(far->reply_to);
    free(far->correlation);
    free(far);
}

struct call_far *call_far_new(const struct address *caller, const char *host, const char *reply_to,
                              const char *correlation)
{
    struct call_far *far = calloc(1, sizeof *far);
    if (!far)
        return NULL;
    far->address = *caller;
    snprintf(far->host, sizeof far->host, "%s", host ? host : "");
    far->reply_to = reply_to ? strdup(reply_to) : NULL;
    far->correlation = correlation ? strdup(correlation) : NULL;
    if ((!reply_to || far->reply_to) && (!correlation || far->correlation))
        return far;
    far_free(far);
    return NULL;
}

static void set_callee(struct call *call, struct environment *callee)
{
    call->callee = callee;
    LIST_INSERT_HEAD(&callee->calls_served, call, in_callee);
    callee->n_calls_far += call->far != NULL;
}

struct call *calls_add(struct router *r, const struct id *id, const struct call_sides *sides,
                       uint64_t deadline_ms, uint64_t now_ms)
{
    struct calls *c = &r->calls;
    struct call *call = calloc(1, sizeof *call);
    if (!call) {
        far_free(sides->far);
        return NULL;
    }
    *call = (struct call){.router = r,
                          .handle = ++c->handles,
                          .id = *id,
                          .caller = sides->caller,
                          .far = sides->far,
                          .called = *sides->called,
                          .kept_seq = sides->kept_seq,
                          .deadline_ms = deadline_ms,
                          .owed = sides->far == NULL};
    if (arm(call, deadline_ms > now_ms ? deadline_ms - now_ms : 0) < 0) {
        far_free(call->far);
        free(call);
        return NULL;
    }
    table_insert(&c->by_id, &call->by_id, hash_id(c, id));
    table_insert(&c->by_handle, &call->by_handle, call->handle);
    if (sides->callee)
        set_callee(call, sides->callee);
    if (call->caller) {
        LIST_INSERT_HEAD(&call->caller->calls_made, call, in_caller);
        call->caller->n_calls_made++;
    }
    if (!call->caller && !call->far) {
        TAILQ_INSERT_TAIL(&c->operators, call, in_operators);
        c->n_operators++;
    }
    if (!call->kept_seq)
        durable_keep_call(r->durable, call);
    return call;
}

void calls_set_callee(struct call *call, struct environment *callee)
{
    set_callee(call, callee);
    durable_keep_call(call->router->durable, call);
}

static void leave_callee(struct call *call)
{
    LIST_REMOVE(call, in_callee);
    call->callee->n_calls_far -= call->far != NULL;
    call->callee = NULL;
}

void calls_remove(struct call *call)
{
    struct calls *c = &call->router->calls;
    durable_forget_call(call->router->durable, call);
    table_remove(&c->by_id, &call->by_id);
    table_remove(&c->by_handle, &call->by_handle);
    if (call->callee)
        leave_callee(call);
    if (call->caller) {
        LIST_REMOVE(call, in_caller);
        call->caller->n_calls_made--;
    }
    if (!call->caller && !call->far) {
        TAILQ_REMOVE(&c->operators, call, in_operators);
        c->n_operators--;
    }
    if (call->reply) {
        c->n_answered--;
        c->reply_bytes -= call->reply->len;
    }
    event_free(call->timer);
    far_free(call->far);
    message_unref(call->reply);
    free(call);
}

// Nobody would miss it now.
static bool is_over(const struct call *call, bool answered)
{
    return !call->on_reply && !call->owed && (answered ? call->reply != NULL : !call->answering);
}

static struct call *oldest_over(const struct calls *c, bool answered)
{
    struct call *call;
    TAILQ_FOREACH(call, &c->operators, in_operators)
    {
        if (is_over(call, answered))
            break;
    }
    return call;
}

bool calls_make_room(struct calls *c)
{
    if (c->n_operators < OPERATORS_MAX)
        return true;
    struct call *call = oldest_over(c, true);
    if (!call)
        call = oldest_over(c, false);
    if (call)
        calls_remove(call);
    return call != NULL;
}

void calls_answer(struct call *call, struct message *reply)
{
    struct calls *c = &call->router->calls;
    struct call *old;
    call->reply = message_ref(reply);
    call->answering = true;
    c->n_answered++;
    c->reply_bytes += reply->len;
    while (c->reply_bytes > REPLY_BYTES_MAX && (old = oldest_over(c, true)) && old != call)
        calls_remove(old);
}

void calls_end(struct call *call)
{
    void (*on_reply)(void *arg, const struct envelope *reply) = call->on_reply;
    void *arg = call->arg;
    calls_remove(call);
    if (on_reply)
        on_reply(arg, NULL);
}

// The callee is gone. What it has answered already is on its way; for the rest the refusal is the answer.
static void end_served(struct call *call)
{
    struct remote_refusal refusal;
    struct router *r = call->router;
    leave_callee(call);
    if (call->answering)
        return;
    refusal_of_call(call, RECEIPT_NO_SUCH_ENVIRONMENT, &refusal);
    if (call->far)
        calls_remove(call);
    router_tell_caller(r, &refusal);
}

// Starts anew after each: a callback may have ended others. The analyzer does not see that a removed call is
// not the first any more.
void calls_end_all(struct environment *e)
{
    while (!LIST_EMPTY(&e->calls_made))           // NOLINT(clang-analyzer-unix.Malloc)
        calls_end(LIST_FIRST(&e->calls_made));    // NOLINT(clang-analyzer-unix.Malloc)
    while (!LIST_EMPTY(&e->calls_served))         // NOLINT(clang-analyzer-unix.Malloc)
        end_served(LIST_FIRST(&e->calls_served)); // NOLINT(clang-analyzer-unix.Malloc)
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
        if (call->caller == caller && !call->far && id_equals(&call->id, id))
            return call;
    }
    return NULL;
}

// Any environment of a service's tenant may serve it.
static bool may_answer(const struct call *call, const struct address *a)
{
    const struct address *called = &call->called;
    return !call->callee && !a->is_service && strcmp(a->tenant, called->tenant) == 0 &&
           (called->is_service || strcmp(a->name, called->name) == 0);
}

struct call *calls_find_made_far(const struct calls *c, const struct environment *caller, const struct id *id,
                                 const struct address *from)
{
    struct call *call = calls_find_made(c, caller, id);
    return call && !call->reply && may_answer(call, from) ? call : NULL;
}

struct call *calls_find_refused(const struct calls *c, const struct environment *caller, const struct id *id,
                                const struct address *from)
{
    struct call *call = calls_find_made(c, caller, id);
    return call && address_equals(&call->called, from) ? call : NULL;
}

static bool made_by(const struct call *call, const struct address *a)
{
    if (call->far)
        return address_equals(a, &call->far->address);
    const char *tenant = call->caller ? call->caller->tenant : NAME_HOST;
    const char *name = call->caller ? call->caller->name : ROUTER_OPERATOR;
    return !a->is_service && strcmp(a->tenant, tenant) == 0 && strcmp(a->name, name) == 0;
}

struct call *calls_find_served(const struct calls *c, const struct environment *callee, const struct id *id,
                               const struct address *to)
{
    for (struct table_node *n = table_first(&c->by_id, hash_id(c, id)); n; n = table_next(n)) {
        struct call *call = table_entry(n, struct call, by_id);
        if (call->callee == callee && !call->reply && id_equals(&call->id, id) && made_by(call, to))
            return call;
    }
    return NULL;
}
