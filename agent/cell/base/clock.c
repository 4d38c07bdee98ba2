// See clock.h. Called from system calls, timers and the idle loop.
#include "base/clock.h"

#include "base/kernel.h"

static uint64_t start_ns, idle_ns;

static uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// ns = base + ((tsc - tsc_base) * mult >> 32), read as a seqlock whose writer is envvm.
static uint64_t clock_read(volatile const uint64_t *base)
{
    const struct cell_shared *shared = cell_shared();
    for (;;) {
        uint32_t seq = shared->clock_seq;
        compiler_barrier();
        uint64_t base_ns = *base, tsc_base = shared->tsc_base, mult = shared->mult;
        uint64_t tsc = read_tsc();
        compiler_barrier();
        if (!(seq & 1) && seq == shared->clock_seq) {
            // A vCPU that moved to another core may read slightly less than tsc_base.
            uint64_t ticks = tsc > tsc_base ? tsc - tsc_base : 0;
            return base_ns + (uint64_t)((unsigned __int128)ticks * mult >> 32);
        }
        __asm__ volatile("pause");
    }
}

uint64_t clock_monotonic_ns(void)
{
    return clock_read(&cell_shared()->monotonic_base_ns);
}

uint64_t clock_realtime_ns(void)
{
    return clock_read(&cell_shared()->realtime_base_ns);
}

void clock_start(void)
{
    start_ns = clock_monotonic_ns();
}

uint64_t clock_start_ns(void)
{
    return start_ns;
}

uint64_t clock_busy_ns(void)
{
    uint64_t up = clock_monotonic_ns() - start_ns;
    return up > idle_ns ? up - idle_ns : 0;
}

void clock_add_idle_ns(uint64_t ns)
{
    idle_ns += ns;
}
