// Owns how stored documents look in the API. Called by the handlers, the list and the events.
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "env/lifecycle.h"
#include "env/reason.h"

static json_t *or_empty(json_t *v)
{
    return v ? json_incref(v) : json_object();
}

json_t *view_tenant(const struct api *api, const char *tenant)
{
    char key[DOC_KEY_CAP], subnet[IPAM_TEXT_CAP], gateway[IPAM_TEXT_CAP], cidr[IPAM_TEXT_CAP + 4];
    uint64_t revision;
    struct tenant_quota quota;
    doc_key(key, DOC_TENANTS, tenant);
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, key, &revision);
    if (!doc)
        return NULL;
    doc_key(key, "usage/", tenant);
    _cleanup_json_ json_t *usage = doc_load(api->deps.store, key, NULL);
    uint32_t net = (uint32_t)json_get_integer(doc, "net", 0);
    ipam_format_ipv4(ipam_subnet(&api->deps.pool, net), subnet);
    ipam_format_ipv4(ipam_gateway(&api->deps.pool, net), gateway);
    snprintf(cidr, sizeof cidr, "%s/%d", subnet, IPAM_PREFIX);
    doc_read_quota(doc, &quota);
    return json_pack("{s:s, s:s, s:o, s:{s:{s:I, s:I, s:I, s:I}}, s:{s:s, s:s, s:I, s:I, s:I, s:I}, s:I}",
                     "kind", "tenant", "name", tenant, "labels", or_empty(json_object_get(doc, "labels")),
                     "spec", "quota", "environments", (json_int_t)quota.environments, "memory_mib",
                     (json_int_t)quota.memory_mib, "vcpus", (json_int_t)quota.vcpus, "disk_mib",
                     (json_int_t)quota.disk_mib, "status", "subnet", cidr, "gateway", gateway, "environments",
                     (json_int_t)json_get_integer(usage, "environments", 0), "memory_mib",
                     (json_int_t)json_get_integer(usage, "memory_mib", 0), "vcpus",
                     (json_int_t)json_get_integer(usage, "vcpus", 0), "disk_mib",
                     (json_int_t)json_get_integer(usage, "disk_mib", 0), "revision", (json_int_t)revision);
}

// The spec with the defaults of what it does not say.
static json_t *effective_spec(const json_t *doc)
{
    struct env_spec spec;
    json_t *shown = json_copy(json_object_get(doc, "spec"));
    doc_read_spec(doc, &spec);
    json_object_set_new(shown, "memory_mib", json_integer(spec.memory_mib));
    json_object_set_new(shown, "cpu_weight", json_integer(spec.cpu_weight));
    json_object_set_new(shown, "restart", json_string(env_restart_name(spec.restart)));
    json_object_set_new(shown, "run", json_boolean(spec.run));
    if (spec.kind == ENV_KIND_LINUX) {
        json_object_set_new(shown, "vcpus", json_integer(spec.vcpus));
        json_object_set_new(shown, "watchdog_s", json_integer(spec.watchdog_s));
        return shown;
    }
    if (!spec.args)
        json_object_set_new(shown, "args", json_array());
    if (!spec.env)
        json_object_set_new(shown, "env", json_object());
    return shown;
}

static json_t *environment_status(const struct api *api, const char *tenant, const char *name,
                                  const json_t *doc, uint64_t *revision)
{
    static const char *const inner[] = {"uid", "vm", "generation"};
    char key[DOC_KEY_CAP], text[IPAM_TEXT_CAP], mac_text[IPAM_MAC_CAP];
    uint64_t status_revision;
    uint8_t mac[6];
    doc_key_of(key, DOC_STATUS, tenant, name);
    json_t *status = doc_load(api->deps.store, key, &status_revision);
    if (!status || strcmp(json_get_string(status, "uid", ""), json_get_string(doc, "uid", "")) != 0) {
        json_decref(status);
        status = json_pack("{s:s, s:i}", "state", env_state_name(ENV_DEFINED), "restarts", 0);
    } else if (status_revision > *revision) {
        *revision = status_revision;
    }
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        json_object_del(status, inner[i]);
    doc_key(key, DOC_TENANTS, tenant);
    _cleanup_json_ json_t *tenant_doc = doc_load(api->deps.store, key, NULL);
    uint32_t ipv4 = environment_ipv4(&api->deps.pool, tenant_doc, doc);
    ipam_format_ipv4(ipv4, text);
    ipam_mac(ipv4, mac);
    ipam_format_mac(mac, mac_text);
    json_object_set_new(status, "ipv4", json_string(text));
    json_object_set_new(status, "mac", json_string(mac_text));
    json_t *reason = json_object_get(status, "reason");
    const char *remedy = reason_remedy(json_get_string(reason, "code", ""));
    if (remedy)
        json_object_set_new(reason, "remedy", json_string(remedy));
    if (json_get_integer(doc, "disk_mib", 0) > 0)
        json_object_set(status, "disk_mib", json_object_get(doc, "disk_mib"));
    if (json_get_boolean(doc, "deleting", false))
        json_object_set_new(status, "deleting", json_true());
    return status;
}

json_t *view_environment(const struct api *api, const char *tenant, const char *name)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key_of(key, DOC_ENVIRONMENTS, tenant, name);
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, key, &revision);
    if (!doc)
        return NULL;
    json_t *status = environment_status(api, tenant, name, doc, &revision);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "kind", "environment", "tenant", tenant, "name",
                     name, "labels", or_empty(json_object_get(doc, "labels")), "spec", effective_spec(doc),
                     "status", status, "revision", (json_int_t)revision);
}

// What was said of it: its name, and a Linux image's manifest.
static json_t *image_spec(const json_t *doc)
{
    json_t *spec = json_object();
    json_t *name = json_object_get(doc, "name");
    if (name)
        json_object_set(spec, "name", name);
    json_object_update_missing(spec, json_object_get(doc, "linux"));
    json_object_del(spec, "labels"); // shown as the object's own
    json_object_del(spec, "envd");
    return spec;
}

json_t *view_image(const struct api *api, const char *digest)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, key, &revision);
    if (!doc)
        return NULL;
    json_t *status = json_pack("{s:I, s:s, s:I}", "size", (json_int_t)json_get_integer(doc, "size", 0),
                               "type", json_get_string(doc, "type", "other"), "used_by",
                               (json_int_t)json_get_integer(doc, "refs", 0));
    const char *note = json_get_string(doc, "note", "");
    if (note[0])
        json_object_set_new(status, "note", json_string(note));
    if (!images_has(api->deps.images, digest))
        json_object_set_new(status, "missing", json_true());
    json_object_set_new(status, "since", json_integer(json_get_integer(doc, "since_ms", 0)));
    json_t *labels = or_empty(json_object_get(json_object_get(doc, "linux"), "labels"));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I}", "kind", "image", "name", digest, "labels", labels,
                     "spec", image_spec(doc), "status", status, "revision", (json_int_t)revision);
}

json_t *view_operation(const struct api *api, const char *id)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_OPERATIONS, id);
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, key, &revision);
    if (!doc)
        return NULL;
    json_t *spec = json_copy(json_object_get(doc, "spec"));
    json_object_del(spec, "generation");
    return json_pack("{s:s, s:s, s:s, s:o, s:O, s:I}", "kind", "operation", "name", id, "tenant",
                     json_get_string(doc, "tenant", ""), "spec", spec, "status",
                     json_object_get(doc, "status"), "revision", (json_int_t)revision);
}

json_t *view_policy(const struct api *api)
{
    uint64_t revision;
    _cleanup_json_ json_t *doc = doc_load(api->deps.store, DOC_POLICY, &revision);
    if (!doc)
        return json_pack("{s:s, s:s, s:{}, s:{s:s, s:s}, s:{s:i, s:s}, s:I}", "kind", "policy", "name",
                         "main", "labels", "spec", "text", "", "file", "main", "status", "rules", 0, "note",
                         "no policy was ever set: every message is denied", "revision", (json_int_t)0);
    const struct policy *policy = mediator_policy(api->deps.mediator);
    return json_pack("{s:s, s:s, s:{}, s:{s:s, s:s}, s:{s:I, s:I}, s:I}", "kind", "policy", "name", "main",
                     "labels", "spec", "text", json_get_string(doc, "text", ""), "file",
                     json_get_string(doc, "file", "main"), "status", "rules",
                     (json_int_t)(policy ? policy_n_rules(policy) : 0), "since",
                     (json_int_t)json_get_integer(doc, "since", 0), "revision", (json_int_t)revision);
}

bool view_split_key(const char *key, const char **ret_kind, char tenant[NAME_CAP], char name[DOC_KEY_CAP])
{
    static const struct {
        const char *prefix, *kind;
        bool in_tenant;
    } table[] = {
        {DOC_TENANTS, "tenant", false},       {DOC_ENVIRONMENTS, "environment", true},
        {DOC_STATUS, "environment", true},    {DOC_IMAGES, "image", false},
        {DOC_OPERATIONS, "operation", false},
    };
    tenant[0] = '\0';
    if (strcmp(key, DOC_POLICY) == 0) {
        *ret_kind = "policy";
        snprintf(name, DOC_KEY_CAP, "main");
        return true;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n = strlen(table[i].prefix);
        if (strncmp(key, table[i].prefix, n) != 0)
            continue;
        *ret_kind = table[i].kind;
        if (table[i].in_tenant)
            return doc_key_split(key, table[i].prefix, tenant, name);
        snprintf(name, DOC_KEY_CAP, "%s", key + n);
        return true;
    }
    return false;
}

json_t *view_by_kind(const struct api *api, const char *kind, const char *tenant, const char *name)
{
    if (strcmp(kind, "environment") == 0)
        return view_environment(api, tenant, name);
    if (strcmp(kind, "policy") == 0)
        return view_policy(api);
    static const struct {
        const char *kind;
        json_t *(*view)(const struct api *api, const char *name);
    } table[] = {{"tenant", view_tenant}, {"image", view_image}, {"operation", view_operation}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(kind, table[i].kind) == 0)
            return table[i].view(api, name);
    return NULL;
}
