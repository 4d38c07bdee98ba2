// What the objects_*.c files share: loading with a refusal when absent, preconditions. Included by them only.
#pragma once

#include "env/objects.h"

// The document, or NULL and *why says that there is no such thing. Adds the comparison with its revision to
// txn.
json_t *tenant_expect(const struct store *store, struct store_txn *txn, const char *tenant,
                      struct refusal *why);
json_t *environment_expect(const struct store *store, struct store_txn *txn, const char *tenant,
                           const char *name, const struct precondition *pre, struct refusal *why);
// 0, or -ESTALE and *why when revision (of the document that is there) does not satisfy pre.
int precondition_check(const struct precondition *pre, uint64_t revision, const char *what,
                       struct refusal *why);
// Name, labels and spec of doc after the patch, held against the table that a new object is held against. The
// caller's; NULL: *why says what is wrong.
json_t *object_patched(const json_t *doc, const char *name, const json_t *patch,
                       const struct json_field *fields, size_t n_fields, const char *what,
                       struct refusal *why);
json_t *object_labels(const json_t *request); // the caller's; empty when it names none
// Adds d to the count of references of an image that must be there.
int image_refer(const struct store *store, struct store_txn *txn, const char *digest, int d,
                struct refusal *why);
// What counts against a tenant's quota.
struct usage {
    int64_t environments, memory_mib, vcpus, disk_mib;
};
// Adds to what the tenant uses; an increase is held against the quota.
int usage_add(const struct store *store, struct store_txn *txn, const char *tenant, const json_t *tenant_doc,
              const struct usage *change, struct refusal *why);
// doc: with a spec that its table accepts. *ret_disk_mib: what its disks count as.
int spec_expect(const struct store *store, const char *name, const json_t *doc, uint64_t *ret_disk_mib,
                struct refusal *why);
int spec_expect_change(const struct env_spec *before, const struct env_spec *after, struct refusal *why);
// Counts the images that before names down and those that after names up. Either may be NULL.
int spec_refer_images(const struct store *store, struct store_txn *txn, const struct env_spec *before,
                      const struct env_spec *after, struct refusal *why);
// A transaction's call failed: a refusal with what it says.
int txn_refuse(int rc, struct refusal *why);
// Puts an operation's document.
int operation_put(struct store_txn *txn, const struct id *id, const char *tenant, json_t *spec,
                  struct refusal *why);
