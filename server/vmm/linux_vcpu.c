// Owns the exits of a Linux guest's vCPUs. Called by machine_linux; runs beside the I/O thread and shares
// with it only the bus, the devices' own locks and the atomics of struct linux_vcpus.
#include "linux_vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vcpu_state.h"

// Exit reasons newer than the headers of Debian 12.
#define EXIT_MEMORY_FAULT 39u

static void signal_io_thread(const struct linux_vcpus *v)
{
    const uint64_t one = 1;
    // Cannot fail short of 2^64 unread signals.
    ssize_t ignored = write(v->wake_fd, &one, sizeof one);
    (void)ignored;
}

// True for the first who ends the guest: it says how, then publishes. Always false to exit handlers.
static bool begin_end(struct linux_vcpu *cpu)
{
    return !atomic_exchange(&cpu->all->ending, true);
}

static void publish_end(struct linux_vcpu *cpu)
{
    atomic_store(&cpu->all->ended, true);
    signal_io_thread(cpu->all);
}

static bool end_failed(struct linux_vcpu *cpu, enum vmctl_cause cause, const char *text)
{
    if (begin_end(cpu)) {
        outcome_fail(&cpu->all->outcome, cause, "%s", text);
        publish_end(cpu);
    }
    return false;
}

static bool end_by_request(struct linux_vcpu *cpu, enum linux_request request)
{
    if (begin_end(cpu)) {
        struct outcome *o = &cpu->all->outcome;
        const bool off = request == LINUX_POWEROFF;
        outcome_exit(o, 0, off ? "the guest powered itself off" : "the guest asked for a restart");
        o->cause = off ? VMCTL_CAUSE_POWEROFF : VMCTL_CAUSE_REBOOT;
        publish_end(cpu);
    }
    return false;
}

static bool on_exit_io(void *arg)
{
    struct linux_vcpu *cpu = arg;
    struct kvm_run *run = cpu->kvm->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    const enum linux_request request = linux_bus_port(
        cpu->all->bus, run->io.port, run->io.direction == KVM_EXIT_IO_OUT, data, run->io.size, run->io.count);
    return request == LINUX_NOTHING || end_by_request(cpu, request);
}

static bool on_exit_mmio(void *arg)
{
    struct linux_vcpu *cpu = arg;
    struct kvm_run *run = cpu->kvm->run;
    const uint32_t len = run->mmio.len <= sizeof run->mmio.data ? run->mmio.len : sizeof run->mmio.data;
    linux_bus_mmio(cpu->all->bus, run->mmio.phys_addr, run->mmio.is_write, run->mmio.data, len);
    return true;
}

// Where it was, for the reason; the log gets the rest. Never NULL.
static const char *where(const struct linux_vcpu *cpu, char ret[64])
{
    struct vcpu_state s;
    vcpu_state_read(cpu->kvm, &s);
    if (vcpu_state_is_lost(&s))
        return "this CPU keeps no registers of it";
    snprintf(ret, 64, "vCPU %u, rip 0x%llx", (unsigned)(cpu - cpu->all->vcpus),
             (unsigned long long)s.regs.rip);
    return ret;
}

static bool on_exit_shutdown(void *arg)
{
    char at[64], text[160];
    snprintf(text, sizeof text,
             "triple fault (%s): the guest's kernel crashed beyond reporting, or restarts this way",
             where(arg, at));
    return end_failed(arg, VMCTL_CAUSE_TRIPLE_FAULT, text);
}

static bool on_exit_internal_error(void *arg)
{
    struct linux_vcpu *cpu = arg;
    const uint32_t suberror = cpu->kvm->run->internal.suberror;
    char at[64], text[160];
    snprintf(text, sizeof text, "%s (suberror %u, %s)",
             suberror == KVM_INTERNAL_ERROR_EMULATION ? "KVM cannot emulate an instruction"
                                                      : "KVM internal error",
             suberror, where(cpu, at));
    return end_failed(cpu, VMCTL_CAUSE_INTERNAL, text);
}

static bool on_exit_fail_entry(void *arg)
{
    struct linux_vcpu *cpu = arg;
    char at[64], text[160];
    snprintf(text, sizeof text, "the CPU refused to enter the guest (hardware reason 0x%llx, %s)",
             (unsigned long long)cpu->kvm->run->fail_entry.hardware_entry_failure_reason, where(cpu, at));
    return end_failed(cpu, VMCTL_CAUSE_KVM, text);
}

static bool report_no_memory(void *arg)
{
    return end_failed(arg, VMCTL_CAUSE_MEMORY, "guest memory cannot be had: the host is out of memory");
}

static bool on_exit_unexpected(void *arg)
{
    struct linux_vcpu *cpu = arg;
    char text[80];
    snprintf(text, sizeof text, "unexpected exit from the guest (KVM exit reason %u)",
             cpu->kvm->run->exit_reason);
    return end_failed(cpu, VMCTL_CAUSE_INTERNAL, text);
}

static bool on_run_failed(void *arg, int error)
{
    char text[80];
    if (error == EFAULT)
        return report_no_memory(arg);
    snprintf(text, sizeof text, "KVM_RUN failed: %s", strerror(error));
    return end_failed(arg, VMCTL_CAUSE_KVM, text);
}

// Only another vCPU could wake one that is halted with interrupts off, or start one.
static void on_interrupted(void *arg)
{
    struct linux_vcpu *cpu = arg;
    struct kvm_mp_state s = {.mp_state = KVM_MP_STATE_RUNNABLE};
    ioctl(cpu->kvm->fd, KVM_GET_MP_STATE, &s);
    const bool halted = s.mp_state == KVM_MP_STATE_HALTED && !cpu->kvm->run->if_flag;
    atomic_store(&cpu->stands_still, halted || s.mp_state == KVM_MP_STATE_UNINITIALIZED ||
                                         s.mp_state == KVM_MP_STATE_INIT_RECEIVED);
}

static void on_held(void *arg)
{
    const struct linux_vcpu *cpu = arg;
    // The guest's watchdogs shall not count the time; fails only before it has a clock.
    ioctl(cpu->kvm->fd, KVM_KVMCLOCK_CTRL, 0);
    signal_io_thread(cpu->all);
}

static void on_ended(void *arg)
{
    (void)arg; // the outcome has been published, or the I/O thread wanted it
}

static const struct vcpu_ops ops = {
    .exits =
        {
            [KVM_EXIT_IO] = on_exit_io,
            [KVM_EXIT_MMIO] = on_exit_mmio,
            [KVM_EXIT_SHUTDOWN] = on_exit_shutdown,
            [KVM_EXIT_INTERNAL_ERROR] = on_exit_internal_error,
            [KVM_EXIT_FAIL_ENTRY] = on_exit_fail_entry,
            [EXIT_MEMORY_FAULT] = report_no_memory,
        },
    .unexpected = on_exit_unexpected,
    .interrupted = on_interrupted,
    .failed = on_run_failed,
    .held = on_held,
    .ended = on_ended,
};

int linux_vcpus_init(struct linux_vcpus *v, const struct kvm_vm *vm, struct linux_bus *bus, int wake_fd,
                     struct err *err)
{
    v->bus = bus;
    v->wake_fd = wake_fd;
    for (v->n = 0; v->n < vm->n_vcpus; v->n++) {
        struct linux_vcpu *cpu = &v->vcpus[v->n];
        cpu->all = v;
        cpu->kvm = &vm->vcpus[v->n];
        int rc = vcpu_thread_init(&cpu->thread, &ops, cpu, cpu->kvm, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int linux_vcpus_start(struct linux_vcpus *v, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < v->n; i++)
        rc = vcpu_thread_start(&v->vcpus[i].thread, err);
    return rc;
}

void linux_vcpus_stop(struct linux_vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++)
        vcpu_thread_stop(&v->vcpus[i].thread);
}

void linux_vcpus_hold(struct linux_vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++)
        vcpu_thread_hold(&v->vcpus[i].thread);
}

void linux_vcpus_release(struct linux_vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++)
        vcpu_thread_release(&v->vcpus[i].thread);
}

bool linux_vcpus_held(const struct linux_vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++)
        if (!atomic_load(&v->vcpus[i].thread.is_held))
            return false;
    return true;
}

// Two looks, for of two vCPUs the one that was looked at first may be woken by the other before that halts.
bool linux_vcpus_look_dead(struct linux_vcpus *v)
{
    bool all = true;
    for (unsigned i = 0; i < v->n; i++)
        all = atomic_exchange(&v->vcpus[i].stands_still, false) && all;
    v->n_still = all ? v->n_still + 1 : 0;
    if (v->n_still >= 2)
        return true;
    for (unsigned i = 0; i < v->n; i++)
        vcpu_thread_kick(&v->vcpus[i].thread);
    return false;
}

uint64_t linux_vcpus_cpu_ns(const struct linux_vcpus *v)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < v->n; i++)
        sum += vcpu_thread_cpu_ns(&v->vcpus[i].thread);
    return sum;
}

const struct outcome *linux_vcpus_outcome(const struct linux_vcpus *v)
{
    return atomic_load(&v->ended) ? &v->outcome : NULL;
}
