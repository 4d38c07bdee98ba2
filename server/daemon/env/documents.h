// The documents that envd keeps in the store: their keys, what a spec may say, and reading them back. Called
// by env/ and api/. No transactions here (objects.h), no HTTP.
//
//   tenants/T             labels, spec, net: the tenant's network number
//   usage/T               environments, memory_mib, vcpus, disk_mib: what counts against the quota, changed
//                         with each environment
//   net/NNNN              the tenant that has the number; net/NNNN/HHH: the environment that has
//   the address environments/T/E      labels, spec, uid, host: number of its address, generation: times it
//                         was asked to run, restart_below: runs of earlier generations are to end first,
//                         paused: it is to stand still, disk_mib: what counts of its disks, deleting,
//                         cancelled: the start that was. Written by the API
//   status/T/E            what is observed, and uid, vm, generation. Written by the environment's life cycle
//   images/sha256:HEX     size, type, note, name, since_ms, refs: environments whose spec names it, Linux
//   images whose
//                         manifest does; linux: the manifest, of type linux
//   operations/ID         tenant, spec, status
//   policies/main         text, file, since, version; policy-versions/NNNNNNNNNN the same, for each that was
//   in force
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "env/spec.h"
#include "proto/name.h"
#include "store/store.h"
#include "json/fields.h"

#define DOC_KEY_CAP    192
#define DOC_DIGEST_CAP 72 // "sha256:", 64 hex digits, NUL

#define DOC_TENANTS         "tenants/"
#define DOC_ENVIRONMENTS    "environments/"
#define DOC_STATUS          "status/"
#define DOC_IMAGES          "images/"
#define DOC_OPERATIONS      "operations/"
#define DOC_POLICY          "policies/main"
#define DOC_POLICY_VERSIONS "policy-versions/"

struct tenant_quota {
    uint32_t environments;
    uint64_t memory_mib, vcpus, disk_mib; // vCPUs of kind linux
};

// What requests may say. Tables for json_check().
extern const struct json_field doc_tenant_new_fields[];
extern const size_t doc_tenant_new_n;
extern const struct json_field doc_environment_new_fields[];
extern const size_t doc_environment_new_n;

// Keys. out has DOC_KEY_CAP bytes.
void doc_key(char *out, const char *prefix, const char *name);
void doc_key_of(char *out, const char *prefix, const char *tenant, const char *name);
void doc_key_net(char *out, uint32_t net);
void doc_key_address(char *out, uint32_t net, uint32_t host);
// Splits "environments/T/E" after its prefix. False when it is no such key.
bool doc_key_split(const char *key, const char *prefix, char tenant[NAME_CAP], char name[NAME_CAP]);

// The document under key, or NULL (*ret_revision 0). The reference is the caller's. ret_revision may be NULL.
json_t *doc_load(const struct store *store, const char *key, uint64_t *ret_revision);
json_t *doc_of(const struct store_entry *entry);
// Adds a put of doc to txn. 0 or what store_txn_put() returns, -ENOMEM.
int doc_put(struct store_txn *txn, const char *key, const json_t *doc);

// From the document of a tenant. The documents were checked when they were made.
void doc_read_quota(const json_t *tenant, struct tenant_quota *ret);

// A fresh UUIDv7.
struct id doc_new_id(void);
// "sha256:" and 64 lower-case hex digits.
bool doc_digest_valid(const char *s, size_t len);
