// What the files of api/ share: the api itself, replies, changes of the store, lists. Included by api/*.c
// only.
#pragma once

#include "api/api.h"
#include "env/objects.h"
#include "json/fields.h"

#define API_BODY_MAX   (1u << 20)
#define API_LIST_LIMIT 200
#define API_STATUS_MAX 600

struct operation_waiter;
struct log_reader;
struct stats_reader;
struct event_reader;
struct api_session;
struct idempotency;
struct session_frame;

struct api {
    struct api_deps deps;
    struct http_server *server; // NULL after api_stop()
    struct store_watch *watch_operations, *watch_policy;
    struct operation_waiter *operation_waiters;
    struct log_reader *log_readers;
    struct stats_reader *stats_readers;
    struct event_reader *event_readers;
    struct api_session *sessions;
    struct idempotency *idempotency;
    struct {
        json_t *items; // NULL: nobody looks
        int what;      // enum remote_dead_what
        bool whole;
        uint64_t position;
    } broker_dead;
    uint64_t replies[API_STATUS_MAX]; // by status
};

// --- reply.c ---

// The reply to a refused request; remedy and member go along.
void reply_refusal(struct api *api, struct http_request *req, const struct refusal *why);
__attribute__((format(printf, 5, 6))) void reply_problem(struct api *api, struct http_request *req,
                                                         int status, const char *code, const char *detail,
                                                         ...);
void reply_count(struct api *api, int status); // for those that reply by themselves
// An object with its revision as ETag. Takes the reference; NULL is an internal error.
void reply_object(struct api *api, struct http_request *req, int status, json_t *object);
void reply_fault(struct api *api, struct http_request *req, const struct json_fault *fault);
// The refusal for a store's rc that the store itself gave (no space, busy, …).
void refusal_of_store(const struct store_result *result, struct refusal *why);

// --- request.c: all reply by themselves when they fail ---

// The body, parsed and held against fields. NULL: it was answered. An absent body is {} when optional.
json_t *request_body(struct api *api, struct http_request *req, const struct json_field *fields,
                     size_t n_fields, bool optional);
// The path's tenant, environment, …: false when it is not a name (answered with 404).
bool request_name(struct api *api, struct http_request *req, const char *param, const char **ret);
// A number in the query; otherwise when it is not there.
bool request_number(struct api *api, struct http_request *req, const char *name, uint64_t min, uint64_t max,
                    uint64_t otherwise, uint64_t *ret);
bool request_flag(struct api *api, struct http_request *req, const char *name, bool *ret);
// needed: without If-Match the answer is 428.
bool request_precondition(struct api *api, struct http_request *req, bool needed, struct precondition *ret);
// 503 when envpriv cannot be reached.
bool request_helper(struct api *api, struct http_request *req);

// For struct json_field.check: an address with its tenant, a subject.
const char *check_full_address(const char *key, const char *text, size_t len);
const char *check_subject(const char *key, const char *text, size_t len);

// --- change.c: a change of the store, and the answer after it ---

struct api_change {
    struct api *api;
    uint64_t request;
    struct refusal why;
    char tenant[NAME_CAP], name[DOC_DIGEST_CAP]; // of the object
    json_t *body;
    struct precondition pre;
    struct id operation, uid;
    uint32_t grace_ms;
    const struct api_change_ops *ops;
    uint64_t idempotency; // the entry to keep the answer in, 0: none
    char header_operation[ID_TEXT_CAP];
};

struct api_change_ops {
    bool queued; // contends for quota, addresses or references (mutate.h)
    int (*build)(struct api_change *c, const struct store *store,
                 struct store_txn *txn); // fills c->why on failure
    // The answer, from what is committed now. *ret_status is 200 before. NULL with 204: nothing to show.
    json_t *(*view)(struct api_change *c, int *ret_status);
};

// A change for a request; NULL: no memory, and the request was answered. For a POST with an Idempotency-Key
// that was used before, the request is answered from memory, and NULL is returned too.
struct api_change *change_new(struct api *api, struct http_request *req, const struct api_change_ops *ops);
// Runs it and answers; takes it.
void change_submit(struct api_change *c, struct http_request *req);
// Throws away one that was not submitted.
void change_drop(struct api_change *c);

// --- idempotency.c ---

enum idempotency_outcome { IDEMPOTENCY_NEW, IDEMPOTENCY_ANSWERED, IDEMPOTENCY_NONE };
// Looks at a POST's Idempotency-Key. NEW: *ret_entry is to be finished. ANSWERED: the request has its reply.
enum idempotency_outcome idempotency_begin(struct api *api, struct http_request *req, uint64_t *ret_entry);
// Keeps a successful answer (status, object and operation header) for repetitions; object NULL forgets the
// key.
void idempotency_finish(struct api *api, uint64_t entry, int status, json_t *object, const char *operation);
struct idempotency *idempotency_new(void);
void idempotency_free(struct idempotency *all);

// --- view.c: documents as the API shows them; new references, NULL when there is no such thing (or no
// memory) ---

json_t *view_tenant(const struct api *api, const char *tenant);
json_t *view_environment(const struct api *api, const char *tenant, const char *name);
json_t *view_image(const struct api *api, const char *digest);
json_t *view_operation(const struct api *api, const char *id);
json_t *view_policy(const struct api *api);
// The object of a stored key that operators see, or NULL; *ret_kind, tenant and name say which. False: an
// inner key.
bool view_split_key(const char *key, const char **ret_kind, char tenant[NAME_CAP], char name[DOC_KEY_CAP]);
json_t *view_by_kind(const struct api *api, const char *kind, const char *tenant, const char *name);

// --- list.c ---

// Answers with a page of the objects under prefix.
void list_reply(struct api *api, struct http_request *req, const char *prefix, const char *kind);

// --- one file per noun: handlers for routes.c, and what they keep ---

http_handler handle_live, handle_ready, handle_server, handle_openapi, handle_metrics, handle_broker,
    handle_broker_dead, handle_broker_dead_show, handle_broker_dead_purge, handle_broker_dead_replay;
http_handler handle_tenants_list, handle_tenant_create, handle_tenant_get, handle_tenant_change,
    handle_tenant_delete;
http_handler handle_environments_all, handle_environments_list, handle_environment_create,
    handle_environment_get, handle_environment_change, handle_environment_delete, handle_environment_start,
    handle_environment_stop, handle_environment_restart, handle_environment_pause, handle_environment_resume;
http_handler handle_stats, handle_stats_all;
http_handler handle_logs;
http_handler handle_images_list, handle_image_get, handle_image_put, handle_image_delete,
    handle_image_content, handle_images_collect;
http_handler handle_message;
http_handler handle_mailbox, handle_mailbox_messages, handle_mailbox_purge, handle_mailbox_replay;
http_handler handle_message_trace;
http_handler handle_policy_get, handle_policy_put, handle_policy_versions, handle_explain_request,
    handle_explain_message;
http_handler handle_operations_list, handle_operation_get, handle_operation_cancel;
http_handler handle_events;
http_handler handle_exec, handle_copy, handle_console;

int policies_start(struct api *api, struct err *err);
int operations_start(struct api *api);
void logs_on_growth(void *arg, const char *tenant, const char *name); // for manager_on_log()
void events_stop(struct api *api);
void stats_stop(struct api *api);
void sessions_stop(struct api *api); // ends them all; their clients see the end of the connection

// --- session_body.c: what a session begins with, from a request's body ---

// The frame for the agent, encoded, the caller's to free; NULL: it was answered. subject: what the record
// says of it, argv[0] or the path.
uint8_t *session_body_exec(struct api *api, struct http_request *req, size_t *ret_len, char *subject,
                           size_t subject_cap);
uint8_t *session_body_copy(struct api *api, struct http_request *req, size_t *ret_len, char *subject,
                           size_t subject_cap);

// --- explain.c ---

// What was asked about a message: from, to, subject, kind, size.
json_t *explain_message(const struct mediate_question *q);

// --- base64.c ---

// Strict RFC 4648, with padding. Length, or -EINVAL; *ret is the caller's to free.
ssize_t base64_decode(const char *text, size_t len, uint8_t **ret);
char *base64_encode(const void *data, size_t len); // the caller's to free; NULL: no memory
