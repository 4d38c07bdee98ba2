// System calls of the process itself: identity, limits, registers, futex, the end.
#include <asm/prctl.h>
#include <linux/errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/random.h"
#include "base/string.h"
#include "base/wait.h"
#include "boot/process.h"
#include "drivers/rng.h"
#include "fs/file.h"
#include "mem/pages.h"
#include "sys/handlers.h"
#include "sys/time.h"
#include "sys/user.h"

#define LIMIT_NONE    UINT64_MAX
#define LIMIT_COUNT   16u
#define ADDRESS_LIMIT (1ull << 47)
#define CPU_SET_BYTES 8
#define NAME_BYTES    16

int64_t sys_exit(const uint64_t a[6])
{
    process_exit((int)(a[0] & 0xff));
}

int64_t sys_one(const uint64_t a[6])
{
    (void)a;
    return PROCESS_ID;
}

int64_t sys_getresid(const uint64_t a[6])
{
    uint32_t root = 0;
    for (int i = 0; i < 3; i++)
        if (user_put(a[i], &root, sizeof root) < 0)
            return -EFAULT;
    return 0;
}

int64_t sys_uname(const uint64_t a[6])
{
    struct new_utsname name;
    memset(&name, 0, sizeof name);
    memcpy(name.sysname, "Linux", 6); // its system calls are what is served
    memcpy(name.nodename, "cell", 5);
    memcpy(name.release, "6.1.0-cell", 11);
    memcpy(name.version, "envd " ENVD_VERSION, sizeof "envd " ENVD_VERSION);
    memcpy(name.machine, "x86_64", 7);
    memcpy(name.domainname, "(none)", 7);
    return user_put(a[0], &name, sizeof name);
}

int64_t sys_sysinfo(const uint64_t a[6])
{
    struct sysinfo info;
    memset(&info, 0, sizeof info);
    info.uptime = (long)((clock_monotonic_ns() - clock_start_ns()) / NS_PER_SECOND);
    info.totalram = cell_boot()->memory_bytes;
    info.freeram = pages_free_count() * PAGE_BYTES;
    info.procs = 1;
    info.mem_unit = 1;
    return user_put(a[0], &info, sizeof info);
}

static int64_t put_limit(uint64_t resource, uint64_t out)
{
    uint64_t v = LIMIT_NONE;
    if (resource >= LIMIT_COUNT)
        return -EINVAL;
    if (resource == RLIMIT_STACK)
        v = process_stack_bytes();
    else if (resource == RLIMIT_NOFILE)
        v = FILES_MAX;
    else if (resource == RLIMIT_NPROC)
        v = 1;
    else if (resource == RLIMIT_CORE)
        v = 0;
    uint64_t pair[2] = {v, v};
    return user_put(out, pair, sizeof pair);
}

int64_t sys_getrlimit(const uint64_t a[6])
{
    return put_limit(a[0], a[1]);
}

// New limits are accepted and change nothing: the environment's own bound the program.
int64_t sys_prlimit64(const uint64_t a[6])
{
    if (a[0] && a[0] != PROCESS_ID)
        return -ESRCH;
    if (a[1] >= LIMIT_COUNT)
        return -EINVAL;
    return a[3] ? put_limit(a[1], a[3]) : 0;
}

static void set_fs_base(uint64_t base)
{
    if (cell_boot()->cpu_has_fsgsbase) {
        __asm__ volatile("wrfsbase %0" : : "r"(base));
        return;
    }
    cell_shared()->fsbase = base;
    port_out(CELL_PORT_FSBASE, 0);
}

int64_t sys_arch_prctl(const uint64_t a[6])
{
    static uint64_t fs_base; // for CPUs that cannot tell
    uint64_t base;
    switch (a[0]) {
    case ARCH_SET_FS:
        if (a[1] >= ADDRESS_LIMIT)
            return -EPERM;
        fs_base = a[1];
        set_fs_base(a[1]);
        return 0;
    case ARCH_GET_FS:
        base = fs_base;
        if (cell_boot()->cpu_has_fsgsbase)
            __asm__ volatile("rdfsbase %0" : "=r"(base));
        return user_put(a[1], &base, sizeof base);
    case ARCH_SET_GS:
        if (a[1] >= ADDRESS_LIMIT)
            return -EPERM;
        if (!cell_boot()->cpu_has_fsgsbase)
            return -EINVAL;
        __asm__ volatile("wrgsbase %0" : : "r"(a[1]));
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_set_tid_address(const uint64_t a[6])
{
    (void)a;
    return PROCESS_ID;
}

// Waits while the word has the value. There is no other thread, so only time can end a wait.
static int64_t futex_wait(const uint64_t a[6], bool absolute)
{
    uint32_t value;
    uint64_t ns = 0, deadline = NEVER;
    if (user_get(&value, a[0], sizeof value) < 0)
        return -EFAULT;
    if (value != (uint32_t)a[2])
        return -EAGAIN;
    int rc = a[3] ? time_get(a[3], &ns) : 0;
    if (rc < 0)
        return rc;
    if (a[3] && absolute) {
        uint64_t now = a[1] & FUTEX_CLOCK_REALTIME ? clock_realtime_ns() : clock_monotonic_ns();
        ns = ns > now ? ns - now : 0;
    }
    if (a[3])
        deadline = time_deadline(ns);
    while (clock_monotonic_ns() < deadline)
        wait_event(deadline);
    return -ETIMEDOUT;
}

int64_t sys_futex(const uint64_t a[6])
{
    switch (a[1] & (uint64_t)FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
        return futex_wait(a, false);
    case FUTEX_WAIT_BITSET:
        return futex_wait(a, true);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        return 0; // nobody waits
    default:
        return -ENOSYS;
    }
}

int64_t sys_sched_getaffinity(const uint64_t a[6])
{
    uint64_t cpus = 1;
    if (a[1] < CPU_SET_BYTES)
        return -EINVAL;
    return user_put(a[2], &cpus, CPU_SET_BYTES) < 0 ? -EFAULT : CPU_SET_BYTES;
}

int64_t sys_getcpu(const uint64_t a[6])
{
    uint32_t zero = 0;
    if ((a[0] && user_put(a[0], &zero, sizeof zero) < 0) || (a[1] && user_put(a[1], &zero, sizeof zero) < 0))
        return -EFAULT;
    return 0;
}

int64_t sys_membarrier(const uint64_t a[6])
{
    // With one thread every barrier is done already.
    return a[0] == MEMBARRIER_CMD_QUERY ? MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
                                              MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
                                        : 0;
}

int64_t sys_getrandom(const uint64_t a[6])
{
    if (!user_ok(a[0], a[1]))
        return -EFAULT;
    if (a[2] > 7)
        return -EINVAL;
    rng_request();
    random_bytes((void *)a[0], a[1]);
    return (int64_t)a[1];
}

int64_t sys_prctl(const uint64_t a[6])
{
    static char name[NAME_BYTES] = "cell";
    switch (a[0]) {
    case PR_SET_NAME:
        if (user_get(name, a[1], NAME_BYTES) < 0)
            return -EFAULT;
        name[NAME_BYTES - 1] = 0;
        return 0;
    case PR_GET_NAME:
        return user_put(a[1], name, NAME_BYTES);
    case PR_SET_DUMPABLE:
    case PR_SET_PDEATHSIG:
    case PR_SET_NO_NEW_PRIVS:
        return 0;
    case PR_GET_DUMPABLE:
        return 1;
    default:
        return -EINVAL;
    }
}

int64_t sys_getgroups(const uint64_t a[6])
{
    (void)a;
    return 0;
}

int64_t sys_wait4(const uint64_t a[6])
{
    (void)a;
    return -ECHILD;
}
