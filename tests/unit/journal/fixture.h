// A journal in a temporary folder of a real file system: numbered records are appended, and what a reopening
// finds is compared with what was promised.
#pragma once

#include "testing.h"

#include <event2/event.h>
#include <stdbool.h>

#include "journal/journal.h"

#define SEGMENT    (64u << 10) // the smallest
#define FOUND_MAX  65536
#define NUMBER_MAX 262144

struct found {
    uint64_t number, seq;
    bool live, intact;
    uint8_t type;
};

struct fixture {
    char folder[64];
    struct journal_config config;
    struct event_base *base;
    struct journal *journal;
    struct found *found; // by the last opening
    size_t n_found, n_live;
    unsigned damages;
    char damage[256];
    enum journal_state state;
    uint64_t seqs[NUMBER_MAX]; // by number
    uint64_t done, failed;     // appends that ended
    int last_rc;
    uint64_t last_done; // number
    bool in_order;
    void (*on_done)(struct fixture *f, uint64_t number, int rc);
    void (*on_dropped)(struct fixture *f, const struct journal_record *r);
};

struct fixture *fixture_new(void); // with its folder, not open
void fixture_free(struct fixture *f);
int fixture_try_open(struct fixture *f);
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);
// A record of len bytes (at least 8), whose bytes follow from number. What journal_append() says.
int fixture_append(struct fixture *f, uint64_t number, size_t len);
void fixture_forget(struct fixture *f, uint64_t number);
// Runs the loop until so many appends have ended (done and failed), or ms have passed.
bool fixture_wait(struct fixture *f, uint64_t ended, unsigned ms);
bool fixture_wait_state(struct fixture *f, enum journal_state state, unsigned ms);
void fixture_run(struct fixture *f, unsigned ms);
const struct found *fixture_find(const struct fixture *f, uint64_t number); // live ones, NULL: not there
struct journal_stats fixture_stats(const struct fixture *f);
