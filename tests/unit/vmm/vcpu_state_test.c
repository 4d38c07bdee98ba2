// Tests of the words about a vCPU's state (server/vmm/vcpu_state.c).
#include "testing.h"

#include <string.h>

#include "vcpu_state.h"

static struct kvm_run run;
static struct vcpu_state s;
static char lines[VCPU_STATE_LINES][VCPU_STATE_LINE_MAX];

// Deep in a 64-bit kernel, after a triple fault that left its registers.
static int setup(void **state)
{
    (void)state;
    memset(&run, 0, sizeof run);
    memset(lines, 'x', sizeof lines);
    run.exit_reason = KVM_EXIT_SHUTDOWN;
    s = (struct vcpu_state){.run = &run};
    s.regs.rip = 0xffffffff81001234;
    s.regs.rsp = 0xffffc90000013f58;
    s.regs.rflags = 0x10046;
    s.sregs.cs.selector = 0x10;
    s.sregs.cr0 = 0x80050033;
    s.sregs.cr2 = 0xffffc90000013f50;
    s.sregs.cr3 = 0x4567000;
    s.sregs.cr4 = 0x3506f0;
    s.sregs.efer = 0xd01;
    return 0;
}

static void registers_are_told_by_name(void **state)
{
    (void)state;
    assert_int_equal(vcpu_state_describe(&s, 1, lines), 3);
    assert_string_equal(lines[0],
                        "vCPU 1: rip 0xffffffff81001234, cs 0x10, rsp 0xffffc90000013f58, rflags 0x10046, "
                        "rax 0x0, rdi 0x0");
    assert_string_equal(lines[1],
                        "vCPU 1: cr0 0x80050033, cr2 0xffffc90000013f50, cr3 0x4567000, cr4 0x3506f0, "
                        "efer 0xd01, idt 0x0, gs 0x0");
}

static void a_vcpu_with_nothing_on_its_way_says_so(void **state)
{
    (void)state;
    vcpu_state_describe(&s, 0, lines);
    assert_string_equal(lines[2], "vCPU 0: no events");
}

static void events_are_told_with_their_state(void **state)
{
    (void)state;
    s.events.exception.injected = 1;
    s.events.exception.nr = 14;
    s.events.exception.has_error_code = 1;
    s.events.exception.error_code = 2;
    s.events.interrupt.injected = 1;
    s.events.interrupt.nr = 236;
    s.events.nmi.pending = 1;
    vcpu_state_describe(&s, 0, lines);
    assert_string_equal(lines[2],
                        "vCPU 0: exception 14 injected, with error code 0x2, hardware interrupt 236 "
                        "injected, NMI pending");
}

static void what_an_init_left_is_no_state(void **state)
{
    (void)state;
    s.regs.rip = 0xfff0;
    s.sregs.cs.selector = 0xf000;
    assert_true(vcpu_state_is_lost(&s));
    assert_int_equal(vcpu_state_describe(&s, 0, lines), 1);
    assert_non_null(strstr(lines[0], "no registers"));
}

// A vCPU that was never started stands there as well.
static void the_first_instruction_after_a_reset_is_a_state(void **state)
{
    (void)state;
    s.regs.rip = 0xfff0;
    s.sregs.cs.selector = 0xf000;
    run.exit_reason = KVM_EXIT_INTR;
    assert_false(vcpu_state_is_lost(&s));
    assert_int_equal(vcpu_state_describe(&s, 0, lines), 3);
}

static void an_internal_error_is_told_in_kvms_words(void **state)
{
    (void)state;
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = 3;
    run.internal.ndata = 2;
    run.internal.data[0] = 0x80000b0e;
    run.internal.data[1] = 0x400;
    assert_int_equal(vcpu_state_describe(&s, 0, lines), 4);
    assert_string_equal(lines[3], "vCPU 0: KVM internal error 3, data 0x80000b0e 0x400");
}

static void more_than_a_line_holds_is_cut(void **state)
{
    (void)state;
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.ndata = 1000;
    memset(run.internal.data, 0xff, sizeof run.internal.data);
    assert_int_equal(vcpu_state_describe(&s, 0, lines), 4);
    assert_int_equal(strlen(lines[3]), VCPU_STATE_LINE_MAX - 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registers_are_told_by_name, setup),
        cmocka_unit_test_setup(a_vcpu_with_nothing_on_its_way_says_so, setup),
        cmocka_unit_test_setup(events_are_told_with_their_state, setup),
        cmocka_unit_test_setup(what_an_init_left_is_no_state, setup),
        cmocka_unit_test_setup(the_first_instruction_after_a_reset_is_a_state, setup),
        cmocka_unit_test_setup(an_internal_error_is_told_in_kvms_words, setup),
        cmocka_unit_test_setup(more_than_a_line_holds_is_cut, setup),
    };
    return cmocka_run_group_tests_name("vmm_vcpu_state", tests, NULL, NULL);
}
