// What happened to the last messages on this host, stage by stage, for operators: a ring of small records of
// fixed size, in memory only. The router's files add to it; the API reads. Knows no policy and moves nothing.
#pragma once

#include "proto/envelope.h"
#include "proto/name.h"
#include "proto/receipt.h"

#define TRACE_RECORDS 65536 // the stages of some ten thousand messages

enum trace_stage {
    TRACE_SUBMITTED, // by an environment or an operator of this host
    TRACE_ARRIVED,   // from the broker
    TRACE_ALLOWED,   // by this host's policy, for one receiver
    TRACE_SENT,      // to the broker
    TRACE_CONFIRMED, // the broker has stored it
    TRACE_STORED,    // it is durable in a mailbox here
    TRACE_ACCEPTED,  // the sender, or the broker it arrived from, was told
    TRACE_DUPLICATE, // the same, for it was here before
    TRACE_REFUSED,   // the sender was told
    TRACE_DELIVERED, // to the receiver's agent
    TRACE_ACKED,
    TRACE_RELEASED, // not processed: it waits again
    TRACE_EXPIRED,
    TRACE_DEAD,
    TRACE_REPLAYED, // by an operator, as is:
    TRACE_PURGED,
    TRACE_STAGES,
};

struct trace_record {
    struct id id;
    uint64_t at_ns; // monotonic
    uint64_t place; // serial of the environment; 0: none
    uint8_t stage;
    uint8_t code; // enum receipt_code of a refusal
};

struct trace {
    struct trace_record *records; // TRACE_RECORDS of them
    uint64_t n;                   // ever added
    uint64_t (*monotonic_ns)(void *arg);
    void *arg;
};

// Memory is touched as it is used. -ENOMEM.
int trace_init(struct trace *t, uint64_t (*monotonic_ns)(void *arg), void *arg);
void trace_done(struct trace *t);
void trace_add_at(struct trace *t, const struct trace_record *record); // overwrites the oldest
void trace_add(struct trace *t, const struct id *id, enum trace_stage stage, uint64_t place); // now

const char *trace_stage_name(enum trace_stage stage);

// A stage as operators see it.
struct trace_view {
    enum trace_stage stage;
    enum receipt_code code;    // of a refusal
    uint64_t at_ms;            // since 1970
    uint64_t ago_ns;           // before now
    uint64_t after_ns;         // since the stage before; 0 for the first
    const char *tenant, *name; // of the environment; NULL: none, or it was deleted
};

struct router;
// Calls cb for each stage that is remembered of messages with that id, in order. How many: 0 is nothing.
size_t router_trace(const struct router *r, const struct id *id,
                    void (*cb)(void *arg, const struct trace_view *stage), void *arg);
