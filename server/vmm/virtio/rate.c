// Owns the arithmetic of rate limits. Called by devices; reads no clock itself.
#include "virtio/rate.h"

#define NS_PER_S 1000000000ull
#define RATE_MAX (1ull << 48) // keeps the sums inside 64 bits
#define TAKE_MAX (1ull << 48)

__extension__ typedef unsigned __int128 u128;

void rate_init(struct rate *rate, uint64_t per_s, uint64_t burst_min, uint64_t now_ns)
{
    if (per_s > RATE_MAX)
        per_s = RATE_MAX;
    uint64_t burst = per_s / 10 > burst_min ? per_s / 10 : burst_min;
    *rate = (struct rate){.per_s = per_s, .burst = burst, .tokens = (int64_t)burst, .at_ns = now_ns};
}

bool rate_ready(struct rate *rate, uint64_t now_ns)
{
    if (rate->per_s == 0)
        return true;
    if (now_ns > rate->at_ns) {
        u128 added = (u128)(now_ns - rate->at_ns) * rate->per_s / NS_PER_S;
        uint64_t room = (uint64_t)((int64_t)rate->burst - rate->tokens);
        if (added > room) {
            rate->tokens = (int64_t)rate->burst;
            rate->at_ns = now_ns;
        } else {
            rate->tokens += (int64_t)added;
            // Only the time that became whole tokens is used up.
            rate->at_ns += (uint64_t)(added * NS_PER_S / rate->per_s);
        }
    }
    return rate->tokens > 0;
}

void rate_take(struct rate *rate, uint64_t n)
{
    if (rate->per_s > 0 && rate->tokens > -(int64_t)TAKE_MAX)
        rate->tokens -= (int64_t)(n < TAKE_MAX ? n : TAKE_MAX);
}

uint64_t rate_next_ns(const struct rate *rate)
{
    if (rate->per_s == 0 || rate->tokens > 0)
        return 0;
    u128 wait = ((u128)(1 - rate->tokens) * NS_PER_S + rate->per_s - 1) / rate->per_s;
    return wait > UINT64_MAX - rate->at_ns ? UINT64_MAX : rate->at_ns + (uint64_t)wait;
}
