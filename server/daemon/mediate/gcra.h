// A token bucket in one number: the generic cell rate algorithm (ITU-T I.371), which keeps the time at which
// the bucket will be full again instead of a count of tokens. Used for rules' rates and environments' message
// rates.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Takes a token of a bucket of `burst` tokens that gains rate_per_s of them a second; *full_at_ns is the
// bucket, 0 a fresh one. False when there is none; rate_per_s and burst are at least 1 and at most a million.
static inline bool gcra_take(uint64_t *full_at_ns, uint64_t now_ns, uint32_t rate_per_s, uint32_t burst)
{
    uint64_t per_token_ns = 1000000000u / rate_per_s;
    uint64_t from = *full_at_ns > now_ns ? *full_at_ns : now_ns;
    if (from - now_ns > per_token_ns * (burst - 1))
        return false;
    *full_at_ns = from + per_token_ns;
    return true;
}

// A bucket that is full says nothing that a fresh one would not.
static inline bool gcra_full(uint64_t full_at_ns, uint64_t now_ns)
{
    return full_at_ns <= now_ns;
}
