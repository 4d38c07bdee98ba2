// Tests of the vCPU thread (server/vmm/vcpu.c, fault.c, kvm.c, boot/tables.c) with tiny guests on the KVM of
// this machine, whichever flavour it is. Skipped without a usable /dev/kvm.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "boot/layout.h"
#include "boot/tables.h"
#include "common/io.h"
#include "vcpu.h"

#define MEMORY_BYTES    (8u << 20)
#define KERNEL_CODE     0x31000u // inside the kernel's text
#define UPCALL_CODE     0x31400u
#define DIRECT_CODE     0x31800u
#define SAVED_CODE      0x31c00u
#define TEXT_END        0x32000u
#define PROGRAM_CODE    0x200000u
#define DATA            0x300000u
#define STACK           0x310000u
#define CHECKSUM_ROUNDS 50000000u

// guest_code.S has these as numbers.
_Static_assert(CELL_SHARED_GPA == 0xf000 && offsetof(struct cell_shared, pending) == 0x28 &&
                   offsetof(struct cell_shared, in_kernel) == 0x2c &&
                   offsetof(struct cell_shared, wake_ns) == 0x30 &&
                   offsetof(struct cell_shared, syscall_rip) == 0x38 &&
                   offsetof(struct cell_shared, fsbase) == 0x40 &&
                   offsetof(struct cell_shared, upcall) == 0x48 &&
                   offsetof(struct cell_shared, panic_text) == 0x60,
               "layout");

#define SNIPPET(name) extern const uint8_t guest_##name[], guest_##name##_end[]
SNIPPET(exit_42);
SNIPPET(write_null);
SNIPPET(read_unmapped);
SNIPPET(read_file_page);
SNIPPET(write_page_table);
SNIPPET(jump_null);
SNIPPET(undefined_opcode);
SNIPPET(divide_by_zero);
SNIPPET(breakpoint);
SNIPPET(other_port);
SNIPPET(fault_port);
SNIPPET(byte_port);
SNIPPET(halt);
SNIPPET(read_no_device);
SNIPPET(panic);
SNIPPET(idle_rounds);
SNIPPET(follow_ring);
SNIPPET(fsbase);
SNIPPET(fsbase_bad);
SNIPPET(syscall);
SNIPPET(kernel_syscall_direct);
SNIPPET(kernel_syscall_saved);
SNIPPET(spin);
SNIPPET(kernel_upcall);
SNIPPET(checksum);
SNIPPET(kernel_spin);
SNIPPET(spin_in_kernel);
SNIPPET(vector);

struct rig {
    struct guest_memory mem;
    struct kvm_cell kvm;
    struct clock_page clock;
    struct cell_shared *shared;
    struct vcpu vcpu;
    int wake_fd;
};

static int kvm_fd = -1;

static void put(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end)
{
    memcpy(guest_memory_at(&r->mem, gpa, (uint64_t)(end - code)), code, (size_t)(end - code));
}

static volatile uint32_t *data32(struct rig *r, uint64_t offset)
{
    return guest_memory_at(&r->mem, DATA + offset, 4);
}

static uint64_t data64(struct rig *r, uint64_t offset)
{
    uint64_t v;
    memcpy(&v, guest_memory_at(&r->mem, DATA + offset, 8), 8);
    return v;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err err;
    if (guest_memory_init(&r->mem, MEMORY_BYTES, GUEST_MEMORY_SMALL_PAGES, &err) < 0 ||
        kvm_cell_init(&r->kvm, kvm_fd, &r->mem, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    const struct cell_kernel_header header = {.magic = CELL_KERNEL_MAGIC,
                                              .version = CELL_VERSION,
                                              .entry = KERNEL_CODE,
                                              .syscall_direct = DIRECT_CODE,
                                              .syscall_saved = SAVED_CODE,
                                              .upcall = UPCALL_CODE,
                                              .text_start = KERNEL_CODE,
                                              .text_end = TEXT_END};
    boot_tables_write(&r->mem, &header);
    put(r, UPCALL_CODE, guest_kernel_upcall, guest_kernel_upcall_end);
    put(r, DIRECT_CODE, guest_kernel_syscall_direct, guest_kernel_syscall_direct_end);
    put(r, SAVED_CODE, guest_kernel_syscall_saved, guest_kernel_syscall_saved_end);
    r->shared = guest_memory_at(&r->mem, CELL_SHARED_GPA, sizeof *r->shared);
    r->shared->in_kernel = 1;
    r->shared->wake_ns = UINT64_MAX;
    clock_page_init(&r->clock, r->shared, r->kvm.tsc_khz);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const struct vcpu_config config = {
        .kvm = &r->kvm, .mem = &r->mem, .kernel = header, .clock = &r->clock, .wake_fd = r->wake_fd};
    if (vcpu_init(&r->vcpu, &config, &err) < 0)
        return -1;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    vcpu_stop(&r->vcpu);
    clock_page_done(&r->clock);
    kvm_vm_done(&r->kvm.vm);
    guest_memory_done(&r->mem);
    close(r->wake_fd);
    free(r);
    return 0;
}

static void start_at(struct rig *r, uint64_t rip)
{
    struct err err;
    const struct kvm_start start = {.rip = rip,
                                    .rdi = CELL_BOOT_GPA,
                                    .lstar =
                                        r->kvm.flavour == CELL_FLAVOUR_PVM ? DIRECT_CODE : BOOT_SYSCALL_GPA};
    assert_int_equal(kvm_cell_set_start(&r->kvm, &start, &err), 0);
    assert_int_equal(vcpu_start(&r->vcpu, &err), 0);
}

static const struct outcome *wait_outcome(struct rig *r)
{
    for (int i = 0; i < 100; i++) {
        const struct outcome *o = vcpu_outcome(&r->vcpu);
        if (o)
            return o;
        uint64_t count;
        struct pollfd p = {.fd = r->wake_fd, .events = POLLIN};
        poll(&p, 1, 100);
        ssize_t ignored = read(r->wake_fd, &count, sizeof count);
        (void)ignored;
    }
    fail_msg("the guest did not end within 10 s");
    return NULL;
}

static const struct outcome *run(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end)
{
    put(r, gpa, code, end);
    start_at(r, gpa);
    return wait_outcome(r);
}

#define RUN(r, gpa, name) run(r, gpa, guest_##name, guest_##name##_end)

static void wait_until(volatile uint32_t *word, uint32_t at_least)
{
    for (int i = 0; i < 11000 && *word < at_least; i++)
        usleep(i < 1000 ? 10 : 1000);
    assert_true(*word >= at_least);
}

static void wait_idle(struct rig *r)
{
    for (int i = 0; i < 5000 && !atomic_load(&r->vcpu.idle); i++)
        usleep(1000);
    assert_true(atomic_load(&r->vcpu.idle));
}

// What a fault of the program must say.
static void assert_fault(const struct outcome *o, const char *begins, const char *contains)
{
    assert_int_equal(o->state, VMCTL_FAILED);
    assert_int_equal(o->cause, VMCTL_CAUSE_GUEST_FAULT);
    if (strncmp(o->reason, begins, strlen(begins)) != 0 || !strstr(o->reason, contains))
        fail_msg("\"%s\" does not begin with \"%s\" and contain \"%s\"", o->reason, begins, contains);
}

// ---- ports ----

static void exit_port_gives_the_low_byte_as_status(void **state)
{
    const struct outcome *o = RUN(*state, KERNEL_CODE, exit_42);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_int_equal(o->code, 42);
    assert_string_equal(o->reason, "");
}

static void panic_port_reports_the_text_made_printable(void **state)
{
    const struct outcome *o = RUN(*state, KERNEL_CODE, panic);
    assert_int_equal(o->state, VMCTL_FAILED);
    assert_int_equal(o->cause, VMCTL_CAUSE_INTERNAL);
    assert_string_equal(o->reason, "the cell kernel gave up: call??..");
}

static void fsbase_port_sets_fs_base(void **state)
{
    const struct outcome *o = RUN(*state, PROGRAM_CODE, fsbase);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_int_equal(o->code, 99);
}

static void fsbase_port_refuses_an_address_that_is_not_canonical(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, fsbase_bad), "FS.base set to", "in the program");
}

// Where the CPU reads the I/O bitmap the access itself faults; where IOPL 3 opens all ports, envvm ends the
// guest.
static void assert_port_refused(const struct outcome *o, const char *otherwise)
{
    const bool faulted = strncmp(o->reason, "general protection", 18) == 0;
    assert_fault(o, faulted ? "general protection in the program" : otherwise,
                 faulted ? "vector 13" : "in the program");
}

static void other_ports_are_closed_to_the_program(void **state)
{
    assert_port_refused(RUN(*state, PROGRAM_CODE, other_port),
                        "4-byte port access at 0x80, which no device has");
}

static void the_fault_port_is_closed_to_the_program(void **state)
{
    assert_port_refused(RUN(*state, PROGRAM_CODE, fault_port), "write to the fault port");
}

static void a_port_access_of_another_width_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, byte_port), "1-byte port access at 0x64", "in the program");
}

// ---- faults ----

static void a_null_write_is_reported_with_address_and_registers(void **state)
{
    const struct outcome *o = RUN(*state, PROGRAM_CODE, write_null);
    assert_fault(o, "page fault in the program: write to 0x8, a NULL pointer", "rip 0x20000a");
    assert_non_null(strstr(o->reason, "rax 0x111"));
    assert_non_null(strstr(o->reason, "rbx 0x222"));
    assert_non_null(strstr(o->reason, "error code 0x6"));
}

static void a_fault_in_kernel_text_is_the_kernels(void **state)
{
    assert_fault(RUN(*state, KERNEL_CODE, write_null), "page fault in the cell kernel", "rip 0x3100a");
}

static void a_read_beyond_memory_is_a_page_fault(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, read_unmapped),
                 "page fault in the program: read of 0xc0000000, no memory there", "error code 0x4");
}

static void the_page_tables_are_closed_to_the_guest(void **state)
{
    struct rig *r = *state;
    assert_fault(RUN(r, PROGRAM_CODE, write_page_table),
                 "page fault in the program: write to 0x1000, not allowed there", "error code 0x7");
}

static void a_jump_through_null_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, jump_null), "page fault in the program", "0x0, a NULL pointer");
}

static void an_undefined_opcode_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, undefined_opcode), "invalid opcode in the program",
                 "rip 0x200000");
}

static void a_division_by_zero_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, divide_by_zero), "divide error in the program", "vector 0");
}

static void a_breakpoint_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, breakpoint), "breakpoint in the program", "vector 3");
}

static void a_halt_is_a_protection_fault(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, halt), "general protection in the program", "vector 13");
}

static void an_access_to_no_device_is_reported(void **state)
{
    assert_fault(RUN(*state, PROGRAM_CODE, read_no_device),
                 "read of 0xd0100000, where neither memory nor a device is", "in the program");
}

static void a_file_cut_off_under_the_guest_is_reported(void **state)
{
    struct rig *r = *state;
    int fd = memfd_create("program", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 0x1000), 0);
    void *at = guest_memory_at(&r->mem, 0x400000, 0x1000);
    assert_ptr_equal(mmap(at, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    const struct outcome *o = RUN(r, PROGRAM_CODE, read_file_page);
    assert_int_equal(o->state, VMCTL_FAILED);
    assert_int_equal(o->cause, VMCTL_CAUSE_MEMORY);
    assert_non_null(strstr(o->reason, "a file that is mapped into it was cut off"));
}

static void a_fault_without_gates_is_a_triple_fault(void **state)
{
    struct rig *r = *state;
    memset(guest_memory_at(&r->mem, BOOT_IDT_GPA, BOOT_VECTORS * 16), 0, BOOT_VECTORS * 16);
    const struct outcome *o = RUN(r, PROGRAM_CODE, undefined_opcode);
    assert_int_equal(o->state, VMCTL_FAILED);
    assert_int_equal(o->cause, VMCTL_CAUSE_TRIPLE_FAULT);
    const bool has_registers = strstr(o->reason, "rip 0x");
    assert_non_null(
        strstr(o->reason, has_registers ? "triple fault, in the program (rip 0x200000" : "no registers"));
}

// ---- system calls and registers ----

static void a_system_call_goes_to_the_kernel_and_back(void **state)
{
    const struct outcome *o = RUN(*state, PROGRAM_CODE, syscall);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_int_equal(o->code, 0);
}

static void vector_registers_survive_an_exit(void **state)
{
    struct rig *r = *state;
    if (!(r->kvm.xcr0 & 4))
        skip(); // no AVX
    put(r, PROGRAM_CODE, guest_vector, guest_vector_end);
    start_at(r, PROGRAM_CODE);
    wait_idle(r);
    vcpu_notify(&r->vcpu);
    assert_int_equal(wait_outcome(r)->state, VMCTL_EXITED);
    for (uint64_t i = 0; i < 4; i++)
        assert_true(data64(r, 0x80 + i * 8) == UINT64_MAX);
}

// ---- idling ----

static void idle_ends_at_the_time_that_the_guest_named(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    const uint64_t start_ns = io_monotonic_ns();
    r->shared->wake_ns = start_ns + 50000000;
    const struct outcome *o = RUN(r, KERNEL_CODE, idle_rounds);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_int_equal(o->code, 0); // nothing was pending
    assert_true(io_monotonic_ns() - start_ns >= 50000000);
}

static void idle_ends_at_once_when_the_time_has_passed(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    r->shared->wake_ns = 1;
    assert_int_equal(RUN(r, KERNEL_CODE, idle_rounds)->state, VMCTL_EXITED);
}

static void idle_ends_when_a_device_notifies(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    put(r, KERNEL_CODE, guest_idle_rounds, guest_idle_rounds_end);
    start_at(r, KERNEL_CODE);
    wait_idle(r);
    assert_int_equal(*data32(r, 0), 0);
    assert_false(vcpu_notify(&r->vcpu)); // it was asleep
    const struct outcome *o = wait_outcome(r);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_int_equal(o->code, 1); // pending was left set
}

static void no_notification_is_lost_however_it_falls(void **state)
{
    struct rig *r = *state;
    const uint32_t rounds = 5000;
    *data32(r, 8) = rounds;
    put(r, KERNEL_CODE, guest_follow_ring, guest_follow_ring_end);
    start_at(r, KERNEL_CODE);
    unsigned seed = 1;
    for (uint32_t i = 1; i <= rounds; i++) {
        // At any moment of the way to sleep, and long after.
        for (int n = rand_r(&seed) % 2000; n > 0; n--)
            __builtin_ia32_pause();
        *data32(r, 16) = i;
        vcpu_notify(&r->vcpu);
        wait_until(data32(r, 0), i);
    }
    assert_int_equal(wait_outcome(r)->state, VMCTL_EXITED);
}

static void a_pause_of_the_clock_ends_with_the_idling(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    put(r, KERNEL_CODE, guest_idle_rounds, guest_idle_rounds_end);
    assert_false(vcpu_clock_pause(&r->vcpu)); // not idle yet
    start_at(r, KERNEL_CODE);
    wait_idle(r);
    assert_true(vcpu_clock_pause(&r->vcpu));
    pthread_mutex_lock(&r->clock.lock);
    const uint32_t seq = r->shared->clock_seq;
    pthread_mutex_unlock(&r->clock.lock);
    vcpu_notify(&r->vcpu);
    wait_outcome(r);
    assert_int_equal(r->shared->clock_seq, seq + 2); // refreshed once
}

// ---- upcalls ----

static void nudge_until(struct rig *r, volatile uint32_t *word, uint32_t at_least)
{
    for (int i = 0; i < 5000 && *word < at_least; i++) {
        vcpu_nudge(&r->vcpu);
        usleep(1000);
    }
    assert_true(*word >= at_least);
}

static void an_unseen_notification_interrupts_the_program(void **state)
{
    struct rig *r = *state;
    put(r, PROGRAM_CODE, guest_spin, guest_spin_end);
    start_at(r, PROGRAM_CODE);
    wait_until(data32(r, 0), 1);
    assert_true(vcpu_notify(&r->vcpu)); // running, not idle
    nudge_until(r, data32(r, 8), 1);
    const struct outcome *o = wait_outcome(r);
    assert_int_equal(o->code, 5);          // the program went on where it was
    assert_int_equal(*data32(r, 8), 1);    // one upcall
    assert_int_equal(*data32(r, 0x50), 1); // it found itself in the kernel
    assert_true(data64(r, 0x58) >= PROGRAM_CODE && data64(r, 0x58) < PROGRAM_CODE + 64);
    assert_true(data64(r, 0x40) == STACK); // the program's stack pointer, untouched
    assert_false(data64(r, 0x48) & 0x400); // the program's DF is not the kernel's
    assert_true(r->shared->upcall.rflags & 0x400);
    assert_false(vcpu_nudge(&r->vcpu)); // nothing more to do
}

static void upcalls_leave_a_computation_alone(void **state)
{
    struct rig *r = *state;
    put(r, PROGRAM_CODE, guest_checksum, guest_checksum_end);
    start_at(r, PROGRAM_CODE);
    while (!vcpu_outcome(&r->vcpu)) {
        vcpu_notify(&r->vcpu);
        vcpu_nudge(&r->vcpu);
        usleep(100);
    }
    assert_int_equal(vcpu_outcome(&r->vcpu)->code, 0);
    uint64_t sum = 0, carries = 0;
    for (uint64_t i = CHECKSUM_ROUNDS; i > 0; i--) {
        sum += i;
        sum = sum << 7 | sum >> 57;
        carries += sum & 1;
    }
    assert_true(data64(r, 0x60) == sum);
    assert_true(data64(r, 0x68) == carries);
    assert_true(*data32(r, 8) >= 10); // there were upcalls, and not just one
}

static void assert_not_interrupted(struct rig *r, uint64_t gpa)
{
    start_at(r, gpa);
    wait_until(data32(r, 0), 1);
    vcpu_notify(&r->vcpu);
    for (int i = 0; i < 50; i++) {
        assert_true(vcpu_nudge(&r->vcpu)); // still worth trying
        usleep(1000);
    }
    assert_int_equal(*data32(r, 8), 0);
    *data32(r, 8) = 1;
    assert_int_equal(wait_outcome(r)->code, 6);
}

static void the_kernels_text_is_not_interrupted(void **state)
{
    struct rig *r = *state;
    put(r, KERNEL_CODE, guest_kernel_spin, guest_kernel_spin_end);
    assert_not_interrupted(r, KERNEL_CODE);
}

static void the_kernel_is_not_interrupted_outside_its_text(void **state)
{
    struct rig *r = *state;
    put(r, PROGRAM_CODE, guest_spin_in_kernel, guest_spin_in_kernel_end);
    assert_not_interrupted(r, PROGRAM_CODE);
}

static void a_running_guest_is_late_once_its_wake_time_has_passed(void **state)
{
    struct rig *r = *state;
    put(r, PROGRAM_CODE, guest_spin, guest_spin_end);
    start_at(r, PROGRAM_CODE);
    wait_until(data32(r, 0), 1);
    assert_false(vcpu_is_late(&r->vcpu, io_monotonic_ns())); // it wants none
    __atomic_store_n(&r->shared->wake_ns, 1000, __ATOMIC_RELAXED);
    assert_false(vcpu_is_late(&r->vcpu, 999));
    assert_true(vcpu_is_late(&r->vcpu, 1000));
    vcpu_stop(&r->vcpu);
    assert_false(vcpu_is_late(&r->vcpu, 1000));
}

static void an_idle_guest_is_never_late(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    put(r, KERNEL_CODE, guest_idle_rounds, guest_idle_rounds_end);
    start_at(r, KERNEL_CODE);
    wait_idle(r);
    assert_false(vcpu_is_late(&r->vcpu, UINT64_MAX));
}

// ---- stopping ----

static void a_spinning_guest_can_be_stopped(void **state)
{
    struct rig *r = *state;
    put(r, PROGRAM_CODE, guest_spin, guest_spin_end);
    start_at(r, PROGRAM_CODE);
    wait_until(data32(r, 0), 1);
    vcpu_stop(&r->vcpu);
    const struct outcome *o = vcpu_outcome(&r->vcpu);
    assert_non_null(o);
    assert_int_equal(o->state, VMCTL_EXITED);
    assert_string_equal(o->reason, "stopped by the host");
}

static void an_idle_guest_can_be_stopped(void **state)
{
    struct rig *r = *state;
    *data32(r, 8) = 1;
    put(r, KERNEL_CODE, guest_idle_rounds, guest_idle_rounds_end);
    start_at(r, KERNEL_CODE);
    wait_idle(r);
    vcpu_stop(&r->vcpu);
    assert_non_null(vcpu_outcome(&r->vcpu));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0) {
        printf("SKIPPED: /dev/kvm: %s\n", strerror(errno));
        return 77;
    }
    const struct CMUnitTest tests[] = {
        CASE(exit_port_gives_the_low_byte_as_status),
        CASE(panic_port_reports_the_text_made_printable),
        CASE(fsbase_port_sets_fs_base),
        CASE(fsbase_port_refuses_an_address_that_is_not_canonical),
        CASE(other_ports_are_closed_to_the_program),
        CASE(the_fault_port_is_closed_to_the_program),
        CASE(a_port_access_of_another_width_is_reported),
        CASE(a_null_write_is_reported_with_address_and_registers),
        CASE(a_fault_in_kernel_text_is_the_kernels),
        CASE(a_read_beyond_memory_is_a_page_fault),
        CASE(the_page_tables_are_closed_to_the_guest),
        CASE(a_jump_through_null_is_reported),
        CASE(an_undefined_opcode_is_reported),
        CASE(a_division_by_zero_is_reported),
        CASE(a_breakpoint_is_reported),
        CASE(a_halt_is_a_protection_fault),
        CASE(an_access_to_no_device_is_reported),
        CASE(a_file_cut_off_under_the_guest_is_reported),
        CASE(a_fault_without_gates_is_a_triple_fault),
        CASE(a_system_call_goes_to_the_kernel_and_back),
        CASE(vector_registers_survive_an_exit),
        CASE(idle_ends_at_the_time_that_the_guest_named),
        CASE(idle_ends_at_once_when_the_time_has_passed),
        CASE(idle_ends_when_a_device_notifies),
        CASE(no_notification_is_lost_however_it_falls),
        CASE(a_pause_of_the_clock_ends_with_the_idling),
        CASE(an_unseen_notification_interrupts_the_program),
        CASE(upcalls_leave_a_computation_alone),
        CASE(the_kernels_text_is_not_interrupted),
        CASE(the_kernel_is_not_interrupted_outside_its_text),
        CASE(a_running_guest_is_late_once_its_wake_time_has_passed),
        CASE(an_idle_guest_is_never_late),
        CASE(a_spinning_guest_can_be_stopped),
        CASE(an_idle_guest_can_be_stopped),
    };
    return cmocka_run_group_tests_name("vmm/vcpu", tests, NULL, NULL);
}
