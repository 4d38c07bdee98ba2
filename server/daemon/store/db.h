// The database file: opening, checking, loading, applying transactions, reading history. Blocking; used by
// one thread at a time (the loop's while opening, the worker's from then on). Internal to store/.
//
//   object(key, value, revision, created)     the current state
//   event(revision, ordinal, key, value)      what happened, NULL value = deleted; the newest revision always
//   stays, so
//                                             max(revision) is the store's and min(revision) - 1 is compacted
#pragma once

#include "store/job.h"

#define DB_SCHEMA_VERSION 1
#define DB_APPLICATION_ID 0x656e7664 // "envd"

struct db;

int db_open(const struct store_sqlite_config *config, struct db **ret, struct err *err);
void db_close(struct db *db); // accepts NULL
uint64_t db_revision(const struct db *db);
// Calls each entry in key order; it takes the entry, and stops the load by returning -errno.
int db_load(struct db *db, int (*each)(void *arg, struct entry *entry), void *arg, struct err *err);
// Applies n transactions in one durable commit and fills their results; a failed comparison fails only its
// own. When the commit itself fails, nothing of any is applied, db is as before, and the error is returned.
int db_commit(struct db *db, struct store_txn **txns, size_t n, struct err *err);
// Fills replay's answer.
void db_replay(struct db *db, struct replay *replay);
