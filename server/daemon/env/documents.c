// Owns the keys and shapes of stored documents. Called by env/ and api/; must not know transactions' rules or
// HTTP.
#include "env/documents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "mediate/question.h"
#include "net/ipam.h"
#include "proto/vmctl.h"

#define LABELS_MAX           MEDIATE_LABELS_MAX
#define ENV_VALUE_MAX        32768
#define MEMORY_MIB_DEFAULT   16
#define CPU_WEIGHT_DEFAULT   100
#define QUOTA_ENVS_DEFAULT   100
#define QUOTA_MEMORY_DEFAULT 16384
#define QUOTA_MEMORY_MAX     (16 << 20)

static const char *check_name(const char *key, const char *text, size_t len)
{
    (void)key;
    return name_valid(text, len)
               ? NULL
               : "is not a name: 1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -";
}

static const char *check_label(const char *key, const char *text, size_t len)
{
    if (!mediate_label_key_valid(key, strlen(key)))
        return "is not a label: 1 to 63 of A-Z, a-z, 0-9, '.', '_', '/' and '-', beginning with a letter or "
               "digit";
    return mediate_label_value_valid(text, len)
               ? NULL
               : "is not a label's value: at most 252 bytes without blanks or controls";
}

static const char *check_digest(const char *key, const char *text, size_t len)
{
    (void)key;
    return doc_digest_valid(text, len) ? NULL : "is not a digest: \"sha256:\" and 64 lower-case hex digits";
}

static const char *check_kind(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    return strcmp(text, "cell") == 0 ? NULL : "must be \"cell\"";
}

static const char *const restart_names[] = {
    [ENV_RESTART_NEVER] = "never", [ENV_RESTART_ON_FAILURE] = "on-failure", [ENV_RESTART_ALWAYS] = "always"};

static const char *check_restart(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    for (size_t i = 0; i < ARRAY_LEN(restart_names); i++)
        if (strcmp(text, restart_names[i]) == 0)
            return NULL;
    return "must be never, on-failure or always";
}

static const char *check_variable(const char *key, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return key[0] != '\0' && !strchr(key, '=') ? NULL : "the name of a variable is not empty and has no '='";
}

static const struct json_field quota_fields[] = {
    {.name = "environments", .kind = JSON_FIELD_INTEGER, .min = 0, .max = IPAM_HOST_MAX - IPAM_HOST_MIN + 1},
    {.name = "memory_mib", .kind = JSON_FIELD_INTEGER, .min = 0, .max = QUOTA_MEMORY_MAX},
};
static const struct json_field tenant_spec_fields[] = {
    {.name = "quota", .kind = JSON_FIELD_OBJECT, .fields = quota_fields, .n_fields = ARRAY_LEN(quota_fields)},
};
static const struct json_field env_spec_fields[] = {
    {.name = "kind", .kind = JSON_FIELD_STRING, .required = true, .min = 1, .max = 16, .check = check_kind},
    {.name = "program",
     .kind = JSON_FIELD_STRING,
     .required = true,
     .min = 1,
     .max = 128,
     .check = check_digest},
    {.name = "archive", .kind = JSON_FIELD_STRING, .min = 1, .max = 128, .check = check_digest},
    // Many programs look at it: busybox takes it for the applet.
    {.name = "argv0", .kind = JSON_FIELD_STRING, .min = 1, .max = ENV_VALUE_MAX},
    {.name = "args",
     .kind = JSON_FIELD_STRINGS,
     .min = 0,
     .max = VMCTL_ARGS_MAX - 1,
     .each_max = ENV_VALUE_MAX},
    {.name = "env",
     .kind = JSON_FIELD_MAP,
     .max = VMCTL_ARGS_MAX,
     .each_max = ENV_VALUE_MAX,
     .check = check_variable},
    {.name = "memory_mib",
     .kind = JSON_FIELD_INTEGER,
     .min = VMCTL_MEMORY_MIN_MIB,
     .max = VMCTL_MEMORY_MAX_MIB},
    {.name = "cpu_weight", .kind = JSON_FIELD_INTEGER, .min = 1, .max = 10000},
    {.name = "restart", .kind = JSON_FIELD_STRING, .min = 1, .max = 16, .check = check_restart},
    {.name = "run", .kind = JSON_FIELD_BOOLEAN},
};

#define FIELD_NAME                                                                                           \
    {                                                                                                        \
        .name = "name", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_name         \
    }
#define FIELD_LABELS                                                                                         \
    {                                                                                                        \
        .name = "labels", .kind = JSON_FIELD_MAP, .max = LABELS_MAX, .each_max = 512, .check = check_label   \
    }

const struct json_field doc_tenant_new_fields[] = {
    FIELD_NAME,
    FIELD_LABELS,
    {.name = "spec",
     .kind = JSON_FIELD_OBJECT,
     .fields = tenant_spec_fields,
     .n_fields = ARRAY_LEN(tenant_spec_fields)},
};
const size_t doc_tenant_new_n = ARRAY_LEN(doc_tenant_new_fields);

const struct json_field doc_environment_new_fields[] = {
    FIELD_NAME,
    FIELD_LABELS,
    {.name = "spec",
     .kind = JSON_FIELD_OBJECT,
     .required = true,
     .fields = env_spec_fields,
     .n_fields = ARRAY_LEN(env_spec_fields)},
};
const size_t doc_environment_new_n = ARRAY_LEN(doc_environment_new_fields);

void doc_key(char *out, const char *prefix, const char *name)
{
    snprintf(out, DOC_KEY_CAP, "%s%s", prefix, name);
}

void doc_key_of(char *out, const char *prefix, const char *tenant, const char *name)
{
    snprintf(out, DOC_KEY_CAP, "%s%s/%s", prefix, tenant, name);
}

void doc_key_net(char *out, uint32_t net)
{
    snprintf(out, DOC_KEY_CAP, "net/%04u", net);
}

void doc_key_address(char *out, uint32_t net, uint32_t host)
{
    snprintf(out, DOC_KEY_CAP, "net/%04u/%03u", net, host);
}

bool doc_key_split(const char *key, const char *prefix, char tenant[NAME_CAP], char name[NAME_CAP])
{
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0)
        return false;
    const char *slash = strchr(key + n, '/');
    if (!slash || !name_valid(key + n, (size_t)(slash - key) - n) ||
        !name_valid(slash + 1, strlen(slash + 1)))
        return false;
    snprintf(tenant, NAME_CAP, "%.*s", (int)((size_t)(slash - key) - n), key + n);
    snprintf(name, NAME_CAP, "%s", slash + 1);
    return true;
}

json_t *doc_of(const struct store_entry *entry)
{
    json_t *doc = json_loadb(entry->value, entry->len, JSON_REJECT_DUPLICATES, NULL);
    if (!doc)
        log_error(NULL, "the stored document %s is not JSON: left alone", entry->key);
    return doc;
}

json_t *doc_load(const struct store *store, const char *key, uint64_t *ret_revision)
{
    const struct store_entry *entry = store_get(store, key);
    if (ret_revision)
        *ret_revision = entry ? entry->revision : 0;
    return entry ? doc_of(entry) : NULL;
}

int doc_put(struct store_txn *txn, const char *key, const json_t *doc)
{
    _cleanup_free_ char *text = json_dumps(doc, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    return store_txn_put(txn, key, text, strlen(text));
}

void doc_read_spec(const json_t *environment, struct env_spec *ret)
{
    const json_t *spec = json_object_get(environment, "spec");
    const char *restart = json_get_string(spec, "restart", "never");
    *ret = (struct env_spec){
        .program = json_get_string(spec, "program", ""),
        .archive = json_get_string(spec, "archive", NULL),
        .argv0 = json_get_string(spec, "argv0", NULL),
        .args = json_object_get(spec, "args"),
        .env = json_object_get(spec, "env"),
        .memory_mib = (uint32_t)json_get_integer(spec, "memory_mib", MEMORY_MIB_DEFAULT),
        .cpu_weight = (uint32_t)json_get_integer(spec, "cpu_weight", CPU_WEIGHT_DEFAULT),
        .run = json_get_boolean(spec, "run", false),
    };
    for (size_t i = 0; i < ARRAY_LEN(restart_names); i++)
        if (strcmp(restart, restart_names[i]) == 0)
            ret->restart = (enum env_restart)i;
}

void doc_read_quota(const json_t *tenant, struct tenant_quota *ret)
{
    const json_t *quota = json_object_get(json_object_get(tenant, "spec"), "quota");
    ret->environments = (uint32_t)json_get_integer(quota, "environments", QUOTA_ENVS_DEFAULT);
    ret->memory_mib = (uint64_t)json_get_integer(quota, "memory_mib", QUOTA_MEMORY_DEFAULT);
}

struct id doc_new_id(void)
{
    uint8_t random[10];
    // 10 bytes never come short once the pool is ready, which it is long before envd.
    if (getrandom(random, sizeof random, 0) != sizeof random)
        abort();
    return id_make(io_realtime_ms(), random);
}

bool doc_digest_valid(const char *s, size_t len)
{
    return mediate_image_valid(s, len);
}
