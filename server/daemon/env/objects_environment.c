// Owns the rules for environments: quota, addresses, images, the wish to run. Called from mutations of the
// API and, for the removal, of the life cycle.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "env/objects_internal.h"
#include "proto/vmctl.h"

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

// Adds to what the tenant uses; an increase is held against the quota.
static int usage_add(const struct store *store, struct store_txn *txn, const char *tenant,
                     const json_t *tenant_doc, int environments, int64_t memory_mib, struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    struct tenant_quota quota;
    doc_key(key, "usage/", tenant);
    _cleanup_json_ json_t *usage = doc_load(store, key, &revision);
    doc_read_quota(tenant_doc, &quota);
    int64_t n = json_get_integer(usage, "environments", 0) + environments;
    int64_t mib = json_get_integer(usage, "memory_mib", 0) + memory_mib;
    if (environments > 0 && n > (int64_t)quota.environments)
        refuse(why, -EDQUOT, 422, "quota-exceeded", "tenant %s may have %u environments and has them", tenant,
               quota.environments);
    else if (memory_mib > 0 && mib > (int64_t)quota.memory_mib)
        refuse(why, -EDQUOT, 422, "quota-exceeded",
               "tenant %s may use %llu MiB of memory; this would make it %lld MiB", tenant,
               (unsigned long long)quota.memory_mib, (long long)mib);
    else {
        _cleanup_json_ json_t *next =
            json_pack("{s:I, s:I}", "environments", (json_int_t)n, "memory_mib", (json_int_t)mib);
        int rc = next ? store_txn_expect(txn, key, revision) : -ENOMEM;
        if (rc == 0)
            rc = doc_put(txn, key, next);
        return rc < 0 ? txn_refuse(rc, why) : 0;
    }
    refusal_remedy(why, "Delete environments that are no longer needed, or raise the tenant's quota");
    return -EDQUOT;
}

int image_refer(const struct store *store, struct store_txn *txn, const char *digest, int d,
                struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, &revision);
    if (!doc && d < 0)
        return 0; // its document is gone: nothing to count down
    if (!doc) {
        refuse(why, -ENOENT, 422, "no-such-image", "there is no image %s", digest);
        refusal_remedy(why, "Upload it first: PUT /v1/images/%s", digest);
        return -ENOENT;
    }
    json_object_set_new(doc, "refs", json_integer(json_get_integer(doc, "refs", 0) + d));
    int rc = store_txn_expect(txn, key, revision);
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

static int check_image_type(const struct store *store, const char *digest, const char *member,
                            const char *type, const char *code, const char *remedy, struct refusal *why)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, NULL);
    if (doc && strcmp(json_get_string(doc, "type", ""), type) != 0) {
        refuse(why, -ENOEXEC, 422, code, "%s: %s", digest,
               json_get_string(doc, "note", "is of another type"));
        refusal_remedy(why, "%s", remedy);
        snprintf(why->member, sizeof why->member, "%s", member);
        return -ENOEXEC;
    }
    return 0; // whether it is there is image_refer()'s to say
}

// Arguments and variables as the guest gets them, with their NULs.
static size_t args_bytes(const char *name, const struct env_spec *spec)
{
    size_t total = strlen(spec->argv0 ? spec->argv0 : name) + 1, i;
    json_t *each;
    const char *key;
    json_array_foreach(spec->args, i, each) total += json_string_length(each) + 1;
    json_object_foreach((json_t *)spec->env, key, each) total +=
        strlen(key) + 1 + json_string_length(each) + 1;
    return total;
}

static int check_spec(const struct store *store, const char *name, const json_t *doc, struct refusal *why)
{
    struct env_spec spec;
    doc_read_spec(doc, &spec);
    size_t n = args_bytes(name, &spec);
    if (n > VMCTL_ARGS_BYTES_MAX) {
        refuse(why, -E2BIG, 422, "invalid-member",
               "arguments and variables have %zu bytes together, at most %u are possible", n,
               VMCTL_ARGS_BYTES_MAX);
        snprintf(why->member, sizeof why->member, "/spec/args");
        return -E2BIG;
    }
    int rc = check_image_type(
        store, spec.program, "/spec/program", "static-elf", "program-not-static-elf",
        "Link the program statically for x86-64 (musl-gcc -static, or gcc -static), and upload it "
        "again",
        why);
    if (rc == 0 && spec.archive)
        rc = check_image_type(store, spec.archive, "/spec/archive", "cpio-newc", "archive-not-newc",
                              "Make it with: find . | cpio -o -H newc", why);
    return rc;
}

// Counts the images that a spec names up or down. A program that is its own archive counts once per role, but
// a key changes once per transaction.
static int refer_images(const struct store *store, struct store_txn *txn, const struct env_spec *spec, int d,
                        struct refusal *why)
{
    bool same = spec->archive && strcmp(spec->program, spec->archive) == 0;
    int rc = image_refer(store, txn, spec->program, same ? 2 * d : d, why);
    if (rc == 0 && spec->archive && !same)
        rc = image_refer(store, txn, spec->archive, d, why);
    return rc;
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
    int rc = check_spec(store, name, request, why);
    if (rc == 0)
        rc = usage_add(store, txn, tenant, tenant_doc, 1, spec.memory_mib, why);
    if (rc == 0)
        rc = address_take(store, txn, tenant, name, tenant_doc, &host, why);
    if (rc == 0)
        rc = refer_images(store, txn, &spec, 1, why);
    if (rc == 0 && spec.run)
        rc = operation_put_simple(txn, operation, tenant, name, "start", 1, why);
    if (rc < 0)
        return rc;
    _cleanup_json_ json_t *doc = json_pack("{s:o, s:O, s:s, s:i, s:i}", "labels", object_labels(request),
                                           "spec", json_object_get(request, "spec"), "uid", uid_text, "host",
                                           host, "generation", spec.run ? 1 : 0);
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

// What the change of a spec means for quota and references.
static int account_change(const struct store *store, struct store_txn *txn, const char *tenant,
                          const struct env_spec *before, const struct env_spec *after, struct refusal *why)
{
    int rc = 0;
    if (after->memory_mib != before->memory_mib) {
        _cleanup_json_ json_t *tenant_doc = tenant_expect(store, txn, tenant, why);
        rc = tenant_doc ? usage_add(store, txn, tenant, tenant_doc, 0,
                                    (int64_t)after->memory_mib - before->memory_mib, why)
                        : -ENOENT;
    }
    struct {
        const char *digest;
        int d;
    } changes[] = {{after->program, 1}, {after->archive, 1}, {before->program, -1}, {before->archive, -1}};
    // A key changes once in a transaction: changes of the same image are added up first.
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        for (size_t j = i + 1; changes[i].digest && j < ARRAY_LEN(changes); j++)
            if (changes[j].digest && strcmp(changes[i].digest, changes[j].digest) == 0) {
                changes[i].d += changes[j].d;
                changes[j].digest = NULL;
            }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(changes); i++)
        if (changes[i].digest && changes[i].d != 0)
            rc = image_refer(store, txn, changes[i].digest, changes[i].d, why);
    return rc;
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
    rc = check_spec(store, name, merged, why);
    if (rc == 0)
        rc = account_change(store, txn, tenant, &before, &after, why);
    _cleanup_json_ json_t *next = rc == 0 ? json_deep_copy(doc) : NULL;
    json_t *spec = next ? json_deep_copy(json_object_get(merged, "spec")) : NULL;
    if (!spec)
        return rc < 0 ? rc : txn_refuse(-ENOMEM, why);
    json_object_set_new(spec, "run", json_boolean(before.run)); // set_run() compares with what was
    json_object_set_new(next, "spec", spec);
    json_object_set_new(next, "labels", object_labels(merged));
    set_run(next, after.run, false);
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
    int rc = usage_add(store, txn, tenant, tenant_doc, -1, -(int64_t)spec.memory_mib, why);
    if (rc == 0)
        rc = refer_images(store, txn, &spec, -1, why);
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
