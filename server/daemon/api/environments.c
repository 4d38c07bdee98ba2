// Owns the handlers of environments. Called through routes.c; the rules are in env/objects_environment.c, and
// what happens then is the manager's, which follows the store.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"

#define GRACE_MS     5000
#define GRACE_MS_MAX 600000

static json_t *view_after(struct api_change *c, int *ret_status)
{
    (void)ret_status;
    return view_environment(c->api, c->tenant, c->name);
}

static json_t *view_created(struct api_change *c, int *ret_status)
{
    if (json_get_boolean(json_object_get(c->body, "spec"), "run", false))
        id_format(&c->operation, c->header_operation);
    *ret_status = 201;
    return view_environment(c->api, c->tenant, c->name);
}

static json_t *view_accepted(struct api_change *c, int *ret_status)
{
    char id[ID_TEXT_CAP];
    id_format(&c->operation, id);
    *ret_status = 202;
    return view_operation(c->api, id);
}

static int build_create(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_create(store, txn, c->tenant, c->body, &c->uid, &c->operation, &c->why);
}

static int build_change(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_change(store, txn, c->tenant, c->name, c->body, &c->pre, &c->why);
}

static int build_start(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_start(store, txn, c->tenant, c->name, &c->operation, &c->why);
}

static int build_stop(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_stop(store, txn, c->tenant, c->name, c->grace_ms, &c->operation, &c->why);
}

static int build_restart(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_restart(store, txn, c->tenant, c->name, c->grace_ms, &c->operation, &c->why);
}

static int build_pause(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_pause(store, txn, c->tenant, c->name, true, &c->operation, &c->why);
}

static int build_resume(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_pause(store, txn, c->tenant, c->name, false, &c->operation, &c->why);
}

static int build_delete(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return environment_delete(store, txn, c->tenant, c->name, &c->pre, &c->operation, &c->why);
}

static const struct api_change_ops create_ops = {true, build_create, view_created};
static const struct api_change_ops change_ops = {true, build_change, view_after};
static const struct api_change_ops start_ops = {false, build_start, view_accepted};
static const struct api_change_ops stop_ops = {false, build_stop, view_accepted};
static const struct api_change_ops restart_ops = {false, build_restart, view_accepted};
static const struct api_change_ops pause_ops = {false, build_pause, view_accepted};
static const struct api_change_ops resume_ops = {false, build_resume, view_accepted};
static const struct api_change_ops delete_ops = {false, build_delete, view_accepted};

static bool names(struct api *api, struct http_request *req, const char **ret_tenant, const char **ret_name)
{
    return request_name(api, req, "tenant", ret_tenant) && request_name(api, req, "environment", ret_name);
}

static void submit(struct api *api, struct http_request *req, const struct api_change_ops *ops,
                   const char *tenant, const char *name, json_t *body, const struct precondition *pre)
{
    struct api_change *c = change_new(api, req, ops);
    if (!c) {
        json_decref(body);
        return;
    }
    c->body = body;
    if (pre)
        c->pre = *pre;
    c->grace_ms = (uint32_t)json_get_integer(body, "grace_ms", GRACE_MS);
    snprintf(c->tenant, sizeof c->tenant, "%s", tenant);
    snprintf(c->name, sizeof c->name, "%s", name);
    change_submit(c, req);
}

void handle_environments_all(void *arg, struct http_request *req)
{
    list_reply(arg, req, DOC_ENVIRONMENTS, "environment");
}

void handle_environments_list(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant;
    char key[DOC_KEY_CAP], prefix[DOC_KEY_CAP];
    if (!request_name(api, req, "tenant", &tenant))
        return;
    doc_key(key, DOC_TENANTS, tenant);
    if (!store_get(api->deps.store, key)) {
        reply_problem(api, req, 404, "no-such-tenant", "there is no tenant %s", tenant);
        return;
    }
    snprintf(prefix, sizeof prefix, DOC_ENVIRONMENTS "%s/", tenant);
    list_reply(api, req, prefix, "environment");
}

static bool expect_broker(struct api *api, struct http_request *req, const char *tenant, const json_t *body)
{
    struct refusal why;
    const char *mailbox = json_get_string(json_object_get(body, "spec"), "mailbox", "");
    if (api->deps.remote || strcmp(mailbox, "queue") != 0)
        return true;
    refuse(&why, -ENOTCONN, 422, "no-broker",
           "%s/%s is to have a mailbox of class queue, and envd was started without --broker", tenant,
           json_get_string(body, "name", ""));
    refusal_remedy(&why, "Say mailbox host, or nothing; or start envd with --broker");
    snprintf(why.member, sizeof why.member, "/spec/mailbox");
    reply_refusal(api, req, &why);
    return false;
}

void handle_environment_create(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant;
    if (!request_name(api, req, "tenant", &tenant))
        return;
    json_t *body = request_body(api, req, doc_environment_new_fields, doc_environment_new_n, false);
    if (!body)
        return;
    if (!expect_broker(api, req, tenant, body) ||
        (json_get_boolean(json_object_get(body, "spec"), "run", false) && !request_helper(api, req))) {
        json_decref(body);
        return;
    }
    char name[NAME_CAP];
    snprintf(name, sizeof name, "%s", json_get_string(body, "name", ""));
    submit(api, req, &create_ops, tenant, name, body, NULL);
}

void handle_environment_get(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    if (!names(api, req, &tenant, &name))
        return;
    json_t *object = view_environment(api, tenant, name);
    struct refusal why;
    if (object) {
        reply_object(api, req, 200, object);
        return;
    }
    refuse(&why, -1, 404, "no-such-environment", "there is no environment %s/%s", tenant, name);
    refusal_remedy(&why, "List what there is: envctl list");
    reply_refusal(api, req, &why);
}

void handle_environment_change(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    struct precondition pre;
    if (!names(api, req, &tenant, &name) || !request_precondition(api, req, true, &pre))
        return;
    json_t *body = request_body(api, req, NULL, 0, false); // held against the table once it is merged
    if (body)
        submit(api, req, &change_ops, tenant, name, body, &pre);
}

void handle_environment_delete(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    struct precondition pre;
    if (names(api, req, &tenant, &name) && request_precondition(api, req, false, &pre))
        submit(api, req, &delete_ops, tenant, name, NULL, &pre);
}

void handle_environment_start(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *tenant, *name;
    if (names(api, req, &tenant, &name) && request_helper(api, req))
        submit(api, req, &start_ops, tenant, name, NULL, NULL);
}

// Those whose body may say how long the guest has to finish.
static void submit_with_grace(struct api *api, struct http_request *req, const struct api_change_ops *ops)
{
    static const struct json_field fields[] = {
        {.name = "grace_ms", .kind = JSON_FIELD_INTEGER, .min = 0, .max = GRACE_MS_MAX}};
    const char *tenant, *name;
    if (!names(api, req, &tenant, &name))
        return;
    json_t *body = request_body(api, req, fields, ARRAY_LEN(fields), true);
    if (body)
        submit(api, req, ops, tenant, name, body, NULL);
}

void handle_environment_stop(void *arg, struct http_request *req)
{
    submit_with_grace(arg, req, &stop_ops);
}

void handle_environment_restart(void *arg, struct http_request *req)
{
    if (request_helper(arg, req))
        submit_with_grace(arg, req, &restart_ops);
}

static void submit_simple(struct api *api, struct http_request *req, const struct api_change_ops *ops)
{
    const char *tenant, *name;
    if (names(api, req, &tenant, &name))
        submit(api, req, ops, tenant, name, NULL, NULL);
}

void handle_environment_pause(void *arg, struct http_request *req)
{
    submit_simple(arg, req, &pause_ops);
}

void handle_environment_resume(void *arg, struct http_request *req)
{
    submit_simple(arg, req, &resume_ops);
}
