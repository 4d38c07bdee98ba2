// A store in a folder of its own with an event loop, for the store's tests.
#pragma once

#include "testing.h"

#include <event2/event.h>

#include "store/store.h"

struct fixture {
    struct event_base *base;
    char dir[64];
    char path[96];
    struct store_sqlite_config config; // its path is path
    struct store *store;
};

int fixture_setup(void **state);    // an empty, open store
int fixture_teardown(void **state); // closes and removes everything
void fixture_reopen(struct fixture *f);
// Opens what is at path; the result and err are the test's.
int fixture_open(struct fixture *f, struct err *err);

// Runs the loop until the transaction's callback; returns its rc.
int commit(struct fixture *f, struct store_txn *txn, struct store_result *ret);
int put(struct fixture *f, const char *key, const char *value); // unconditionally; returns rc
// Runs the loop until *counter reaches n; fails the test after 10 s.
void run_until(struct fixture *f, const size_t *counter, size_t n);
