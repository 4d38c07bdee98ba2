// See wait.h. The order matters: `pending` is cleared before the rings are looked at, so what envvm adds
// after the look raises it again and the idle port returns at once.
#include "base/wait.h"

#include "agent.h"
#include "base/clock.h"
#include "base/kernel.h"
#include "boot/process.h"
#include "drivers/console.h"
#include "drivers/rng.h"
#include "drivers/vsock.h"
#include "fs/timerfd.h"
#include "net/net.h"

bool wait_poll(void)
{
    cell_shared()->pending = 0;
    memory_fence();
    bool busy = console_poll();
    busy |= vsock_poll();
    busy |= net_poll();
    busy |= rng_poll();
    return busy;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// What the kernel itself has to do at a time, whether the program runs or waits.
static uint64_t next_timer_ns(void)
{
    return earliest(agent_next_timer_ns(), process_end_ns());
}

void wait_run_timers(void)
{
    if (next_timer_ns() != NEVER) {
        uint64_t now = clock_monotonic_ns();
        process_check_end(now);
        agent_run_timers(now);
    }
    cell_shared()->wake_ns = next_timer_ns();
}

// No spinning before the exit: where processors are shared it takes the time of whoever is to answer.
void wait_event(uint64_t deadline_ns)
{
    if (wait_poll())
        return;
    uint64_t start = clock_monotonic_ns();
    process_check_end(start);
    if (agent_run_timers(start) || start >= deadline_ns)
        return;
    cell_shared()->wake_ns = earliest(deadline_ns, earliest(next_timer_ns(), timerfd_next_ns()));
    port_out(CELL_PORT_IDLE, 0);
    clock_add_idle_ns(clock_monotonic_ns() - start);
    wait_poll();
}
