// The open database as db.c and db_file.c share it. Internal to those two.
#pragma once

#include <sqlite3.h>

#include "store/db.h"

enum db_stmt {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_LOAD,
    STMT_REVISION_OF,
    STMT_PUT,
    STMT_DELETE,
    STMT_EVENT,
    STMT_EVENT_SIZES,
    STMT_PRUNE,
    STMT_REPLAY,
    STMT_COUNT
};

struct db {
    sqlite3 *sqlite;
    char *path;
    uint64_t revision;      // of the last commit
    uint64_t compacted;     // newest revision whose events are forgotten
    uint64_t history_bytes; // keys and values in event
    uint64_t history_max;
    uint64_t history_bytes_max;
    sqlite3_stmt *stmts[STMT_COUNT];
};

// Says what failed, where and why, and returns SQLite's last error as -errno.
int db_error(struct db *db, struct err *err, const char *what);
