// What the loop and the store's worker thread hand each other: transactions and replays of history. A job
// belongs to whoever holds it: the loop before submit and after completion, the worker in between. Internal
// to store/.
#pragma once

#include <sys/queue.h>

#include "store/store.h"

enum job_kind { JOB_TXN, JOB_REPLAY };

struct job {
    STAILQ_ENTRY(job) link;
    enum job_kind kind;
};
STAILQ_HEAD(job_queue, job);

// An entry in one allocation: its texts live behind it.
struct entry {
    struct store_entry pub;
    char texts[]; // key NUL value NUL
};

struct entry *entry_new(const char *key, const void *value, size_t len); // NULL: no memory

enum store_op_type { OP_EXPECT, OP_PUT, OP_DELETE };

struct store_op {
    enum store_op_type type;
    uint64_t revision;   // OP_EXPECT
    struct entry *entry; // its key is the op's; OP_PUT moves it into the view
};

struct store_txn {
    struct job job;
    struct store *store;
    store_commit_cb *cb;
    void *arg;
    struct store_result result; // the worker's
    size_t n_ops;
    struct store_op ops[STORE_TXN_MAX];
};

struct replayed {
    bool is_delete;
    uint64_t revision;
    struct entry *entry;
};

#define REPLAY_EVENTS_MAX 256        // per batch, rounded up to a whole revision
#define REPLAY_BYTES_MAX  (1u << 20) // likewise

// One batch of history for one watch. The worker runs jobs in order, so a batch that caught up ends exactly
// where the completions that the loop has handled before it end: the watch goes live without a gap or an
// overlap.
struct replay {
    struct job job;
    uint64_t watch_id;
    uint64_t since;
    char prefix[STORE_KEY_MAX + 1];
    // the worker's answer
    int rc; // -ESTALE: compacted
    struct err err;
    uint64_t until; // history up to here is in this batch and the ones before it
    bool caught_up;
    size_t n, cap;
    struct replayed *events;
};

void replay_free(struct replay *replay);
