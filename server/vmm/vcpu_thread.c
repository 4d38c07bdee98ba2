// Owns the life of a vCPU's thread and the loop around KVM_RUN. Called by vcpu (cells) and linux_vcpu; knows
// no device.
#include "vcpu_thread.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1
#define STACK_BYTES (128u << 10)

static _Thread_local struct kvm_run *running;

// A kick between two KVM_RUNs must not be lost: the flag makes the next one return at once.
static void on_kick(int sig)
{
    (void)sig;
    if (running)
        running->immediate_exit = 1;
}

// By number: pthread_kill() is a different system call in every C library, and the sandbox names them.
void vcpu_thread_kick(const struct vcpu_thread *t)
{
    const pid_t tid = atomic_load(&t->tid);
    if (tid)
        syscall(SYS_tgkill, t->pid, tid, KICK_SIGNAL);
}

static void wake(struct vcpu_thread *t)
{
    syscall(SYS_futex, &t->hold, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

void vcpu_thread_hold(struct vcpu_thread *t)
{
    atomic_store(&t->hold, 1);
    vcpu_thread_kick(t);
    // Released a moment ago it may not have woken up yet: then it goes on standing still, and says nothing.
    if (atomic_load(&t->is_held) && t->ops->held)
        t->ops->held(t->arg);
}

void vcpu_thread_release(struct vcpu_thread *t)
{
    atomic_store(&t->hold, 0);
    wake(t);
}

bool vcpu_thread_stopping(const struct vcpu_thread *t)
{
    return atomic_load(&t->stopping) || atomic_load(&t->hold);
}

static void stand_still(struct vcpu_thread *t)
{
    atomic_store(&t->is_held, true);
    if (t->ops->held)
        t->ops->held(t->arg);
    while (atomic_load(&t->hold) && !atomic_load(&t->stopping))
        syscall(SYS_futex, &t->hold, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    atomic_store(&t->is_held, false);
}

static bool on_run_failed(struct vcpu_thread *t, int error)
{
    if (error == EINTR) {
        t->vcpu->run->immediate_exit = 0;
        if (t->ops->interrupted)
            t->ops->interrupted(t->arg);
        return true;
    }
    return error == EAGAIN || t->ops->failed(t->arg, error);
}

static bool run_once(struct vcpu_thread *t)
{
    if (ioctl(t->vcpu->fd, KVM_RUN, 0) < 0)
        return on_run_failed(t, errno);
    const uint32_t reason = t->vcpu->run->exit_reason;
    vcpu_exit *handle = reason < VCPU_EXITS_MAX ? t->ops->exits[reason] : NULL;
    return handle ? handle(t->arg) : t->ops->unexpected(t->arg);
}

static void *thread_main(void *arg)
{
    struct vcpu_thread *t = arg;
    running = t->vcpu->run;
    running->kvm_valid_regs = t->ops->valid_regs;
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    atomic_store(&t->tid, gettid());
    bool goes_on = true;
    while (goes_on && !atomic_load(&t->stopping)) {
        if (atomic_load(&t->hold))
            stand_still(t);
        else
            goes_on = run_once(t);
    }
    atomic_store(&t->tid, 0);
    t->ops->ended(t->arg);
    return NULL;
}

int vcpu_thread_init(struct vcpu_thread *t, const struct vcpu_ops *ops, void *arg,
                     const struct kvm_vcpu *vcpu, struct err *err)
{
    memset(t, 0, sizeof *t);
    t->ops = ops;
    t->arg = arg;
    t->vcpu = vcpu;
    t->pid = getpid();
    // Blocked everywhere but in vCPU threads, so that a kick never hits the I/O thread.
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &kick, NULL);
    const struct sigaction action = {.sa_handler = on_kick};
    if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
        return err_errno(err, -errno, "sigaction");
    return 0;
}

int vcpu_thread_start(struct vcpu_thread *t, struct err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES < (size_t)PTHREAD_STACK_MIN ? (size_t)PTHREAD_STACK_MIN
                                                                             : STACK_BYTES);
    int rc = pthread_create(&t->thread, &attr, thread_main, t);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return err_errno(err, -rc, "start the vCPU thread");
    t->started = true;
    return 0;
}

uint64_t vcpu_thread_cpu_ns(const struct vcpu_thread *t)
{
    clockid_t clock;
    struct timespec at;
    if (!t->started || pthread_getcpuclockid(t->thread, &clock) != 0 || clock_gettime(clock, &at) < 0)
        return 0;
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

void vcpu_thread_stop(struct vcpu_thread *t)
{
    if (!t->started)
        return;
    atomic_store(&t->stopping, true);
    wake(t);
    vcpu_thread_kick(t);
    pthread_join(t->thread, NULL);
    t->started = false;
}
