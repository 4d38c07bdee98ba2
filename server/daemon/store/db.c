// Owns everything said to SQLite once the file is open: the group commit, history and its pruning. Called by
// worker.c (and store.c to load); knows no watch and no loop.
#include "store/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/db_file.h"

static void bind_key(sqlite3_stmt *stmt, int index, const char *key)
{
    sqlite3_bind_text(stmt, index, key, -1, SQLITE_STATIC);
}

static void bind_u64(sqlite3_stmt *stmt, int index, uint64_t value)
{
    sqlite3_bind_int64(stmt, index, (sqlite3_int64)value);
}

static uint64_t column_u64(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

// Runs a statement that returns no row, and resets it.
static int run(struct db *db, sqlite3_stmt *stmt, const char *what, struct err *err)
{
    int rc = sqlite3_step(stmt);
    rc = rc == SQLITE_DONE ? 0 : db_error(db, err, what);
    sqlite3_reset(stmt);
    return rc;
}

// The entry in columns first_column (key) and first_column + 1 (value, NULL reads as empty).
static struct entry *entry_from_row(sqlite3_stmt *stmt, int first_column)
{
    const char *key = (const char *)sqlite3_column_text(stmt, first_column);
    const void *value = sqlite3_column_blob(stmt, first_column + 1);
    return key ? entry_new(key, value, (size_t)sqlite3_column_bytes(stmt, first_column + 1)) : NULL;
}

uint64_t db_revision(const struct db *db)
{
    return db->revision;
}

int db_load(struct db *db, int (*each)(void *arg, struct entry *entry), void *arg, struct err *err)
{
    sqlite3_stmt *stmt = db->stmts[STMT_LOAD];
    int rc = 0, step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct entry *entry = entry_from_row(stmt, 0);
        if (!entry) {
            rc = err_errno(err, -ENOMEM, "load the store");
            break;
        }
        entry->pub.revision = column_u64(stmt, 2);
        entry->pub.created = column_u64(stmt, 3);
        rc = each(arg, entry);
        if (rc < 0)
            err_errno(err, rc, "load the store");
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_error(db, err, "load the store");
    sqlite3_reset(stmt);
    return rc;
}

// The revision of key, 0 when absent.
static int key_revision(struct db *db, const char *key, uint64_t *ret, struct err *err)
{
    sqlite3_stmt *stmt = db->stmts[STMT_REVISION_OF];
    bind_key(stmt, 1, key);
    int step = sqlite3_step(stmt), rc = 0;
    if (step == SQLITE_ROW)
        *ret = column_u64(stmt, 0);
    else if (step == SQLITE_DONE)
        *ret = 0;
    else
        rc = db_error(db, err, "compare a revision");
    sqlite3_reset(stmt);
    return rc;
}

// 0 with result->rc 0 or -ESTALE; negative when the database failed.
static int compare(struct db *db, struct store_txn *txn, struct err *err)
{
    for (size_t i = 0; i < txn->n_ops; i++) {
        const struct store_op *op = &txn->ops[i];
        uint64_t revision = 0;
        if (op->type != OP_EXPECT)
            continue;
        int rc = key_revision(db, op->entry->pub.key, &revision, err);
        if (rc < 0)
            return rc;
        if (revision == op->revision)
            continue;
        txn->result.key = op->entry->pub.key;
        txn->result.key_revision = revision;
        txn->result.rc =
            err_set(&txn->result.err, -ESTALE, "%s is at revision %llu, expected %llu", op->entry->pub.key,
                    (unsigned long long)revision, (unsigned long long)op->revision);
        return 0;
    }
    return 0;
}

static int put(struct db *db, const struct store_entry *entry, uint64_t revision, struct err *err)
{
    sqlite3_stmt *stmt = db->stmts[STMT_PUT];
    bind_key(stmt, 1, entry->key);
    sqlite3_bind_blob64(stmt, 2, entry->value, entry->len, SQLITE_STATIC);
    bind_u64(stmt, 3, revision);
    return run(db, stmt, "write an object", err);
}

// *ret_existed: whether there was something to delete.
static int delete (struct db *db, const char *key, bool *ret_existed, struct err *err)
{
    sqlite3_stmt *stmt = db->stmts[STMT_DELETE];
    bind_key(stmt, 1, key);
    int rc = run(db, stmt, "delete an object", err);
    *ret_existed = rc == 0 && sqlite3_changes(db->sqlite) > 0;
    return rc;
}

static int record(struct db *db, const struct store_op *op, uint64_t revision, uint64_t ordinal,
                  struct err *err)
{
    sqlite3_stmt *stmt = db->stmts[STMT_EVENT];
    const struct store_entry *entry = &op->entry->pub;
    bind_u64(stmt, 1, revision);
    bind_u64(stmt, 2, ordinal);
    bind_key(stmt, 3, entry->key);
    if (op->type == OP_PUT)
        sqlite3_bind_blob64(stmt, 4, entry->value, entry->len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, 4);
    db->history_bytes += strlen(entry->key) + entry->len;
    return run(db, stmt, "write an event", err);
}

// Compares, then writes. 0 with the result filled, or negative when the database failed.
static int apply(struct db *db, struct store_txn *txn, struct err *err)
{
    txn->result = (struct store_result){0};
    int rc = compare(db, txn, err);
    if (rc < 0 || txn->result.rc < 0)
        return rc;
    uint64_t revision = db->revision + 1, ordinal = 0;
    for (size_t i = 0; i < txn->n_ops; i++) {
        const struct store_op *op = &txn->ops[i];
        bool changes = op->type == OP_PUT;
        if (op->type == OP_PUT)
            rc = put(db, &op->entry->pub, revision, err);
        else if (op->type == OP_DELETE)
            rc = delete (db, op->entry->pub.key, &changes, err);
        if (rc == 0 && changes)
            rc = record(db, op, revision, ordinal++, err);
        if (rc < 0)
            return rc;
    }
    if (ordinal > 0)
        db->revision = revision;
    txn->result.revision = db->revision;
    return 0;
}

static uint64_t history_len(const struct db *db)
{
    return db->revision - db->compacted;
}

// Forgets the oldest events once there are too many, and a sixteenth more so that it is not done every time.
static int prune(struct db *db, struct err *err)
{
    if (history_len(db) <= db->history_max && db->history_bytes <= db->history_bytes_max)
        return 0;
    uint64_t max = db->history_max - db->history_max / 16;
    uint64_t bytes_max = db->history_bytes_max - db->history_bytes_max / 16;
    uint64_t cut = db->compacted, bytes = db->history_bytes;
    sqlite3_stmt *stmt = db->stmts[STMT_EVENT_SIZES];
    int step;
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        uint64_t revision = column_u64(stmt, 0);
        if (revision == db->revision || (db->revision - cut <= max && bytes <= bytes_max))
            break;
        cut = revision;
        bytes -= column_u64(stmt, 1);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : db_error(db, err, "read history");
    sqlite3_reset(stmt);
    if (rc < 0)
        return rc;
    bind_u64(db->stmts[STMT_PRUNE], 1, cut);
    rc = run(db, db->stmts[STMT_PRUNE], "forget old history", err);
    if (rc == 0) {
        db->compacted = cut;
        db->history_bytes = bytes;
    }
    return rc;
}

static int apply_all(struct db *db, struct store_txn **txns, size_t n, struct err *err)
{
    int rc = run(db, db->stmts[STMT_BEGIN], "begin a transaction", err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = apply(db, txns[i], err);
    if (rc == 0)
        rc = prune(db, err);
    if (rc == 0)
        rc = run(db, db->stmts[STMT_COMMIT], "commit a transaction", err);
    return rc;
}

int db_commit(struct db *db, struct store_txn **txns, size_t n, struct err *err)
{
    uint64_t revision = db->revision, compacted = db->compacted, bytes = db->history_bytes;
    int rc = apply_all(db, txns, n, err);
    if (rc == 0)
        return 0;
    // SQLite has rolled back by itself after some errors; its answer to a second rollback does not matter.
    sqlite3_step(db->stmts[STMT_ROLLBACK]);
    sqlite3_reset(db->stmts[STMT_ROLLBACK]);
    db->revision = revision;
    db->compacted = compacted;
    db->history_bytes = bytes;
    return rc;
}

static int replay_row(sqlite3_stmt *stmt, struct replay *replay, size_t *bytes)
{
    if (replay->n == replay->cap) {
        size_t cap = replay->cap ? replay->cap * 2 : 16;
        struct replayed *grown = reallocarray(replay->events, cap, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        replay->events = grown;
        replay->cap = cap;
    }
    struct entry *entry = entry_from_row(stmt, 1);
    if (!entry)
        return -ENOMEM;
    replay->events[replay->n++] = (struct replayed){.is_delete = sqlite3_column_type(stmt, 2) == SQLITE_NULL,
                                                    .revision = column_u64(stmt, 0),
                                                    .entry = entry};
    *bytes += entry->pub.len;
    return 0;
}

static int replay_rows(struct db *db, struct replay *replay, sqlite3_stmt *stmt)
{
    size_t bytes = 0;
    int step;
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(stmt, 1);
        uint64_t revision = column_u64(stmt, 0);
        if (key && strncmp(key, replay->prefix, strlen(replay->prefix)) != 0)
            continue;
        bool full = replay->n >= REPLAY_EVENTS_MAX || bytes >= REPLAY_BYTES_MAX;
        if (full && replay->events[replay->n - 1].revision != revision) {
            replay->until = replay->events[replay->n - 1].revision;
            return 0;
        }
        if (replay_row(stmt, replay, &bytes) < 0)
            return err_errno(&replay->err, -ENOMEM, "read history");
    }
    if (step != SQLITE_DONE)
        return db_error(db, &replay->err, "read history");
    replay->until = db->revision;
    replay->caught_up = true;
    return 0;
}

void db_replay(struct db *db, struct replay *replay)
{
    if (replay->since < db->compacted || replay->since > db->revision) {
        replay->rc = err_set(&replay->err, -ESTALE, "history reaches from revision %llu to %llu",
                             (unsigned long long)db->compacted, (unsigned long long)db->revision);
        return;
    }
    sqlite3_stmt *stmt = db->stmts[STMT_REPLAY];
    bind_u64(stmt, 1, replay->since);
    replay->rc = replay_rows(db, replay, stmt);
    sqlite3_reset(stmt);
}
