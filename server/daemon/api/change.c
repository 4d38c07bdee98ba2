// Owns the way of a changing request: into a mutation, and back to the client, if it is still there. Called
// by the handlers that change something.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

static int change_build(void *arg, const struct store *store, struct store_txn *txn)
{
    struct api_change *c = arg;
    c->why.status = 0;
    return c->ops->build(c, store, txn);
}

static void answer(struct api_change *c, struct http_request *req)
{
    int status = 200;
    json_t *object = c->ops->view(c, &status);
    if (c->idempotency && object)
        idempotency_finish(c->api, c->idempotency, status, object, c->header_operation);
    if (!req) {
        json_decref(object);
        return;
    }
    if (c->header_operation[0])
        http_reply_header(req, "Envd-Operation", c->header_operation);
    if (object || status != 204) {
        reply_object(c->api, req, status, object);
    } else {
        reply_count(c->api, status);
        http_reply_empty(req, status);
    }
}

static void change_done(void *arg, const struct store_result *result)
{
    struct api_change *c = arg;
    struct http_request *req = c->api->server ? http_request_find(c->api->server, c->request) : NULL;
    if (result->rc == 0) {
        answer(c, req);
    } else {
        if (c->why.status == 0)
            refusal_of_store(result, &c->why);
        if (c->idempotency)
            idempotency_finish(c->api, c->idempotency, 0, NULL, NULL);
        if (req)
            reply_refusal(c->api, req, &c->why);
    }
    c->idempotency = 0;
    change_drop(c);
}

static const struct mutation_ops mutation = {change_build, change_done};

struct api_change *change_new(struct api *api, struct http_request *req, const struct api_change_ops *ops)
{
    uint64_t entry = 0;
    if (strcmp(http_request_method(req), "POST") == 0 &&
        idempotency_begin(api, req, &entry) == IDEMPOTENCY_ANSWERED)
        return NULL;
    struct api_change *c = calloc(1, sizeof *c);
    if (!c) {
        if (entry)
            idempotency_finish(api, entry, 0, NULL, NULL);
        reply_problem(api, req, 500, "internal", "no memory for the request");
        return NULL;
    }
    c->api = api;
    c->request = http_request_id(req);
    c->ops = ops;
    c->idempotency = entry;
    c->operation = doc_new_id();
    c->uid = doc_new_id();
    return c;
}

void change_submit(struct api_change *c, struct http_request *req)
{
    struct mutator *m = c->api->deps.mutator;
    int rc = c->ops->queued ? mutate_queued(m, &mutation, c) : mutate_at_once(m, &mutation, c);
    if (rc == 0)
        return;
    struct store_result result = {.rc = rc};
    err_errno(&result.err, rc, "too much is being changed at once");
    refusal_of_store(&result, &c->why);
    reply_refusal(c->api, req, &c->why);
    change_drop(c);
}

void change_drop(struct api_change *c)
{
    if (c->idempotency)
        idempotency_finish(c->api, c->idempotency, 0, NULL, NULL);
    json_decref(c->body);
    free(c);
}
