// Owns the handlers of tenants. Called through routes.c; the rules are in env/objects_tenant.c.
#include <stdio.h>

#include "api/internal.h"

static json_t *view_after(struct api_change *c, int *ret_status)
{
    (void)ret_status;
    return view_tenant(c->api, c->tenant);
}

static json_t *view_created(struct api_change *c, int *ret_status)
{
    *ret_status = 201;
    return view_tenant(c->api, c->tenant);
}

static json_t *view_gone(struct api_change *c, int *ret_status)
{
    (void)c;
    *ret_status = 204;
    return NULL;
}

static int build_create(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return tenant_create(store, txn, &c->api->deps.pool, c->body, &c->why);
}

static int build_change(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return tenant_change(store, txn, c->tenant, c->body, &c->pre, &c->why);
}

static int build_delete(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return tenant_delete(store, txn, c->tenant, &c->pre, &c->why);
}

static const struct api_change_ops create_ops = {true, build_create, view_created};
static const struct api_change_ops change_ops = {true, build_change, view_after};
static const struct api_change_ops delete_ops = {true, build_delete, view_gone};

void handle_tenants_list(void *arg, struct http_request *req)
{
    list_reply(arg, req, DOC_TENANTS, "tenant");
}

void handle_tenant_create(void *arg, struct http_request *req)
{
    struct api *api = arg;
    json_t *body = request_body(api, req, doc_tenant_new_fields, doc_tenant_new_n, false);
    struct api_change *c = body ? change_new(api, req, &create_ops) : NULL;
    if (!c) {
        json_decref(body);
        return;
    }
    c->body = body;
    snprintf(c->tenant, sizeof c->tenant, "%s", json_get_string(body, "name", ""));
    change_submit(c, req);
}

void handle_tenant_get(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant;
    if (!request_name(api, req, "tenant", &tenant))
        return;
    json_t *object = view_tenant(api, tenant);
    if (object)
        reply_object(api, req, 200, object);
    else
        reply_problem(api, req, 404, "no-such-tenant", "there is no tenant %s", tenant);
}

void handle_tenant_change(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant;
    struct precondition pre;
    if (!request_name(api, req, "tenant", &tenant) || !request_precondition(api, req, true, &pre))
        return;
    json_t *body = request_body(api, req, NULL, 0, false);
    struct api_change *c = body ? change_new(api, req, &change_ops) : NULL;
    if (!c) {
        json_decref(body);
        return;
    }
    c->body = body;
    c->pre = pre;
    snprintf(c->tenant, sizeof c->tenant, "%s", tenant);
    change_submit(c, req);
}

void handle_tenant_delete(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant;
    struct precondition pre;
    if (!request_name(api, req, "tenant", &tenant) || !request_precondition(api, req, false, &pre))
        return;
    struct api_change *c = change_new(api, req, &delete_ops);
    if (!c)
        return;
    c->pre = pre;
    snprintf(c->tenant, sizeof c->tenant, "%s", tenant);
    change_submit(c, req);
}
