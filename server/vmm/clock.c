// Owns the clock fields of the shared page. Called by machine (once a second) and vcpu (after a long idle);
// knows no KVM beyond the frequency that it is given.
#include "clock.h"

#include <stdatomic.h>
#include <time.h>
#include <x86intrin.h>

#define NS_PER_S 1000000000ull
// A clock that is ahead is made to meet the host's within this time, or as fast as 1/8 slower gets it there.
#define SLEW_NS  NS_PER_S
#define READINGS 3

static uint64_t scale(uint64_t tsc_delta, uint64_t mult)
{
    return (uint64_t)(((unsigned __int128)tsc_delta * mult) >> 32);
}

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

struct clock_reading clock_read(void)
{
    struct clock_reading best = {0};
    uint64_t best_width = UINT64_MAX;
    // The narrowest of a few: a reading during which the thread was preempted pairs the clocks badly.
    for (int i = 0; i < READINGS; i++) {
        const uint64_t before = __rdtsc();
        const uint64_t monotonic_ns = read_ns(CLOCK_MONOTONIC);
        const uint64_t width = __rdtsc() - before;
        if (width >= best_width)
            continue;
        best_width = width;
        best.tsc = before + width / 2;
        best.monotonic_ns = monotonic_ns;
    }
    best.realtime_ns = read_ns(CLOCK_REALTIME);
    return best;
}

void clock_page_init(struct clock_page *clock, struct cell_shared *shared, uint32_t tsc_khz)
{
    *clock = (struct clock_page){.shared = shared, .nominal_mult = (1000000ull << 32) / tsc_khz};
    pthread_mutex_init(&clock->lock, NULL);
}

void clock_page_done(struct clock_page *clock)
{
    if (clock->shared)
        pthread_mutex_destroy(&clock->lock);
}

// The rate at which a clock that is ahead_ns ahead meets the host's after SLEW_NS.
static uint64_t slowed(uint64_t mult, uint64_t ahead_ns)
{
    const uint64_t most = SLEW_NS / 8;
    const uint64_t by = ahead_ns < most ? ahead_ns : most;
    return (uint64_t)((unsigned __int128)mult * (SLEW_NS - by) / SLEW_NS);
}

static void publish(struct clock_page *clock, uint64_t realtime_ns)
{
    struct cell_shared *s = clock->shared;
    clock->seq += 2;
    __atomic_store_n(&s->clock_seq, clock->seq - 1, __ATOMIC_RELAXED);
    atomic_thread_fence(
        memory_order_release); // odd before the fields; pairs with the guest's second read of seq
    s->tsc_base = clock->tsc_base;
    s->mult = clock->mult;
    s->monotonic_base_ns = clock->base_ns;
    s->realtime_base_ns = realtime_ns;
    atomic_thread_fence(memory_order_release); // the fields before even
    __atomic_store_n(&s->clock_seq, clock->seq, __ATOMIC_RELAXED);
}

void clock_page_update(struct clock_page *clock, const struct clock_reading *now)
{
    pthread_mutex_lock(&clock->lock);
    uint64_t shown = 0; // what the guest reads at now->tsc
    if (clock->started)
        shown = clock->base_ns +
                (now->tsc > clock->tsc_base ? scale(now->tsc - clock->tsc_base, clock->mult) : 0);
    const bool ahead = shown > now->monotonic_ns;
    clock->tsc_base = now->tsc;
    clock->base_ns = ahead ? shown : now->monotonic_ns;
    clock->mult = ahead ? slowed(clock->nominal_mult, shown - now->monotonic_ns) : clock->nominal_mult;
    clock->started = true;
    publish(clock, now->realtime_ns);
    pthread_mutex_unlock(&clock->lock);
}

void clock_page_refresh(struct clock_page *clock)
{
    const struct clock_reading now = clock_read();
    clock_page_update(clock, &now);
}
