// Owns the handlers of operations: reading, waiting for, cancelling. Called through routes.c; operations are
// made by the nouns' transactions and ended by env/operations.c.
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

#define WAIT_MS_MAX 600000

// A request that is answered when its operation is over.
struct operation_waiter {
    struct operation_waiter *next;
    struct api *api;
    uint64_t request;
    char id[ID_TEXT_CAP];
    struct event *timer;
};

static void waiter_free(struct operation_waiter *w)
{
    for (struct operation_waiter **p = &w->api->operation_waiters; *p; p = &(*p)->next) {
        if (*p != w)
            continue;
        *p = w->next;
        break;
    }
    event_free(w->timer);
    free(w);
}

static bool is_over(const json_t *operation)
{
    const char *state = json_get_string(json_object_get(operation, "status"), "state", "");
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0;
}

static void waiter_answer(struct operation_waiter *w)
{
    struct api *api = w->api;
    struct http_request *req = http_request_find(api->server, w->request);
    if (req) {
        http_request_on_gone(req, NULL, NULL);
        reply_object(api, req, 200, view_operation(api, w->id));
    }
    waiter_free(w);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    waiter_answer(arg);
}

static void on_gone(void *arg)
{
    waiter_free(arg);
}

static void on_operation(void *arg, const struct store_event *event)
{
    struct api *api = arg;
    struct operation_waiter *next;
    if (event->type != STORE_EVENT_PUT || !api->operation_waiters)
        return;
    _cleanup_json_ json_t *doc = json_loadb(event->value, event->len, 0, NULL);
    if (!is_over(doc))
        return;
    for (struct operation_waiter *w = api->operation_waiters; w; w = next) {
        next = w->next;
        if (strcmp(w->id, event->key + strlen(DOC_OPERATIONS)) == 0)
            waiter_answer(w);
    }
}

int operations_start(struct api *api)
{
    const struct store *store = api->deps.store;
    api->watch_operations =
        store_watch_open(api->deps.store, DOC_OPERATIONS, store_revision(store), on_operation, api);
    return api->watch_operations ? 0 : -ENOMEM;
}

static bool request_operation(struct api *api, struct http_request *req, const char **ret_id,
                              json_t **ret_object)
{
    const char *id = http_request_param(req, "operation");
    struct id parsed;
    *ret_id = id;
    *ret_object = id_parse(id, strlen(id), &parsed) ? view_operation(api, id) : NULL;
    if (*ret_object)
        return true;
    reply_problem(api, req, 404, "no-such-operation",
                  "there is no operation %.64s; finished ones are kept for a while only", id);
    return false;
}

static void wait_for(struct api *api, struct http_request *req, const char *id, uint64_t ms)
{
    struct operation_waiter *w = calloc(1, sizeof *w);
    if (w)
        w->timer = event_new(api->deps.base, -1, 0, on_timeout, w);
    if (!w || !w->timer) {
        free(w);
        reply_problem(api, req, 500, "internal", "no memory for the wait");
        return;
    }
    w->api = api;
    w->request = http_request_id(req);
    snprintf(w->id, sizeof w->id, "%s", id);
    w->next = api->operation_waiters;
    api->operation_waiters = w;
    event_add(w->timer,
              &(struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000});
    http_request_on_gone(req, on_gone, w);
}

void handle_operations_list(void *arg, struct http_request *req)
{
    list_reply(arg, req, DOC_OPERATIONS, "operation");
}

void handle_operation_get(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *id;
    json_t *object;
    uint64_t wait_ms;
    if (!request_number(api, req, "wait", 0, WAIT_MS_MAX, 0, &wait_ms) ||
        !request_operation(api, req, &id, &object))
        return;
    if (is_over(object) || wait_ms == 0) {
        reply_object(api, req, 200, object);
        return;
    }
    json_decref(object);
    wait_for(api, req, id, wait_ms);
}

static int build_cancel(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return operation_cancel(store, txn, c->name, &c->why);
}

static json_t *view_cancelled(struct api_change *c, int *ret_status)
{
    *ret_status = 202;
    return view_operation(c->api, c->name);
}

static const struct api_change_ops cancel_ops = {false, build_cancel, view_cancelled};

void handle_operation_cancel(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *id;
    json_t *object;
    if (!request_operation(api, req, &id, &object))
        return;
    json_decref(object);
    struct api_change *c = change_new(api, req, &cancel_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", id);
    change_submit(c, req);
}
