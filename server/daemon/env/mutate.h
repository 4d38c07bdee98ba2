// Read-modify-write on the store: a mutation builds its transaction from what is committed, and builds it
// again when something it depends on has changed meanwhile. Called by api/ and env/.
//
// Mutations that contend for the same documents (quota, addresses, images' counts) would make each other
// start over; they queue and run one after the other. Those that touch one object only may run at once.
#pragma once

#include <stdbool.h>

#include "store/store.h"

struct event_base;
struct mutator;

struct mutation_ops {
    // Reads the store and fills txn. 0 commits it; a negative value ends the mutation with that rc (the
    // reason is the mutation's own to keep).
    int (*build)(void *arg, const struct store *store, struct store_txn *txn);
    // Called once, from the loop, never inside mutate_*(). result->rc is 0, build()'s, or the store's;
    // -ESTALE only after many attempts.
    void (*done)(void *arg, const struct store_result *result);
};

// NULL: no memory. Borrows both.
struct mutator *mutator_new(struct event_base *base, struct store *store);
// Before the store is closed: what is queued ends with -ESHUTDOWN, what is being committed is not tried
// again.
void mutator_stop(struct mutator *m);
void mutator_free(struct mutator *m); // after the store was closed; accepts NULL
// 0, or -ENOMEM, -EBUSY (too many queued) or -ESHUTDOWN: done is not called then. ops outlives the mutation.
int mutate_queued(struct mutator *m, const struct mutation_ops *ops, void *arg);
int mutate_at_once(struct mutator *m, const struct mutation_ops *ops, void *arg);
