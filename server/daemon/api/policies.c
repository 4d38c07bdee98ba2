// Owns the policy as an object: validating, storing with its versions, putting what is stored in force.
// Called through routes.c and at start; how rules are written and decided is mediate/'s.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "common/checked.h"
#include "common/io.h"
#include "common/log.h"

#define TEXT_MAX                                                                                             \
    (960u << 10) // with its escapes below STORE_VALUE_MAX, as a rule; the store has the last word
#define FILE_NAME_MAX 255
#define VERSIONS_KEPT 100

static const char *check_file(const char *key, const char *text, size_t len)
{
    (void)key;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return "must not have control characters";
    return NULL;
}

static const struct json_field policy_fields[] = {
    {.name = "text", .kind = JSON_FIELD_STRING, .required = true, .max = TEXT_MAX},
    {.name = "file", .kind = JSON_FIELD_STRING, .min = 1, .max = FILE_NAME_MAX, .check = check_file},
};

static int parse(const json_t *doc, uint64_t revision, struct policy **ret, struct policy_fault *fault,
                 struct err *err)
{
    const json_t *text = json_object_get(doc, "text");
    struct policy_source source = {.name = json_get_string(doc, "file", "main"),
                                   .untrusted_text = json_string_value(text),
                                   .len = json_string_length(text)};
    return policy_new(&source, 1, revision, ret, fault, err);
}

// --- what is stored is what is in force ---

static int put_in_force(struct api *api, const json_t *doc, uint64_t revision, struct err *err)
{
    struct policy *policy;
    int rc = parse(doc, revision, &policy, NULL, err);
    if (rc < 0)
        return rc;
    mediator_set_policy(api->deps.mediator, policy);
    log_info(NULL, "policy revision %llu is in force: %u rules", (unsigned long long)revision,
             policy_n_rules(policy));
    policy_unref(policy);
    return 0;
}

static void on_policy(void *arg, const struct store_event *event)
{
    struct err err;
    if (event->type != STORE_EVENT_PUT || strcmp(event->key, DOC_POLICY) != 0)
        return;
    _cleanup_json_ json_t *doc = json_loadb(event->value, event->len, 0, NULL);
    if (put_in_force(arg, doc, event->revision, &err) < 0)
        log_error(NULL, "the stored policy is not put in force, the old one stays: %s", err.text);
}

int policies_start(struct api *api, struct err *err)
{
    uint64_t revision;
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, DOC_POLICY, &revision);
    if (!doc)
        log_warn(NULL,
                 "there is no policy yet: every message is denied until one is set (envctl policy set)");
    int rc = doc ? put_in_force(api, doc, revision, err) : 0;
    if (rc < 0)
        return err_wrap(err, rc, "the stored policy");
    api->watch_policy =
        store_watch_open(api->deps.store, DOC_POLICY, store_revision(api->deps.store), on_policy, api);
    return api->watch_policy ? 0 : err_set(err, -ENOMEM, "no memory to follow the policy");
}

// --- handlers ---

void handle_policy_get(void *arg, struct http_request *req)
{
    reply_object(arg, req, 200, view_policy(arg));
}

static int build_put(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    uint64_t revision;
    char key[DOC_KEY_CAP];
    _cleanup_json_ json_t *old = doc_load(store, DOC_POLICY, &revision);
    if (old && !c->pre.given) {
        refuse(&c->why, -EINVAL, 428, "precondition-required",
               "there is a policy: changing it needs the header If-Match");
        refusal_remedy(&c->why, "Send If-Match: \"%llu\" if that is the policy that you saw, or If-Match: *",
                       (unsigned long long)revision);
        return -EINVAL;
    }
    if (c->pre.given && !c->pre.any && c->pre.revision != revision) {
        refuse(&c->why, -ESTALE, 412, "revision-mismatch",
               "the policy has changed: it is at revision %llu, the request expects %llu",
               (unsigned long long)revision, (unsigned long long)c->pre.revision);
        refusal_remedy(&c->why,
                       "Get it again, look at what changed, and put yours with its present revision");
        return -EINVAL;
    }
    json_int_t version = json_get_integer(old, "version", 0) + 1;
    json_object_set_new(c->body, "version", json_integer(version));
    json_object_set_new(c->body, "since", json_integer((json_int_t)io_realtime_ms()));
    int rc = store_txn_expect(txn, DOC_POLICY, revision);
    if (rc == 0)
        rc = doc_put(txn, DOC_POLICY, c->body);
    snprintf(key, sizeof key, DOC_POLICY_VERSIONS "%010lld", (long long)version);
    if (rc == 0)
        rc = doc_put(txn, key, c->body);
    snprintf(key, sizeof key, DOC_POLICY_VERSIONS "%010lld", (long long)(version - VERSIONS_KEPT));
    if (rc == 0 && version > VERSIONS_KEPT)
        rc = store_txn_delete(txn, key);
    if (rc == -E2BIG)
        refuse(&c->why, rc, 413, "too-large", "the policy's text is too large: about 1 MiB is possible");
    return rc;
}

static json_t *view_put(struct api_change *c, int *ret_status)
{
    (void)ret_status;
    return view_policy(c->api);
}

static const struct api_change_ops put_ops = {false, build_put, view_put};

void handle_policy_put(void *arg, struct http_request *req)
{
    struct api *api = arg;
    struct precondition pre;
    struct policy *policy;
    struct policy_fault fault = {0};
    struct err err;
    if (!request_precondition(api, req, false, &pre))
        return;
    json_t *body = request_body(api, req, policy_fields, ARRAY_LEN(policy_fields), false);
    if (!body)
        return;
    if (parse(body, 1, &policy, &fault, &err) < 0) {
        json_t *extra =
            json_pack("{s:I, s:I, s:s}", "line", (json_int_t)fault.line, "column", (json_int_t)fault.column,
                      "remedy", "The policy in force was not touched; mend the line and put it again");
        json_decref(body);
        reply_count(api, 422);
        http_reply_problem(req, 422, "policy-invalid", extra, "%s", err.text);
        return;
    }
    policy_unref(policy);
    struct api_change *c = change_new(api, req, &put_ops);
    if (!c) {
        json_decref(body);
        return;
    }
    c->body = body;
    c->pre = pre;
    change_submit(c, req);
}

void handle_policy_versions(void *arg, struct http_request *req)
{
    struct api *api = arg;
    json_t *items = json_array();
    for (const struct store_entry *at = store_next(api->deps.store, DOC_POLICY_VERSIONS, NULL); at;
         at = store_next(api->deps.store, DOC_POLICY_VERSIONS, at->key)) {
        _cleanup_json_ json_t *doc = doc_of(at);
        if (doc)
            json_array_append_new(items,
                                  json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:I}, s:I}", "kind", "policy",
                                            "name", "main", "spec", "text", json_get_string(doc, "text", ""),
                                            "file", json_get_string(doc, "file", "main"), "status", "since",
                                            (json_int_t)json_get_integer(doc, "since", 0), "revision",
                                            (json_int_t)at->revision));
    }
    reply_count(api, 200);
    http_reply_json(req, 200,
                    json_pack("{s:s, s:o, s:I}", "kind", "list", "items", items, "revision",
                              (json_int_t)store_revision(api->deps.store)));
}
