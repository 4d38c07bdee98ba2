// What may be done to objects, as transactions: each function reads what is committed, checks the rules
// (names, quota, references, preconditions) and fills txn, comparisons included, so that check and change are
// one. Called from within mutations (mutate.h) of api/ and env/. No HTTP, no events, nothing runs here.
//
// All return 0, or a negative rc with *why filled.
#pragma once

#include <jansson.h>

#include "env/documents.h"
#include "env/refusal.h"
#include "manifest/manifest.h"
#include "net/ipam.h"
#include "proto/name.h"

// If-Match. A revision matches when the object's document has not changed after it (status changes do not
// count).
struct precondition {
    bool given;
    bool any; // "*"
    uint64_t revision;
};

// Tenants. request, patch: validated against doc_tenant_new_fields (patch: the merged result is, here).
int tenant_create(const struct store *store, struct store_txn *txn, const struct ipam_pool *pool,
                  const json_t *request, struct refusal *why);
int tenant_change(const struct store *store, struct store_txn *txn, const char *tenant, const json_t *patch,
                  const struct precondition *pre, struct refusal *why);
int tenant_delete(const struct store *store, struct store_txn *txn, const char *tenant,
                  const struct precondition *pre, struct refusal *why);

// Environments. operation is the id of the operation that the transaction stores; environment_create() stores
// one only when the spec says run.
int environment_create(const struct store *store, struct store_txn *txn, const char *tenant,
                       const json_t *request, const struct id *uid, const struct id *operation,
                       struct refusal *why);
int environment_change(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const json_t *patch, const struct precondition *pre, struct refusal *why);
int environment_start(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                      const struct id *operation, struct refusal *why);
int environment_stop(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                     uint32_t grace_ms, const struct id *operation, struct refusal *why);
// Ends the run that there is, orderly within grace_ms, and starts another.
int environment_restart(const struct store *store, struct store_txn *txn, const char *tenant,
                        const char *name, uint32_t grace_ms, const struct id *operation, struct refusal *why);
// The wish that it stands still, or goes on. Refused (409 not-running) where nothing runs.
int environment_pause(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                      bool pause, const struct id *operation, struct refusal *why);
// Marks it; the life cycle ends its virtual machine and calls environment_remove().
int environment_delete(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const struct precondition *pre, const struct id *operation, struct refusal *why);
// Takes it out, with its address, its share of the quota and its references. -ENOENT: no such environment, or
// another one (uid) by now.
int environment_remove(const struct store *store, struct store_txn *txn, const char *tenant, const char *name,
                       const char *uid, struct refusal *why);

// Takes back the wish to run, for which the life cycle fails the start if it has not come to its end.
int operation_cancel(const struct store *store, struct store_txn *txn, const char *operation,
                     struct refusal *why);

// Images. details: size, type, note, name, since_ms, linux (the manifest, whose parts must be there). A name
// given for an image that is there replaces its name.
int image_add(const struct store *store, struct store_txn *txn, const char *digest, const json_t *details,
              struct refusal *why);
int image_delete(const struct store *store, struct store_txn *txn, const char *digest, struct refusal *why);
// Fills txn with the deletion of images that nothing refers to and that are older than age_ms (now_ms is the
// clock): blobs, and with linux_too Linux images that no environment names. One transaction takes so many;
// *ret_removed ({digest, size}, the caller's) says which. Repeat until it is empty: then parts of what went
// are gone too.
int image_collect(const struct store *store, struct store_txn *txn, uint64_t now_ms, uint64_t age_ms,
                  bool linux_too, json_t **ret_removed, struct refusal *why);
// The manifest of a Linux image that is there; free with manifest_done(). -ENOENT, or -EINVAL: another type.
int image_manifest(const struct store *store, const char *digest, struct manifest *ret, struct err *err);
// 1 to 63 of A-Z a-z 0-9 . _ : / -, beginning with a letter or digit.
bool image_name_valid(const char *name);

// The environment's address: host order, 0 when the documents do not say.
uint32_t environment_ipv4(const struct ipam_pool *pool, const json_t *tenant, const json_t *environment);
