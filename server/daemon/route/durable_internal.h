// What durable.c and durable_calls.c share.
#pragma once

#include "route/durable.h"
#include "route/router_internal.h"

struct kept_call_entry {
    TAILQ_ENTRY(kept_call_entry) link;
    uint64_t seq;
    struct kept_call call;
};

struct kept_orphan {
    STAILQ_ENTRY(kept_orphan) link;
    uint64_t seq;
};

struct kept_answer {
    TAILQ_ENTRY(kept_answer) link;
    uint64_t seq;
    struct id call;
    struct message *reply;
};

struct durable {
    struct router *router;
    struct journal *journal;
    struct siphash_key key; // of the tables below
    struct table boxes;     // recovered, by environment
    struct table by_seq;    // the messages in them
    struct table epochs;    // struct kept_epoch_entry, by queue
    struct table queues;    // struct kept_queue_entry, likewise
    LIST_HEAD(, kept_queue_entry) all_queues;
    struct table going;               // keys of a segment that is about to go, by environment
    SLIST_HEAD(, kept_box) unwritten; // keys that the journal did not take
    TAILQ_HEAD(, kept_call_entry) calls;
    TAILQ_HEAD(, kept_answer) answers;
    STAILQ_HEAD(, kept_orphan) orphans; // recovered, to be forgotten
    bool has_hash_key;
};

void durable_forget_orphans(struct durable *d);
int durable_recover_answer(struct durable *d, const struct journal_record *r, bool live);
void durable_free_answers(struct durable *d);
// A key that the journal does not take now is written when it does.
void durable_keep_key_later(struct durable *d, enum kept_window window, const char *tenant, const char *name,
                            uint64_t key);

// durable_epochs.c
int durable_recover_epoch(struct durable *d, const struct journal_record *r, bool live);
void durable_free_epochs(struct durable *d);

// durable_queues.c
int durable_recover_queue(struct durable *d, const struct journal_record *r, bool live);
void durable_free_queues(struct durable *d);
// Every environment is there: the link hears of the queues of those that are not.
void durable_tell_left_queues(const struct durable *d);

// Appends a record of keys that is dead from the start. -errno of journal_append().
int durable_append_keys(struct durable *d, const struct kept_keys *keys);
