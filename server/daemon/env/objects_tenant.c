// Owns the rules for tenants: names, network numbers, quota. Called from mutations of the API.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "env/objects_internal.h"

int txn_refuse(int rc, struct refusal *why)
{
    if (rc == -E2BIG)
        return refuse(why, rc, 413, "too-large", "the object is larger than an object may be (%u KiB)",
                      STORE_VALUE_MAX >> 10);
    return refuse(why, rc, 500, "internal", "the store refused the change: %s", strerror(-rc));
}

int precondition_check(const struct precondition *pre, uint64_t revision, const char *what,
                       struct refusal *why)
{
    if (!pre || !pre->given || pre->any || pre->revision >= revision)
        return 0;
    refuse(why, -ESTALE, 412, "revision-mismatch",
           "%s has changed: it is at revision %llu, the request expects %llu", what,
           (unsigned long long)revision, (unsigned long long)pre->revision);
    refusal_remedy(why,
                   "Get it again, look at what changed, and repeat the change with its present revision");
    return -ESTALE;
}

json_t *tenant_expect(const struct store *store, struct store_txn *txn, const char *tenant,
                      struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_TENANTS, tenant);
    json_t *doc = doc_load(store, key, &revision);
    if (!doc) {
        refuse(why, -ENOENT, 404, "no-such-tenant", "there is no tenant %s", tenant);
        refusal_remedy(why, "Create it first: envctl create tenant %s", tenant);
        return NULL;
    }
    int rc = store_txn_expect(txn, key, revision);
    if (rc < 0) {
        json_decref(doc);
        txn_refuse(rc, why);
        return NULL;
    }
    return doc;
}

// The lowest network number that no tenant has, or -1.
static int net_free(const struct store *store, const struct ipam_pool *pool)
{
    char key[DOC_KEY_CAP];
    for (uint32_t net = 0; net < ipam_tenants_max(pool); net++) {
        doc_key_net(key, net);
        if (!store_get(store, key))
            return (int)net;
    }
    return -1;
}

int tenant_create(const struct store *store, struct store_txn *txn, const struct ipam_pool *pool,
                  const json_t *request, struct refusal *why)
{
    const char *name = json_get_string(request, "name", "");
    char key[DOC_KEY_CAP], key_net[DOC_KEY_CAP], key_usage[DOC_KEY_CAP];
    if (strcmp(name, NAME_HOST) == 0 || strcmp(name, NAME_CLIENTS) == 0)
        return refuse(why, -EINVAL, 422, "name-reserved", "no tenant can be called \"%s\": that is %s", name,
                      strcmp(name, NAME_HOST) == 0 ? "the host itself"
                                                   : "where outside clients' messages come from");
    doc_key(key, DOC_TENANTS, name);
    if (store_get(store, key))
        return refuse(why, -EEXIST, 409, "tenant-exists", "there is a tenant %s already", name);
    int net = net_free(store, pool);
    if (net < 0) {
        refuse(why, -ENOSPC, 409, "network-exhausted", "tenant %s: all %u networks of the pool are taken",
               name, ipam_tenants_max(pool));
        refusal_remedy(
            why, "Delete a tenant that is no longer needed, or set up the host with a larger --network");
        return -ENOSPC;
    }
    doc_key_net(key_net, (uint32_t)net);
    doc_key(key_usage, "usage/", name);
    json_t *spec = json_object_get(request, "spec");
    _cleanup_json_ json_t *doc = json_pack("{s:o, s:o, s:i}", "labels", object_labels(request), "spec",
                                           spec ? json_incref(spec) : json_object(), "net", net);
    _cleanup_json_ json_t *usage =
        json_pack("{s:i, s:i, s:i, s:i}", "environments", 0, "memory_mib", 0, "vcpus", 0, "disk_mib", 0);
    _cleanup_json_ json_t *owner = json_pack("{s:s}", "tenant", name);
    int rc = doc && usage && owner ? 0 : -ENOMEM;
    if (rc == 0)
        rc = store_txn_expect(txn, key, 0);
    if (rc == 0)
        rc = store_txn_expect(txn, key_net, 0);
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    if (rc == 0)
        rc = doc_put(txn, key_net, owner);
    if (rc == 0)
        rc = doc_put(txn, key_usage, usage);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

json_t *object_patched(const json_t *doc, const char *name, const json_t *patch,
                       const struct json_field *fields, size_t n_fields, const char *what,
                       struct refusal *why)
{
    struct json_fault fault;
    _cleanup_json_ json_t *now =
        json_pack("{s:s, s:O, s:O}", "name", name, "labels", json_object_get(doc, "labels"), "spec",
                  json_object_get(doc, "spec"));
    _cleanup_json_ json_t *merged = now ? json_merge_patch(now, patch) : NULL;
    if (!merged) {
        txn_refuse(-ENOMEM, why);
        return NULL;
    }
    if (json_check(merged, fields, n_fields, &fault) < 0) {
        refuse(why, -EINVAL, 422, fault.code, "%s: %s %s", what, fault.pointer, fault.text);
        snprintf(why->member, sizeof why->member, "%s", fault.pointer);
        return NULL;
    }
    if (strcmp(json_get_string(merged, "name", ""), name) != 0) {
        refuse(why, -EINVAL, 422, "invalid-member", "%s: /name cannot be changed", what);
        return NULL;
    }
    return take_ptr(merged);
}

json_t *object_labels(const json_t *request)
{
    json_t *labels = json_object_get(request, "labels");
    return labels ? json_incref(labels) : json_object();
}

int tenant_change(const struct store *store, struct store_txn *txn, const char *tenant, const json_t *patch,
                  const struct precondition *pre, struct refusal *why)
{
    char key[DOC_KEY_CAP], what[NAME_CAP + 16];
    doc_key(key, DOC_TENANTS, tenant);
    snprintf(what, sizeof what, "tenant %s", tenant);
    _cleanup_json_ json_t *doc = tenant_expect(store, txn, tenant, why);
    if (!doc)
        return -ENOENT;
    int rc = precondition_check(pre, store_get(store, key)->revision, what, why);
    if (rc < 0)
        return rc;
    _cleanup_json_ json_t *merged =
        object_patched(doc, tenant, patch, doc_tenant_new_fields, doc_tenant_new_n, what, why);
    if (!merged)
        return -EINVAL;
    json_t *spec = json_object_get(merged, "spec");
    json_object_set_new(doc, "labels", object_labels(merged));
    json_object_set_new(doc, "spec", spec ? json_incref(spec) : json_object());
    rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

int tenant_delete(const struct store *store, struct store_txn *txn, const char *tenant,
                  const struct precondition *pre, struct refusal *why)
{
    char key[DOC_KEY_CAP], key_net[DOC_KEY_CAP], key_usage[DOC_KEY_CAP], prefix[DOC_KEY_CAP],
        what[NAME_CAP + 16];
    doc_key(key, DOC_TENANTS, tenant);
    doc_key(key_usage, "usage/", tenant);
    snprintf(prefix, sizeof prefix, DOC_ENVIRONMENTS "%s/", tenant);
    snprintf(what, sizeof what, "tenant %s", tenant);
    _cleanup_json_ json_t *doc = tenant_expect(store, txn, tenant, why);
    if (!doc)
        return -ENOENT;
    int rc = precondition_check(pre, store_get(store, key)->revision, what, why);
    if (rc < 0)
        return rc;
    size_t n = store_count(store, prefix);
    if (n > 0) {
        refuse(why, -ENOTEMPTY, 409, "tenant-not-empty", "tenant %s still has %zu environment%s", tenant, n,
               n == 1 ? "" : "s");
        refusal_remedy(why, "Delete its environments first");
        return -ENOTEMPTY;
    }
    doc_key_net(key_net, (uint32_t)json_get_integer(doc, "net", 0));
    const struct store_entry *usage = store_get(store, key_usage);
    // An environment that is being created changes usage: one of the two transactions then starts over.
    rc = store_txn_expect(txn, key_usage, usage ? usage->revision : 0);
    if (rc == 0)
        rc = store_txn_delete(txn, key);
    if (rc == 0)
        rc = store_txn_delete(txn, key_net);
    if (rc == 0)
        rc = store_txn_delete(txn, key_usage);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}
