// A load of agents: pairs of a sender and a receiver that speak the agent protocol as fast as their window
// lets them. Knows nothing of what is at the other end of their sockets.
#pragma once

#include <stddef.h>

#include "samples.h"

struct agents_load {
    unsigned n_pairs;
    size_t body_len;                // at least 8: a body begins with the time at which it was sent
    unsigned window;                // messages of a sender whose receipt is still owed
    unsigned seconds;               // after the warm-up
    const int *senders, *receivers; // n_pairs connected stream sockets each; NULL: the others are elsewhere
    const char *const *to;          // per pair: the receiver's address
};

// Runs it in this thread. 0, or -1 with a line on standard error.
int agents_run(const struct agents_load *load, struct samples *ret);
