// Tests of what a tiny guest's ports, faults and system calls come to (server/vmm/vcpu.c, fault.c, kvm.c,
// boot/tables.c). Skipped without a usable /dev/kvm.
#include "vcpu_rig.h"

#include <sys/mman.h>

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

int main(void)
{
    if (!rig_prepare())
        return 77;
    const struct CMUnitTest tests[] = {
        RIG_CASE(exit_port_gives_the_low_byte_as_status),
        RIG_CASE(panic_port_reports_the_text_made_printable),
        RIG_CASE(fsbase_port_sets_fs_base),
        RIG_CASE(fsbase_port_refuses_an_address_that_is_not_canonical),
        RIG_CASE(other_ports_are_closed_to_the_program),
        RIG_CASE(the_fault_port_is_closed_to_the_program),
        RIG_CASE(a_port_access_of_another_width_is_reported),
        RIG_CASE(a_null_write_is_reported_with_address_and_registers),
        RIG_CASE(a_fault_in_kernel_text_is_the_kernels),
        RIG_CASE(a_read_beyond_memory_is_a_page_fault),
        RIG_CASE(the_page_tables_are_closed_to_the_guest),
        RIG_CASE(a_jump_through_null_is_reported),
        RIG_CASE(an_undefined_opcode_is_reported),
        RIG_CASE(a_division_by_zero_is_reported),
        RIG_CASE(a_breakpoint_is_reported),
        RIG_CASE(a_halt_is_a_protection_fault),
        RIG_CASE(an_access_to_no_device_is_reported),
        RIG_CASE(a_file_cut_off_under_the_guest_is_reported),
        RIG_CASE(a_fault_without_gates_is_a_triple_fault),
        RIG_CASE(a_system_call_goes_to_the_kernel_and_back),
        RIG_CASE(vector_registers_survive_an_exit),
    };
    return cmocka_run_group_tests_name("vmm/vcpu_exit", tests, NULL, NULL);
}
