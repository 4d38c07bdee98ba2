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

#define LABELS_MAX           MEDIATE_LABELS_MAX
#define QUOTA_ENVS_DEFAULT   100
#define QUOTA_MEMORY_DEFAULT 16384
#define QUOTA_MEMORY_MAX     (16 << 20)
#define QUOTA_VCPUS_DEFAULT  64
#define QUOTA_VCPUS_MAX      65536
#define QUOTA_DISK_DEFAULT   (1 << 20)
#define QUOTA_DISK_MAX       (1 << 30)

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

static const struct json_field quota_fields[] = {
    {.name = "environments", .kind = JSON_FIELD_INTEGER, .min = 0, .max = IPAM_HOST_MAX - IPAM_HOST_MIN + 1},
    {.name = "memory_mib", .kind = JSON_FIELD_INTEGER, .min = 0, .max = QUOTA_MEMORY_MAX},
    {.name = "vcpus", .kind = JSON_FIELD_INTEGER, .min = 0, .max = QUOTA_VCPUS_MAX},
    {.name = "disk_mib", .kind = JSON_FIELD_INTEGER, .min = 0, .max = QUOTA_DISK_MAX},
};
static const struct json_field tenant_spec_fields[] = {
    {.name = "quota", .kind = JSON_FIELD_OBJECT, .fields = quota_fields, .n_fields = ARRAY_LEN(quota_fields)},
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
     .fields = spec_fields,
     .n_fields = SPEC_N_FIELDS},
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

void doc_read_quota(const json_t *tenant, struct tenant_quota *ret)
{
    const json_t *quota = json_object_get(json_object_get(tenant, "spec"), "quota");
    ret->environments = (uint32_t)json_get_integer(quota, "environments", QUOTA_ENVS_DEFAULT);
    ret->memory_mib = (uint64_t)json_get_integer(quota, "memory_mib", QUOTA_MEMORY_DEFAULT);
    ret->vcpus = (uint64_t)json_get_integer(quota, "vcpus", QUOTA_VCPUS_DEFAULT);
    ret->disk_mib = (uint64_t)json_get_integer(quota, "disk_mib", QUOTA_DISK_DEFAULT);
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
