// The guest's clock: a seqlock in the shared page that turns the TSC into monotonic and wall-clock time
// (proto/cell.h). Written by the I/O thread about once a second while the guest runs, and by the vCPU thread
// when a long idle ends.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cell.h"

// One reading of all clocks at once.
struct clock_reading {
    uint64_t tsc, monotonic_ns, realtime_ns;
};

struct clock_page {
    struct cell_shared *shared;
    pthread_mutex_t lock; // guards all below and the writing
    uint64_t nominal_mult;
    uint32_t seq; // our own copy: the guest can write the shared one
    bool started;
    uint64_t tsc_base, mult, base_ns;
};

void clock_page_init(struct clock_page *clock, struct cell_shared *shared, uint32_t tsc_khz);
void clock_page_done(struct clock_page *clock);
// Publishes the host's clocks as of now. Any thread.
void clock_page_refresh(struct clock_page *clock);
// The same with a given reading. The guest's monotonic clock never goes back: when it is ahead of the host's,
// it runs slower until they meet.
void clock_page_update(struct clock_page *clock, const struct clock_reading *now);
struct clock_reading clock_read(void);
