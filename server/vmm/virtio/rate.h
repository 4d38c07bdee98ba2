// A token bucket: how much of something may happen per second. Embedded in devices; pure but for the clock
// that the caller reads.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rate {
    uint64_t per_s; // 0 = unlimited
    uint64_t burst;
    int64_t tokens; // below zero: a debt, left by one request larger than what was there
    uint64_t at_ns; // up to when tokens were added
};

// The bucket holds a tenth of a second's worth, at least burst_min, and starts full.
void rate_init(struct rate *rate, uint64_t per_s, uint64_t burst_min, uint64_t now_ns);
// True when something may happen now.
bool rate_ready(struct rate *rate, uint64_t now_ns);
// Something of this size happened. Larger than the tokens there: the rest is a debt, which later ones wait
// for.
void rate_take(struct rate *rate, uint64_t n);
// When rate_ready() will be true; in the past when it is.
uint64_t rate_next_ns(const struct rate *rate);
