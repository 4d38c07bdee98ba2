// System calls of clocks and sleep.
#include "sys/time.h"

#include <linux/errno.h>
#include <linux/resource.h>
#include <linux/time.h>
#include <linux/times.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "boot/process.h"
#include "sys/handlers.h"
#include "sys/user.h"

#define TICK_NS (NS_PER_SECOND / 100)

int time_get(uint64_t address, uint64_t *ret_ns)
{
    struct timespec t;
    if (user_get(&t, address, sizeof t) < 0)
        return -EFAULT;
    if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= (long)NS_PER_SECOND)
        return -EINVAL;
    uint64_t seconds = (uint64_t)t.tv_sec;
    *ret_ns = seconds > NEVER / NS_PER_SECOND - 1 ? NEVER : seconds * NS_PER_SECOND + (uint64_t)t.tv_nsec;
    return 0;
}

int time_put(uint64_t address, uint64_t ns)
{
    struct timespec t = {(long)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND)};
    return user_put(address, &t, sizeof t);
}

uint64_t time_deadline(uint64_t ns)
{
    uint64_t now = clock_monotonic_ns();
    return ns < NEVER - now ? now + ns : NEVER;
}

// A clock of clock_gettime, or NULL.
static uint64_t (*clock_of(uint64_t id))(void)
{
    static uint64_t (*const clocks[])(void) = {
        [CLOCK_REALTIME] = clock_realtime_ns,
        [CLOCK_MONOTONIC] = clock_monotonic_ns,
        [CLOCK_PROCESS_CPUTIME_ID] = clock_busy_ns,
        [CLOCK_THREAD_CPUTIME_ID] = clock_busy_ns,
        [CLOCK_MONOTONIC_RAW] = clock_monotonic_ns,
        [CLOCK_REALTIME_COARSE] = clock_realtime_ns,
        [CLOCK_MONOTONIC_COARSE] = clock_monotonic_ns,
        [CLOCK_BOOTTIME] = clock_monotonic_ns,
        [CLOCK_TAI] = clock_realtime_ns,
    };
    return id < ARRAY_LEN(clocks) ? clocks[id] : NULL;
}

int64_t sys_clock_gettime(const uint64_t a[6])
{
    uint64_t (*clock)(void) = clock_of(a[0]);
    return clock ? time_put(a[1], clock()) : -EINVAL;
}

int64_t sys_clock_getres(const uint64_t a[6])
{
    if (!clock_of(a[0]))
        return -EINVAL;
    return a[1] ? time_put(a[1], 1) : 0;
}

int64_t sys_gettimeofday(const uint64_t a[6])
{
    uint64_t ns = clock_realtime_ns();
    struct timeval t = {(long)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND / 1000)};
    struct timezone zone = {0, 0};
    if (a[0] && user_put(a[0], &t, sizeof t) < 0)
        return -EFAULT;
    return a[1] ? user_put(a[1], &zone, sizeof zone) : 0;
}

int64_t sys_time(const uint64_t a[6])
{
    int64_t seconds = (int64_t)(clock_realtime_ns() / NS_PER_SECOND);
    return a[0] && user_put(a[0], &seconds, sizeof seconds) < 0 ? -EFAULT : seconds;
}

static void sleep_until(uint64_t deadline_ns)
{
    while (clock_monotonic_ns() < deadline_ns)
        wait_event(deadline_ns);
}

int64_t sys_nanosleep(const uint64_t a[6])
{
    uint64_t ns;
    int rc = time_get(a[0], &ns);
    if (rc == 0)
        sleep_until(time_deadline(ns));
    return rc;
}

int64_t sys_clock_nanosleep(const uint64_t a[6])
{
    uint64_t ns;
    if (!clock_of(a[0]))
        return -EINVAL;
    int rc = time_get(a[2], &ns);
    if (rc < 0)
        return rc;
    if (a[1] & TIMER_ABSTIME) {
        uint64_t now = clock_of(a[0])();
        ns = ns > now ? ns - now : 0;
    }
    sleep_until(time_deadline(ns));
    return 0;
}

int64_t sys_times(const uint64_t a[6])
{
    struct tms t = {.tms_utime = (long)(clock_busy_ns() / TICK_NS)};
    if (a[0] && user_put(a[0], &t, sizeof t) < 0)
        return -EFAULT;
    return (int64_t)(clock_monotonic_ns() / TICK_NS);
}

int64_t sys_getrusage(const uint64_t a[6])
{
    struct rusage usage;
    uint64_t ns = clock_busy_ns();
    memset(&usage, 0, sizeof usage);
    usage.ru_utime.tv_sec = (long)(ns / NS_PER_SECOND);
    usage.ru_utime.tv_usec = (long)(ns % NS_PER_SECOND / 1000);
    return user_put(a[1], &usage, sizeof usage);
}
