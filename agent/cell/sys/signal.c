// System calls of signals. Handlers are recorded and never called: nobody can send this program a signal but
// itself, and then the default action is what counts. SIGPIPE is no signal here: a write returns EPIPE.
#include <asm/signal.h>
#include <linux/errno.h>

#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "boot/process.h"
#include "sys/handlers.h"
#include "sys/user.h"

#define SIGNALS          64
#define SIGNAL_STACK_OFF 2 // SS_DISABLE

struct action { // as rt_sigaction passes it
    uint64_t handler, flags, restorer, mask;
};

static struct action actions[SIGNALS + 1] KERNEL_COLD;
static uint64_t blocked;

static bool is_ignored_by_default(uint64_t signal)
{
    return signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
}

int64_t sys_rt_sigaction(const uint64_t a[6])
{
    struct action fresh = {.handler = 0};
    if (!a[0] || a[0] > SIGNALS || (a[1] && (a[0] == SIGKILL || a[0] == SIGSTOP)))
        return -EINVAL;
    if (a[1] && user_get(&fresh, a[1], sizeof fresh) < 0)
        return -EFAULT;
    if (a[2] && user_put(a[2], &actions[a[0]], sizeof actions[0]) < 0)
        return -EFAULT;
    if (a[1])
        actions[a[0]] = fresh;
    return 0;
}

int64_t sys_rt_sigprocmask(const uint64_t a[6])
{
    uint64_t set = 0, old = blocked;
    if (a[1] && user_get(&set, a[1], sizeof set) < 0)
        return -EFAULT;
    if (a[1]) {
        if (a[0] == SIG_BLOCK)
            blocked |= set;
        else if (a[0] == SIG_UNBLOCK)
            blocked &= ~set;
        else if (a[0] == SIG_SETMASK)
            blocked = set;
        else
            return -EINVAL;
    }
    return a[2] ? user_put(a[2], &old, sizeof old) : 0;
}

int64_t sys_rt_sigpending(const uint64_t a[6])
{
    uint64_t none = 0;
    return user_put(a[0], &none, sizeof none);
}

int64_t sys_sigaltstack(const uint64_t a[6])
{
    stack_t none = {.ss_flags = SIGNAL_STACK_OFF};
    return a[1] ? user_put(a[1], &none, sizeof none) : 0;
}

static int64_t send_to_self(uint64_t signal)
{
    static bool said;
    if (signal > SIGNALS)
        return -EINVAL;
    if (!signal)
        return 0;
    uint64_t handler = actions[signal].handler;
    if (handler == (uint64_t)SIG_IGN || (handler == (uint64_t)SIG_DFL && is_ignored_by_default(signal)))
        return 0;
    if (handler == (uint64_t)SIG_DFL || signal == SIGKILL)
        process_kill((int)signal);
    if (!said)
        kernel_log("signal %lu: handlers are not called", signal);
    said = true;
    return 0;
}

int64_t sys_kill(const uint64_t a[6])
{
    int pid = (int)a[0];
    // Also its group: 0 and -1, which is every process as well.
    return pid == PROCESS_ID || pid == 0 || pid == -PROCESS_ID ? send_to_self(a[1]) : -ESRCH;
}

int64_t sys_tkill(const uint64_t a[6])
{
    return (int)a[0] == PROCESS_ID ? send_to_self(a[1]) : -ESRCH;
}

int64_t sys_tgkill(const uint64_t a[6])
{
    return (int)a[0] == PROCESS_ID && (int)a[1] == PROCESS_ID ? send_to_self(a[2]) : -ESRCH;
}

// Nothing will ever come: the program waits until the host ends it.
int64_t sys_pause(const uint64_t a[6])
{
    (void)a;
    for (;;)
        wait_event(NEVER);
}
