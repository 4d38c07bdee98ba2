// Owns the opening of the database file: creation, the checks that it is ours, whole and not newer than this
// program, and what SQLite's errors mean. Called by store.c at start-up, and by db.c for errors.
#include "store/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checked.h"
#include "common/cleanup.h"

#define HISTORY_REVISIONS_DEFAULT 10000u
#define HISTORY_BYTES_DEFAULT     (64u << 20)

// WITHOUT ROWID: a row is its index entry, so quick_check sees all there is to check.
static const char SCHEMA[] =
    "BEGIN EXCLUSIVE;"
    "CREATE TABLE object(key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL,"
    " created INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE event(revision INTEGER NOT NULL, ordinal INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,"
    " PRIMARY KEY(revision, ordinal)) WITHOUT ROWID;"
    "PRAGMA application_id = 1701738084;" // DB_APPLICATION_ID; a pragma takes no expression
    "PRAGMA user_version = 1;"
    "COMMIT";
_Static_assert(DB_APPLICATION_ID == 1701738084 && DB_SCHEMA_VERSION == 1, "SCHEMA spells them out");

static const char *const STMT_SQL[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_LOAD] = "SELECT key, value, revision, created FROM object ORDER BY key",
    [STMT_REVISION_OF] = "SELECT revision FROM object WHERE key = ?1",
    [STMT_PUT] = "INSERT INTO object(key, value, revision, created) VALUES(?1, ?2, ?3, ?3)"
                 " ON CONFLICT(key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    [STMT_DELETE] = "DELETE FROM object WHERE key = ?1",
    [STMT_EVENT] = "INSERT INTO event(revision, ordinal, key, value) VALUES(?1, ?2, ?3, ?4)",
    [STMT_EVENT_SIZES] =
        "SELECT revision, sum(length(CAST(key AS BLOB)) + ifnull(length(value), 0)) FROM event"
        " GROUP BY revision ORDER BY revision",
    [STMT_PRUNE] = "DELETE FROM event WHERE revision <= ?1",
    [STMT_REPLAY] = "SELECT revision, key, value FROM event WHERE revision > ?1"
                    " ORDER BY revision, ordinal",
};

// SQLite's result codes as errno; what is not listed is an I/O error.
static const struct {
    int sqlite;
    int rc;
    const char *remedy;
} MEANINGS[] = {
    {SQLITE_FULL, -ENOSPC, "no space left: free some, nothing was changed"},
    {SQLITE_NOMEM, -ENOMEM, "out of memory"},
    {SQLITE_BUSY, -EBUSY, "another process has it open: is a second envd running on this folder?"},
    {SQLITE_READONLY, -EROFS,
     "it cannot be written: check its owner and mode, and that the file system is not read-only"},
    {SQLITE_NOTADB, -EBADMSG, "not a store (no SQLite database): move it away, or name another folder"},
    {SQLITE_CORRUPT, -EBADMSG, "the database is damaged: restore it from a backup"},
    {SQLITE_CANTOPEN, -EIO, "SQLite cannot open it"},
};

int db_error(struct db *db, struct err *err, const char *what)
{
    int code = sqlite3_errcode(db->sqlite) & 0xff;
    int cause = sqlite3_system_errno(db->sqlite);
    if (code == SQLITE_IOERR && (cause == ENOSPC || cause == EDQUOT))
        code = SQLITE_FULL;
    for (size_t i = 0; i < ARRAY_LEN(MEANINGS); i++)
        if (MEANINGS[i].sqlite == code)
            return err_set(err, MEANINGS[i].rc, "%s: %s: %s", what, db->path, MEANINGS[i].remedy);
    return err_set(err, -EIO, "%s: %s: %s%s%s", what, db->path, sqlite3_errmsg(db->sqlite), cause ? ": " : "",
                   cause ? strerror(cause) : "");
}

static int exec(struct db *db, const char *sql, const char *what, struct err *err)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(db, err, what);
}

// The first column of the first row, as a number or a text (text_cap 0: not wanted).
static int query(struct db *db, const char *sql, sqlite3_int64 *ret, char *text, size_t text_cap,
                 struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt, NULL) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
        rc = db_error(db, err, "open the store");
    else if (text_cap > 0)
        snprintf(text, text_cap, "%s", (const char *)sqlite3_column_text(stmt, 0));
    else
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc;
}

static int query_number(struct db *db, const char *sql, sqlite3_int64 *ret, struct err *err)
{
    return query(db, sql, ret, NULL, 0, err);
}

// Makes the file with our mode (SQLite would use 0644) and learns the plain reason when it cannot be opened.
static int touch(const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, -errno, "open the store %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, -errno, "open the store %s", path);
    return S_ISREG(st.st_mode) ? 0 : err_set(err, -EBADMSG, "open the store %s: not a regular file", path);
}

// An empty file is ours to fill; anything else must say that it is a store, and of a version that we know.
// Reads only: another program's file stays as it is.
static int check_identity(struct db *db, bool *ret_empty, struct err *err)
{
    sqlite3_int64 pages, id, version;
    int rc = query_number(db, "PRAGMA page_count", &pages, err);
    if (rc == 0)
        rc = query_number(db, "PRAGMA application_id", &id, err);
    if (rc == 0)
        rc = query_number(db, "PRAGMA user_version", &version, err);
    if (rc < 0)
        return rc;
    *ret_empty = pages == 0;
    if (pages == 0)
        return 0;
    if (id != DB_APPLICATION_ID)
        return err_set(err, -EBADMSG, "open the store %s: it is another program's SQLite database", db->path);
    if (version > DB_SCHEMA_VERSION)
        return err_set(err, -EPROTO,
                       "open the store %s: made by a newer envd (schema %lld, this one knows %d)", db->path,
                       (long long)version, DB_SCHEMA_VERSION);
    return 0;
}

static int check_integrity(struct db *db, struct err *err)
{
    char text[256];
    int rc = query(db, "PRAGMA quick_check(1)", NULL, text, sizeof text, err);
    if (rc < 0)
        return rc;
    if (strcmp(text, "ok") != 0)
        return err_set(err, -EBADMSG, "open the store %s: damaged (%s): restore it from a backup", db->path,
                       text);
    return 0;
}

static int prepare(struct db *db, struct err *err)
{
    for (size_t i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v3(db->sqlite, STMT_SQL[i], -1, SQLITE_PREPARE_PERSISTENT, &db->stmts[i], NULL) !=
            SQLITE_OK)
            return db_error(db, err, "prepare the store's statements");
    return 0;
}

static int read_counters(struct db *db, struct err *err)
{
    sqlite3_int64 revision = 0, oldest = 0, bytes = 0;
    int rc = query_number(db, "SELECT ifnull(max(revision), 0) FROM event", &revision, err);
    if (rc == 0)
        rc = query_number(db, "SELECT ifnull(min(revision), 1) FROM event", &oldest, err);
    if (rc == 0)
        rc = query_number(
            db, "SELECT ifnull(sum(length(CAST(key AS BLOB)) + ifnull(length(value), 0)), 0) FROM event",
            &bytes, err);
    if (rc < 0)
        return rc;
    db->revision = (uint64_t)revision;
    db->compacted = (uint64_t)oldest - 1;
    db->history_bytes = (uint64_t)bytes;
    return 0;
}

// FULL syncs the log at every commit.
static int set_up_journal(struct db *db, struct err *err)
{
    char mode[16];
    int rc = query(db, "PRAGMA journal_mode = WAL", NULL, mode, sizeof mode, err);
    if (rc == 0 && strcmp(mode, "wal") != 0)
        rc = err_set(err, -EIO, "open the store %s: SQLite refuses its write-ahead log (journal mode %s)",
                     db->path, mode);
    // The log shrinks back after a burst.
    return rc == 0 ? exec(db, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216",
                          "open the store", err)
                   : rc;
}

static int set_up(struct db *db, struct err *err)
{
    bool empty = false;
    // Keeps a second envd out, and needs no shared-memory file.
    int rc = exec(db, "PRAGMA locking_mode = EXCLUSIVE", "open the store", err);
    if (rc == 0 && sqlite3_db_readonly(db->sqlite, "main") == 1)
        rc = err_set(err, -EROFS,
                     "open the store %s: it cannot be written: check its folder's owner and mode", db->path);
    if (rc == 0)
        rc = check_identity(db, &empty, err);
    if (rc == 0)
        rc = set_up_journal(db, err);
    if (rc == 0)
        rc = empty ? exec(db, SCHEMA, "create the store", err) : check_integrity(db, err);
    if (rc == 0)
        rc = prepare(db, err);
    return rc == 0 ? read_counters(db, err) : rc;
}

int db_open(const struct store_sqlite_config *config, struct db **ret, struct err *err)
{
    int rc = touch(config->path, err);
    if (rc < 0)
        return rc;
    struct db *db = calloc(1, sizeof *db);
    if (!db || !(db->path = strdup(config->path))) {
        rc = err_errno(err, -ENOMEM, "open the store %s", config->path);
        goto fail;
    }
    db->history_max = config->history_revisions ? config->history_revisions : HISTORY_REVISIONS_DEFAULT;
    db->history_bytes_max = config->history_bytes ? config->history_bytes : HISTORY_BYTES_DEFAULT;
    if (sqlite3_open_v2(db->path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        rc = db->sqlite ? db_error(db, err, "open the store") : err_errno(err, -ENOMEM, "open the store");
        goto fail;
    }
    rc = set_up(db, err);
    if (rc < 0)
        goto fail;
    *ret = db;
    return 0;
fail:
    db_close(db);
    return rc;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(db->stmts[i]);
    sqlite3_close(db->sqlite);
    free(db->path);
    free(db);
}
