// The store: keys to documents, one revision counter, compare-and-write transactions, watches. Called by
// every part of the daemon that keeps objects; knows nothing of what they mean. One thread: all calls and
// callbacks belong to the event loop's.
//
// Keys are texts such as "environments/acme/web"; values are bytes (JSON text by convention). Each
// transaction that changes something makes the next revision; an entry's revision is that of its last change.
// Reads are answered from memory, from exactly the state whose commits have been reported: they never block
// the loop on the disk, they see each own write once its callback runs, and a remote back end (etcd with a
// watch cache) can give the same promise.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define STORE_KEY_MAX   511        // bytes
#define STORE_VALUE_MAX (1u << 20) // bytes
#define STORE_TXN_MAX   128        // comparisons and changes together

struct event_base;
struct store;
struct store_txn;
struct store_watch;

struct store_entry {
    const char *key;
    const char *value; // NUL-terminated for convenience; the NUL is not counted
    size_t len;
    uint64_t revision; // of the last change
    uint64_t created;  // revision that made the key
};

struct store_sqlite_config {
    const char *path;           // the database file; made with mode 0600 when absent, its folder must exist
    uint32_t history_revisions; // events kept for watches to replay; 0 = 10,000
    uint64_t history_bytes;     // and at most so many bytes of them; 0 = 64 MiB
};

// Opens, checks and loads; blocks (start-up only). -EBUSY: another process has it open. -EBADMSG: not a
// store, or damaged. -EPROTO: made by a newer envd. Others: the file system's. err says what and where.
int store_open_sqlite(struct event_base *base, const struct store_sqlite_config *config, struct store **ret,
                      struct err *err);
// Finishes queued transactions (their callbacks run), ends watches silently, closes; blocks for that long.
// Not from a callback of the store. Accepts NULL.
void store_close(struct store *store);

uint64_t store_revision(const struct store *store);
// Entries are valid until control returns to the event loop.
const struct store_entry *store_get(const struct store *store, const char *key); // NULL: no such key
// The first entry under prefix whose key sorts after `after` (bytewise; NULL: the very first), or NULL. So
//     for (e = store_next(s, p, NULL); e; e = store_next(s, p, e->key))
// walks a prefix, and a page starts where the last one ended.
const struct store_entry *store_next(const struct store *store, const char *prefix, const char *after);
size_t store_count(const struct store *store, const char *prefix);

// --- transactions ---

struct store_result {
    int rc;            // 0, or -ESTALE (a comparison failed), -ENOSPC, -EBUSY (queue full), -EIO, -EROFS, …
    uint64_t revision; // the store's after this transaction, when rc is 0
    const char *key;   // the key whose comparison failed with -ESTALE, else NULL
    uint64_t key_revision; // its revision then, 0 = absent
    struct err err;        // the cause, when rc < 0
};
typedef void store_commit_cb(void *arg, const struct store_result *result);

struct store_txn *store_txn_new(struct store *store); // NULL: no memory
void store_txn_free(struct store_txn *txn);           // one that was not committed; accepts NULL
// All return 0, -EINVAL (bad key, or a key changed twice), -E2BIG (STORE_TXN_MAX, STORE_VALUE_MAX) or
// -ENOMEM. Nothing happens before commit. A transaction with a failed call may still be committed or freed:
// the failed call is not in it.
int store_txn_expect(struct store_txn *txn, const char *key, uint64_t revision); // 0: key must not exist
int store_txn_put(struct store_txn *txn, const char *key, const void *value, size_t len);
int store_txn_delete(struct store_txn *txn, const char *key); // of an absent key: no change
// Takes txn. cb (may be NULL) runs exactly once, from the loop, never inside this call; 0 means durable
// (fsynced) and visible to store_get; an error means that nothing changed (-EIO: as far as this process can
// tell; the disk may turn out to have kept it when the store is next opened). Transactions take effect in the
// order of their commits. One that fails harms no other.
void store_txn_commit(struct store_txn *txn, store_commit_cb *cb, void *arg);

// --- watches ---

enum store_event_type {
    STORE_EVENT_PUT,
    STORE_EVENT_DELETE,
    STORE_EVENT_SYNCED,    // history has been replayed, what follows is live; once
    STORE_EVENT_COMPACTED, // history no longer reaches back that far (or never was so far): list again. The
                           // watch ends.
    STORE_EVENT_FAILED,    // history could not be read (see the store's log line). The watch ends.
};
struct store_event {
    enum store_event_type type;
    uint64_t revision;
    bool more;         // another event of the same revision follows; resume only from complete revisions
    const char *key;   // PUT, DELETE
    const char *value; // PUT
    size_t len;
};
typedef void store_watch_cb(void *arg, const struct store_event *event);

// Every change under prefix with a revision above since, in order, none missing and none twice; since =
// store_revision() starts live. cb runs from the loop, never inside this call; live events run before the
// commit's own callback. cb may close any watch, its own included. After COMPACTED or FAILED the watch still
// has to be closed. NULL: no memory.
struct store_watch *store_watch_open(struct store *store, const char *prefix, uint64_t since,
                                     store_watch_cb *cb, void *arg);
void store_watch_close(struct store_watch *watch); // accepts NULL
