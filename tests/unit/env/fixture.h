// An event loop, a store in a folder of its own, and a mutator, for the daemon's tests.
#pragma once

#include "../testing.h"

#include <event2/event.h>

#include "env/mutate.h"
#include "env/objects.h"

struct fixture {
    struct event_base *base;
    char dir[64];
    struct store *store;
    struct mutator *mutator;
    struct ipam_pool pool;
    struct refusal why; // of the last mutation
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

// Runs build as a queued mutation until it is done; returns its rc.
typedef int fixture_build(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg);
int mutate(struct fixture *f, fixture_build *build, void *arg);
// Returns when all that was on its way to the store has come back.
void fixture_settle(struct fixture *f);

// Shorthands, with JSON texts.
int add_tenant(struct fixture *f, const char *request);
int add_image(struct fixture *f, const char *digest, const char *type);
int add_environment(struct fixture *f, const char *tenant, const char *request);
json_t *load(struct fixture *f, const char *key); // the caller's; fails the test when it is not there
int64_t number_at(struct fixture *f, const char *key, const char *member);

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
