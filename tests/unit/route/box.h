// A mailbox of class host with a journal of its own, and short words for what is done to it. Called by
// mailbox_*_test.c.
#pragma once

#include "testing.h"

#include "route/mailbox.h"

#define NOW_MS 1000000u

extern struct mailbox_budget budget;
extern struct mailbox *mb;
extern struct journal *journal;
extern const struct mailbox_limits limits;

int setup(void **state);
int teardown(void **state);
struct id id_of(unsigned n);

struct what {
    unsigned n;
    uint64_t sender;
    enum message_kind kind;
    uint8_t priority;
    uint64_t expires_ms;
    size_t body_len;
};

struct message *make(struct what what);
void note_outcome(void *arg, enum mailbox_outcome outcome);

// What became of it once the journal was asked.
enum mailbox_outcome put(struct what what);

// The number of the next message, or 0.
unsigned next_at(uint64_t now_ms, bool replies_only);

unsigned next(void);
bool ack(unsigned n);
bool release(unsigned n);
struct mailbox_stats stats(void);
