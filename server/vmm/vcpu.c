// Owns the vCPU thread. Each exit reason has a row in exit_handlers, each port of the boot contract one in
// ports; what has none ends the VM with a report. Called by machine; runs beside the I/O thread and shares
// with it only the atomics of struct vcpu, the shared page and the devices' own locks.
#include "vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "boot/layout.h"
#include "common/checked.h"
#include "common/io.h"
#include "fault.h"
#include "virtio/mmio.h"

#define SPIN_MAX_NS 20000ull

// Exit reasons newer than the headers of Debian 12.
#define EXIT_MEMORY_FAULT 39u

static struct fault_context fault_context(const struct vcpu *v)
{
    return (struct fault_context){.cell = v->config.kvm, .mem = v->config.mem, .kernel = &v->config.kernel};
}

static void signal_io_thread(const struct vcpu *v)
{
    const uint64_t one = 1;
    // Cannot fail short of 2^64 unread signals.
    ssize_t ignored = write(v->config.wake_fd, &one, sizeof one);
    (void)ignored;
}

// The words of the shared page that both threads and the guest touch.
static uint32_t shared_load(const volatile uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void shared_store(volatile uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

// ---- idling ----

static void futex_wait_until(atomic_uint *word, uint64_t monotonic_ns)
{
    const struct timespec at = {.tv_sec = (time_t)(monotonic_ns / 1000000000u),
                                .tv_nsec = (long)(monotonic_ns % 1000000000u)};
    const struct timespec *deadline = monotonic_ns > INT64_MAX ? NULL : &at;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, deadline, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

static bool has_work(const struct vcpu *v)
{
    return shared_load(&v->shared->pending) || vcpu_thread_stopping(&v->thread);
}

// Sleeps until there is work or the time has come.
static void sleep_until(struct vcpu *v, uint64_t until_ns)
{
    atomic_store(&v->wake, 0);
    atomic_store(&v->idle, 1);
    atomic_thread_fence(memory_order_seq_cst); // idle before pending; pairs with vcpu_notify()
    while (!has_work(v) && !atomic_load(&v->wake) && io_monotonic_ns() < until_ns)
        futex_wait_until(&v->wake, until_ns);
    atomic_store(&v->idle, 0);
}

// The next answer is often only microseconds away: looking for that long is cheaper than sleeping. Grows when
// sleeps turn out short, shrinks when they do not.
static void spin(const struct vcpu *v, uint64_t until_ns)
{
    while (!has_work(v) && io_monotonic_ns() < until_ns)
        __builtin_ia32_pause();
}

static bool on_port_idle(struct vcpu *v, uint32_t untrusted_value)
{
    (void)untrusted_value;
    const uint64_t wake_ns = v->shared->wake_ns; // any value will do
    const uint64_t start = io_monotonic_ns();
    const uint64_t spin_end = start + v->spin_ns;
    spin(v, spin_end < wake_ns ? spin_end : wake_ns);
    if (!has_work(v) && io_monotonic_ns() < wake_ns) {
        sleep_until(v, wake_ns);
        v->spin_ns = io_monotonic_ns() - start <= 2 * SPIN_MAX_NS ? SPIN_MAX_NS : v->spin_ns / 2;
    }
    if (atomic_exchange(&v->clock_stopped, false)) {
        clock_page_refresh(v->config.clock);
        signal_io_thread(v);
    }
    return true;
}

bool vcpu_clock_pause(struct vcpu *v)
{
    if (!atomic_load(&v->idle))
        return false;
    atomic_store(&v->clock_stopped, true);
    // Idle ended meanwhile: either it took the flag and signals, or we take it back.
    if (!atomic_load(&v->idle) && atomic_exchange(&v->clock_stopped, false))
        return false;
    return true;
}

bool vcpu_notify(struct vcpu *v)
{
    shared_store(&v->shared->pending, 1);
    atomic_thread_fence(memory_order_seq_cst); // pending before idle; pairs with sleep_until()
    if (!atomic_load(&v->idle))
        return true;
    atomic_store(&v->wake, 1);
    syscall(SYS_futex, &v->wake, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    return false;
}

// ---- ports ----

static bool on_port_exit(struct vcpu *v, uint32_t untrusted_value)
{
    outcome_exit(&v->outcome, (int32_t)(untrusted_value & 0xff), "");
    return false;
}

static bool on_port_panic(struct vcpu *v, uint32_t untrusted_value)
{
    (void)untrusted_value;
    char text[sizeof v->shared->panic_text];
    memcpy(text, v->shared->panic_text, sizeof text);
    text[sizeof text - 1] = '\0';
    for (char *p = text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    outcome_fail(&v->outcome, VMCTL_CAUSE_INTERNAL, "the cell kernel gave up: %s", text);
    return false;
}

static bool on_port_fsbase(struct vcpu *v, uint32_t untrusted_value)
{
    (void)untrusted_value;
    const int vcpu_fd = v->config.kvm->vm.vcpus[0].fd;
    const struct fault_context c = fault_context(v);
    const uint64_t untrusted_base = v->shared->fsbase;
    struct kvm_sregs s;
    if ((uint64_t)((int64_t)(untrusted_base << 16) >> 16) != untrusted_base) {
        fault_report_stop(&c, VMCTL_CAUSE_GUEST_FAULT, "FS.base set to an address that is not canonical",
                          &v->outcome);
        return false;
    }
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) == 0) {
        s.fs.base = untrusted_base;
        if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) == 0)
            return true;
    }
    outcome_fail(&v->outcome, VMCTL_CAUSE_KVM, "KVM could not set FS.base: %s", strerror(errno));
    return false;
}

static bool on_port_fault(struct vcpu *v, uint32_t untrusted_value)
{
    const struct fault_context c = fault_context(v);
    fault_report_vector(&c, untrusted_value, &v->outcome);
    return false;
}

static const struct {
    uint16_t port;
    bool (*handle)(struct vcpu *v, uint32_t untrusted_value);
} ports[] = {
    {CELL_PORT_IDLE, on_port_idle},     {CELL_PORT_EXIT, on_port_exit},   {CELL_PORT_PANIC, on_port_panic},
    {CELL_PORT_FSBASE, on_port_fsbase}, {CELL_PORT_FAULT, on_port_fault},
};

// ---- exits: true = the guest goes on, false = v->outcome says how it ended ----

static bool on_exit_io(void *arg)
{
    struct vcpu *v = arg;
    const struct kvm_run *run = v->run;
    const bool is_out32 = run->io.direction == KVM_EXIT_IO_OUT && run->io.size == 4 && run->io.count == 1;
    for (size_t i = 0; is_out32 && i < ARRAY_LEN(ports); i++) {
        if (ports[i].port != run->io.port)
            continue;
        uint32_t untrusted_value;
        memcpy(&untrusted_value, (const char *)run + run->io.data_offset, sizeof untrusted_value);
        return ports[i].handle(v, untrusted_value);
    }
    char text[80];
    snprintf(text, sizeof text, "%u-byte port access at 0x%x, which no device has", run->io.size,
             run->io.port);
    const struct fault_context c = fault_context(v);
    fault_report_stop(&c, VMCTL_CAUSE_GUEST_FAULT, text, &v->outcome);
    return false;
}

static bool on_exit_mmio(void *arg)
{
    struct vcpu *v = arg;
    struct kvm_run *run = v->run;
    const uint64_t gpa = run->mmio.phys_addr;
    const uint64_t page = gpa >= CELL_MMIO_GPA ? (gpa - CELL_MMIO_GPA) / CELL_MMIO_STRIDE : UINT64_MAX;
    if (page >= v->config.n_mmio) {
        const struct fault_context c = fault_context(v);
        fault_report_access(&c, gpa, run->mmio.is_write, &v->outcome);
        return false;
    }
    const uint32_t len = run->mmio.len <= sizeof run->mmio.data ? run->mmio.len : sizeof run->mmio.data;
    struct virtio_mmio *mmio = &v->config.mmio[page];
    if (run->mmio.is_write)
        virtio_mmio_write(mmio, gpa % CELL_MMIO_STRIDE, run->mmio.data, len);
    else
        virtio_mmio_read(mmio, gpa % CELL_MMIO_STRIDE, run->mmio.data, len);
    return true;
}

static bool on_exit_shutdown(void *arg)
{
    struct vcpu *v = arg;
    const struct fault_context c = fault_context(v);
    fault_report_shutdown(&c, &v->outcome);
    return false;
}

static bool on_exit_internal_error(void *arg)
{
    struct vcpu *v = arg;
    const struct kvm_run *run = v->run;
    char text[96];
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        snprintf(text, sizeof text, "KVM cannot emulate an instruction");
    else
        snprintf(text, sizeof text, "KVM internal error %u", run->internal.suberror);
    const struct fault_context c = fault_context(v);
    fault_report_stop(&c, VMCTL_CAUSE_INTERNAL, text, &v->outcome);
    return false;
}

static bool on_exit_fail_entry(void *arg)
{
    struct vcpu *v = arg;
    const struct kvm_run *run = v->run;
    char text[80];
    snprintf(text, sizeof text, "the CPU refused to enter the guest (hardware reason 0x%llx)",
             (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
    const struct fault_context c = fault_context(v);
    fault_report_stop(&c, VMCTL_CAUSE_KVM, text, &v->outcome);
    return false;
}

static bool report_no_memory(void *arg)
{
    struct vcpu *v = arg;
    const struct fault_context c = fault_context(v);
    fault_report_stop(
        &c, VMCTL_CAUSE_MEMORY,
        "guest memory cannot be had: the host is out of memory, or a file that is mapped into it was cut off",
        &v->outcome);
    return false;
}

static bool on_exit_unexpected(void *arg)
{
    struct vcpu *v = arg;
    char text[64];
    snprintf(text, sizeof text, "unexpected exit from the guest (KVM exit reason %u)", v->run->exit_reason);
    const struct fault_context c = fault_context(v);
    fault_report_stop(&c, VMCTL_CAUSE_INTERNAL, text, &v->outcome);
    return false;
}

// ---- the upcall ----

static bool upcall_possible(const struct vcpu *v)
{
    const struct kvm_sync_regs *sync = &v->run->s.regs;
    const struct kvm_vcpu_events *e = &sync->events;
    const uint64_t rip = sync->regs.rip;
    const bool in_kernel = shared_load(&v->shared->in_kernel) ||
                           (rip >= v->config.kernel.text_start && rip < v->config.kernel.text_end);
    const bool in_stubs = rip < BOOT_SUPER_END;
    const bool in_event = e->exception.injected || e->exception.pending || e->interrupt.injected ||
                          e->nmi.injected || e->nmi.pending;
    return shared_load(&v->shared->pending) && !in_kernel && !in_stubs && !in_event;
}

// The guest was kicked out of KVM_RUN, and what an earlier exit left undone is done: registers can be
// changed.
static void try_upcall(void *arg)
{
    struct vcpu *v = arg;
    if (!upcall_possible(v))
        return; // the I/O thread comes again
    struct kvm_run *run = v->run;
    struct kvm_regs *regs = &run->s.regs.regs;
    v->shared->upcall.rip = regs->rip;
    v->shared->upcall.rsp = regs->rsp;
    v->shared->upcall.rflags = regs->rflags;
    shared_store(&v->shared->in_kernel, 1);
    regs->rip = v->config.kernel.upcall;
    regs->rflags = KVM_CELL_RFLAGS; // the program's DF, TF and AC are none of the kernel's
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

bool vcpu_nudge(struct vcpu *v)
{
    if (!shared_load(&v->shared->pending) || atomic_load(&v->idle) || atomic_load(&v->ended))
        return false;
    if (!shared_load(&v->shared->in_kernel))
        vcpu_thread_kick(&v->thread);
    return true;
}

bool vcpu_is_late(const struct vcpu *v, uint64_t monotonic_ns)
{
    return !atomic_load(&v->idle) && !atomic_load(&v->ended) &&
           __atomic_load_n(&v->shared->wake_ns, __ATOMIC_RELAXED) <= monotonic_ns;
}

// ---- the thread ----

static bool on_run_failed(void *arg, int error)
{
    struct vcpu *v = arg;
    if (error == EFAULT)
        return report_no_memory(v);
    outcome_fail(&v->outcome, VMCTL_CAUSE_KVM, "KVM_RUN failed: %s", strerror(error));
    return false;
}

static void on_held(void *arg)
{
    signal_io_thread(arg);
}

static void on_ended(void *arg)
{
    struct vcpu *v = arg;
    atomic_store(&v->ended, true);
    signal_io_thread(v);
}

static const struct vcpu_ops ops = {
    .valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS,
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
    .interrupted = try_upcall,
    .failed = on_run_failed,
    .held = on_held,
    .ended = on_ended,
};

int vcpu_init(struct vcpu *v, const struct vcpu_config *config, struct err *err)
{
    memset(v, 0, sizeof *v);
    v->config = *config;
    v->run = config->kvm->vm.vcpus[0].run;
    v->shared = guest_memory_at(config->mem, CELL_SHARED_GPA, sizeof *v->shared);
    if (!v->shared)
        return err_set(err, -EINVAL, "memory does not reach to the shared page");
    outcome_exit(&v->outcome, 0, "stopped by the host");
    return vcpu_thread_init(&v->thread, &ops, v, &config->kvm->vm.vcpus[0], err);
}

int vcpu_start(struct vcpu *v, struct err *err)
{
    return vcpu_thread_start(&v->thread, err);
}

static void wake_from_idle(struct vcpu *v)
{
    atomic_store(&v->wake, 1);
    syscall(SYS_futex, &v->wake, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

void vcpu_stop(struct vcpu *v)
{
    if (!v->thread.started)
        return;
    atomic_store(&v->thread.stopping, true);
    wake_from_idle(v);
    vcpu_thread_stop(&v->thread);
}

void vcpu_hold(struct vcpu *v)
{
    vcpu_thread_hold(&v->thread);
    wake_from_idle(v);
}

void vcpu_release(struct vcpu *v)
{
    vcpu_thread_release(&v->thread);
}

bool vcpu_is_held(const struct vcpu *v)
{
    return atomic_load(&v->thread.is_held);
}

const struct outcome *vcpu_outcome(const struct vcpu *v)
{
    return atomic_load(&v->ended) ? &v->outcome : NULL;
}
