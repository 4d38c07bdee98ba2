// Owns the rules for environments: addresses, the wishes to run and to stand still; what a spec may say and
// costs is objects_spec.c's. Called from mutations of the
// API and, for the removal, of the life cycle.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "env/lifecycle.h"
#include "env/objects_internal.h"

#define WHAT_CAP (2 * NAME_CAP + 16)

static void what_of(char out[WHAT_CAP], const char *tenant, const char *name)
{
    snprintf(out, WHAT_CAP, "environment %s/%s", tenant, name);
}

json_t *environment_expect(const struct store *store, struct store_txn *txn, const char *tenant,
                           const char *name, const struct precondition *pre, struct refusal *why)
{
    char key[DOC_KEY_CAP], what[WHAT_CAP];
    uint64_t revision;
    what_of(what, tenant, name);
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    json_t *doc = doc_load(store, key, &revision);
    if (!doc) {
        refuse(why, -ENOENT, 404, "no-such-environment", "there is no %s", what);
        refusal_remedy(why, "List what there is: envctl list");
        return NULL;
    }
    int rc = precondition_check(pre, revision, what, why);
    if (rc == 0 && (rc = store_txn_expect(txn, key, revision)) < 0)
        txn_refuse(rc, why);
    if (rc < 0) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}

// The lowest address that no environment of the tenant has, or -1.
static int host_free(const struct store *store, uint32_t net)
{
    char key[DOC_KEY_CAP];
    for (uint32_t host = IPAM_HOST_MIN; host <= IPAM_HOST_MAX; host++) {
        doc_key_address(key, net, host);
        if (!store_get(store, key))
            return (int)host;
    }
    return -1;
}

static int address_take(const struct store *store, struct store_txn *txn, const char *tenant,
                        const char *name, const json_t *tenant_doc, int *ret_host, struct refusal *why)
{
    uint32_t net = (uint32_t)json_get_integer(tenant_doc, "net", 0);
    int host = host_free(store, net);
    if (host < 0)
        return refuse(why, -ENOSPC, 422, "quota-exceeded",
                      "tenant %s: all addresses of its network are taken", tenant);
    char key[DOC_KEY_CAP];
    doc_key_address(key, net, (uint32_t)host);
    _cleanup_json_ json_t *owner = json_pack("{s:s, s:s}", "tenant", tenant, "name", name);
    int rc = owner ? store_txn_expect(txn, key, 0) : -ENOMEM;
    if (rc == 0)
        rc = doc_put(txn, key, owner);
    if (rc < 0)
        return txn_refuse(rc, why);
    *ret_host = host;
    return 0;
}

int operation_put(struct store_txn *txn, const struct id *id, const char *tenant, json_t *spec,
                  struct refusal *why)
{
    char key[DOC_KEY_CAP], text[ID_TEXT_CAP];
    id_format(id, text);
    doc_key(key, DOC_OPERATIONS, text);
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:o, s:{s:s, s:I}}", "tenant", tenant, "spec", spec, "status", "state", "pending",
                  "created", (json_int_t)io_realtime_ms());
    int rc = doc ? store_txn_expect(txn, key, 0) : -ENOMEM;
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

static int operation_put_simple(struct store_txn *txn, const struct id *id, const char *tenant,
                                const char *name, const char *action, int64_t generation, struct refusal *why)
{
    return operation_put(txn, id, tenant,
                         json_pack("{s:s, s:s, s:I}", "action", action, "environment", name, "generation",
                                   (json_int_t)generation),
                         why);
}

int environment_create(const struct store *store, struct store_txn *txn, const char *tenant,
                       const json_t *request, const struct id *uid, const struct id *operation,
                       struct refusal *why)
{
    const char *name = json_get_string(request, "name", "");
    char key[DOC_KEY_CAP], uid_text[ID_TEXT_CAP];
    struct env_spec spec;
    uint64_t disk_mib = 0;
    int host = 0; // gcc does not see that address_take() sets it
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    id_format(uid, uid_text);
    _cleanup_json_ json_t *tenant_doc = tenant_expect(store, txn, tenant, why);
    if (!tenant_doc)
        return -ENOENT;
    if (store_get(store, key))
        return refuse(why, -EEXIST, 409, "environment-exists", "there is an environment %s/%s already",
                      tenant, name);
    doc_read_spec(request, &spec);
    int rc = spec_expect(store, name, request, &disk_mib, why);
    if (rc == 0)
        rc = usage_add(store, txn, tenant, tenant_doc,
                       &(struct usage){1, spec.memory_mib, spec.vcpus, (int64_t)disk_mib}, why);
    if (rc == 0)
        rc = address_take(store, txn, tenant, name, tenant_doc, &host, why);
    if (rc == 0)
        rc = spec_refer_images(store, txn, NULL, &spec, why);
    if (rc == 0 && spec.run)
        rc = operation_put_simple(txn, operation, tenant, name, "start", 1, why);
    if (rc < 0)
        return rc;
    _cleanup_json_ json_t *doc =
        json_pack("{s:o, s:O, s:s, s:i, s:i, s:I}", "labels", object_labels(request), "spec",
                  json_object_get(request, "spec"), "uid", uid_text, "host", host, "generation",
                  spec.run ? 1 : 0, "disk_mib", (json_int_t)disk_mib);
    rc = doc ? store_txn_expect(txn, key, 0) : -ENOMEM;
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

// The document with another wish to run; going from no to yes is a new generation.
static int64_t set_run(json_t *doc, bool run, bool again)
{
    json_t *spec = json_object_get(doc, "spec");
    int64_t generation = json_get_integer(doc, "generation", 0);
    if (run && (again || !json_get_boolean(spec, "run", false)))
        generation++;
    json_object_set_new(spec, "run", json_boolean(run));
    json_object_set_new(doc, "generation", json_integer(generation));
    json_object_del(doc, "paused"); // whoever starts or stops it means it to move
    return generation;
}

static int refuse_deleting(const char *tenant, const char *name, const json_t *doc, struct refusal *why)
{
    if (!json_get_boolean(doc, "deleting", false))
        return 0;
    return refuse(why, -EBUSY, 409, "being-deleted", "environment %s/%s is being deleted", tenant, name);
}

static int put_environment(struct store_txn *txn, const char *tenant, const char *name, const json_t *doc,
                           struct refusal *why)
{
    char key[DOC_KEY_CAP];
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    int rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

static int account_change(const struct store *store, struct store_txn *txn, const char *tenant,
                          const json_t *doc, const struct env_spec *before, const struct env_spec *after,
                          uint64_t disk_mib, struct refusal *why)
{
    struct usage change = {0, (int64_t)after->memory_mib - before->memory_mib,
                           (int64_t)after->vcpus - before->vcpus,
                           (int64_t)disk_mib - json_get_integer(doc, "disk_mib", 0)};
    int rc = 0;
    if (change.memory_mib || change.vcpus || change.disk_mib) {
        _cleanup_json_ json_t *tenant_doc = tenant_expect(store, txn, tenant, why);
        rc = tenant_doc ? usage_add(store, txn, tenant, tenant_doc, &change, why) : -ENOENT;
    }
    return rc < 0 ? rc : spec_refer_images(store, txn, before, after, why);
}

int environment_change(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const json_t *patch, const struct precondition *pre, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, pre, why);
    if (!doc)
        return -ENOENT;
    int rc = refuse_deleting(tenant, name, doc, why);
    if (rc < 0)
        return rc;
    char what[WHAT_CAP];
    what_of(what, tenant, name);
    _cleanup_json_ json_t *merged =
        object_patched(doc, name, patch, doc_environment_new_fields, doc_environment_new_n, what, why);
    if (!merged)
        return -EINVAL;
    struct env_spec before, after;
    doc_read_spec(doc, &before);
    doc_read_spec(merged, &after);
    uint64_t disk_mib = 0;
    rc = spec_expect(store, name, merged, &disk_mib, why);
    if (rc == 0)
        rc = spec_expect_change(&before, &after, why);
    if (rc == 0)
        rc = account_change(store, txn, tenant, doc, &before, &after, disk_mib, why);
    _cleanup_json_ json_t *next = rc == 0 ? json_deep_copy(doc) : NULL;
    json_t *spec = next ? json_deep_copy(json_object_get(merged, "spec")) : NULL;
    if (!spec)
        return rc < 0 ? rc : txn_refuse(-ENOMEM, why);
    json_object_set_new(spec, "run", json_boolean(before.run)); // set_run() compares with what was
    json_object_set_new(next, "spec", spec);
    json_object_set_new(next, "labels", object_labels(merged));
    json_object_set_new(next, "disk_mib", json_integer((json_int_t)disk_mib));
    if (after.run != before.run)
        set_run(next, after.run, false);
    else
        json_object_set_new(spec, "run", json_boolean(after.run));
    return put_environment(txn, tenant, name, next, why);
}

int environment_start(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                      const struct id *operation, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, NULL, why);
    if (!doc)
        return -ENOENT;
    int rc = refuse_deleting(tenant, name, doc, why);
    if (rc < 0)
        return rc;
    int64_t generation = set_run(doc, true, true);
    rc = operation_put_simple(txn, operation, tenant, name, "start", generation, why);
    return rc < 0 ? rc : put_environment(txn, tenant, name, doc, why);
}

int environment_stop(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                     uint32_t grace_ms, const struct id *operation, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, NULL, why);
    if (!doc)
        return -ENOENT;
    set_run(doc, false, false);
    json_t *spec =
        json_pack("{s:s, s:s, s:I}", "action", "stop", "environment", name, "grace_ms", (json_int_t)grace_ms);
    int rc = operation_put(txn, operation, tenant, spec, why);
    return rc < 0 ? rc : put_environment(txn, tenant, name, doc, why);
}

int environment_restart(const struct store *store, struct store_txn *txn, const char *tenant,
                        const char *name, uint32_t grace_ms, const struct id *operation, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, NULL, why);
    if (!doc)
        return -ENOENT;
    int rc = refuse_deleting(tenant, name, doc, why);
    if (rc < 0)
        return rc;
    int64_t generation = set_run(doc, true, true);
    json_object_set_new(doc, "restart_below", json_integer(generation));
    json_t *spec = json_pack("{s:s, s:s, s:I, s:I}", "action", "restart", "environment", name, "generation",
                             (json_int_t)generation, "grace_ms", (json_int_t)grace_ms);
    rc = operation_put(txn, operation, tenant, spec, why);
    return rc < 0 ? rc : put_environment(txn, tenant, name, doc, why);
}

// The state that its life cycle has written last.
static enum env_state state_of(const struct store *store, const char *tenant, const char *name,
                               const json_t *doc)
{
    char key[DOC_KEY_CAP];
    enum env_state state = ENV_DEFINED;
    doc_key_of(key, DOC_STATUS, tenant, name);
    _cleanup_json_ json_t *status = doc_load(store, key, NULL);
    if (status && strcmp(json_get_string(status, "uid", ""), json_get_string(doc, "uid", "")) == 0)
        env_state_parse(json_get_string(status, "state", ""), &state);
    return state;
}

static int refuse_not_running(const char *tenant, const char *name, enum env_state state, struct refusal *why)
{
    if (state == ENV_BOOTING || state == ENV_READY || state == ENV_PAUSED)
        return 0;
    refuse(why, -ENOTCONN, 409, "not-running", "environment %s/%s is %s", tenant, name,
           env_state_name(state));
    refusal_remedy(why, "Start it first: envctl start %s/%s", tenant, name);
    return -ENOTCONN;
}

int environment_pause(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                      bool pause, const struct id *operation, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, NULL, why);
    if (!doc)
        return -ENOENT;
    int rc = refuse_deleting(tenant, name, doc, why);
    if (rc == 0)
        rc = refuse_not_running(tenant, name, state_of(store, tenant, name, doc), why);
    if (rc < 0)
        return rc;
    if (pause)
        json_object_set_new(doc, "paused", json_true());
    else
        json_object_del(doc, "paused");
    rc = operation_put_simple(txn, operation, tenant, name, pause ? "pause" : "resume",
                              json_get_integer(doc, "generation", 0), why);
    return rc < 0 ? rc : put_environment(txn, tenant, name, doc, why);
}

int environment_delete(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const struct precondition *pre, const struct id *operation, struct refusal *why)
{
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, pre, why);
    if (!doc)
        return -ENOENT;
    set_run(doc, false, false);
    json_object_set_new(doc, "deleting", json_true());
    int rc = operation_put_simple(txn, operation, tenant, name, "delete", 0, why);
    return rc < 0 ? rc : put_environment(txn, tenant, name, doc, why);
}

int environment_remove(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const char *uid, struct refusal *why)
{
    char key[DOC_KEY_CAP], key_address[DOC_KEY_CAP], key_status[DOC_KEY_CAP];
    struct env_spec spec;
    _cleanup_json_ json_t *doc = environment_expect(store, txn, tenant, name, NULL, why);
    if (!doc || strcmp(json_get_string(doc, "uid", ""), uid) != 0)
        return -ENOENT;
    _cleanup_json_ json_t *tenant_doc = tenant_expect(store, txn, tenant, why);
    if (!tenant_doc)
        return -ENOENT;
    doc_read_spec(doc, &spec);
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    doc_key_of(key_status, DOC_STATUS, tenant, name);
    doc_key_address(key_address, (uint32_t)json_get_integer(tenant_doc, "net", 0),
                    (uint32_t)json_get_integer(doc, "host", 0));
    int rc = usage_add(store, txn, tenant, tenant_doc,
                       &(struct usage){-1, -(int64_t)spec.memory_mib, -(int64_t)spec.vcpus,
                                       -json_get_integer(doc, "disk_mib", 0)},
                       why);
    if (rc == 0)
        rc = spec_refer_images(store, txn, &spec, NULL, why);
    if (rc < 0)
        return rc;
    rc = store_txn_delete(txn, key);
    if (rc == 0)
        rc = store_txn_delete(txn, key_status);
    if (rc == 0)
        rc = store_txn_delete(txn, key_address);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

int operation_cancel(const struct store *store, struct store_txn *txn, const char *operation,
                     struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_OPERATIONS, operation);
    _cleanup_json_ json_t *doc = doc_load(store, key, &revision);
    if (!doc)
        return refuse(why, -ENOENT, 404, "no-such-operation", "there is no operation %s", operation);
    json_t *spec = json_object_get(doc, "spec"), *status = json_object_get(doc, "status");
    const char *state = json_get_string(status, "state", "");
    if (strcmp(json_get_string(spec, "action", ""), "start") != 0)
        return refuse(why, -EPERM, 409, "not-cancellable", "operation %s: only starts can be cancelled",
                      operation);
    if (strcmp(state, "pending") != 0)
        return refuse(why, -EALREADY, 409, "not-cancellable", "operation %s is %s", operation, state);
    const char *tenant = json_get_string(doc, "tenant", ""), *name = json_get_string(spec, "environment", "");
    _cleanup_json_ json_t *environment = environment_expect(store, txn, tenant, name, NULL, why);
    if (!environment)
        return -ENOENT;
    set_run(environment, false, false);
    // The operation's document is the life cycle's to write: it fails the start when it sees this.
    json_object_set_new(environment, "cancelled", json_string(operation));
    int rc = store_txn_expect(txn, key, revision);
    return rc < 0 ? txn_refuse(rc, why) : put_environment(txn, tenant, name, environment, why);
}

uint32_t environment_ipv4(const struct ipam_pool *pool, const json_t *tenant, const json_t *environment)
{
    int64_t host = json_get_integer(environment, "host", 0);
    if (!tenant || host == 0)
        return 0;
    return ipam_address(pool, (uint32_t)json_get_integer(tenant, "net", 0), (uint32_t)host);
}
