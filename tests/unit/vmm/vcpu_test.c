// Tests of when the vCPU thread (server/vmm/vcpu.c) lets a tiny guest run: idling, upcalls, pausing and
// stopping. Skipped without a usable /dev/kvm.
#include "vcpu_rig.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "common/io.h"

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

int main(void)
{
    if (!rig_prepare())
        return 77;
    const struct CMUnitTest tests[] = {
        RIG_CASE(idle_ends_at_the_time_that_the_guest_named),
        RIG_CASE(idle_ends_at_once_when_the_time_has_passed),
        RIG_CASE(idle_ends_when_a_device_notifies),
        RIG_CASE(no_notification_is_lost_however_it_falls),
        RIG_CASE(a_pause_of_the_clock_ends_with_the_idling),
        RIG_CASE(an_unseen_notification_interrupts_the_program),
        RIG_CASE(upcalls_leave_a_computation_alone),
        RIG_CASE(the_kernels_text_is_not_interrupted),
        RIG_CASE(the_kernel_is_not_interrupted_outside_its_text),
        RIG_CASE(a_running_guest_is_late_once_its_wake_time_has_passed),
        RIG_CASE(an_idle_guest_is_never_late),
        RIG_CASE(a_spinning_guest_can_be_stopped),
        RIG_CASE(an_idle_guest_can_be_stopped),
    };
    return cmocka_run_group_tests_name("vmm/vcpu", tests, NULL, NULL);
}
