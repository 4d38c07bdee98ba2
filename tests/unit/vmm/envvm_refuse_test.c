// Tests of what the program envvm refuses, and how it says why: descriptors, configurations, files and hosts
// that do not do, and guests that fault.
#include "envvm_process.h"

static void assert_failed(struct envvm *f, enum vmctl_cause cause, const char *contains, int exit_status)
{
    assert_int_equal(await_end(f), exit_status);
    assert_int_equal(f->last.state.state, VMCTL_FAILED);
    assert_int_equal(f->last.state.cause, cause);
    if (!strstr(f->reason, contains))
        fail_msg("\"%s\" does not contain \"%s\"", f->reason, contains);
}

// ---- cells ----

static void a_datagram_that_is_no_config_fails(void **state)
{
    struct envvm *f = *state;
    assert_int_equal(io_send_fds(f->control, "\x02\0\0\0", 4, NULL, 0), 0);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "is not CONFIG", 2);
}

static void a_config_that_is_garbage_fails(void **state)
{
    struct envvm *f = *state;
    const uint8_t garbage[] = {VMCTL_CONFIG, 0, 0, 0, 0xff, 0xff, 0xff};
    assert_int_equal(io_send_fds(f->control, garbage, sizeof garbage, f->fds, f->n_fds), 0);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG at byte", 2);
}

static void no_config_at_all_ends_it(void **state)
{
    struct envvm *f = *state;
    shutdown(f->control, SHUT_WR);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "closed before CONFIG came", 2);
}

static void a_missing_descriptor_fails(void **state)
{
    struct envvm *f = *state;
    close(f->fds[--f->n_fds]);
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG came with 4 descriptors", 2);
}

static void a_descriptor_of_the_wrong_kind_fails(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[0], open("/dev/null", O_RDWR));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "descriptor 0 of CONFIG is not /dev/kvm", 2);
}

static void a_program_that_cannot_be_loaded_fails_with_its_reason(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[3], open("/bin/ls", O_RDONLY)); // position independent, dynamically linked
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_PROGRAM, "the program is dynamically linked: link it with -static", 1);
}

static void a_kernel_that_is_none_fails(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], PROGRAM(exit_42));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "the kernel has a segment", 1);
}

static void a_log_that_is_none_fails(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[4], memfd_create("log", MFD_CLOEXEC));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "the log is no log ring", 1);
}

static void a_faulting_guest_fails_with_its_reason(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(write_null));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_GUEST_FAULT, "page fault in the program: write to 0x8, a NULL pointer", 1);
}

// ---- Linux guests: booted in tests/lab ----

static void make_linux(struct envvm *f)
{
    f->config.kind = VMCTL_KIND_LINUX;
    f->config.memory_mib = 64;
    f->config.n_args = 0;
    close(f->fds[3]); // the log follows the kernel
    f->fds[3] = f->fds[4];
    f->n_fds = 4;
}

static void a_linux_guest_is_refused_without_hardware_virtualization(void **state)
{
    struct envvm *f = *state;
    if (access("/sys/module/kvm_pvm", F_OK) < 0)
        skip();
    make_linux(f);
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_KVM, "no hardware virtualization", 1);
    assert_non_null(strstr(f->reason, "a stock Linux kernel cannot run without it"));
    assert_non_null(strstr(f->reason, "use a host with VT-x or AMD-V"));
    f->fds[3] = -1;
}

static void a_linux_guest_wants_a_descriptor_for_each_file(void **state)
{
    struct envvm *f = *state;
    make_linux(f);
    f->config.has_initrd = true;
    f->config.n_disks = 1;
    f->config.disks[0].flags = VMCTL_DISK_OVERLAY;
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG came with 4 descriptors, 7 are needed", 2);
    f->fds[3] = -1;
}

int main(void)
{
    if (!envvm_prepare())
        return 77;
    const struct CMUnitTest tests[] = {
        ENVVM_CASE(a_linux_guest_is_refused_without_hardware_virtualization),
        ENVVM_CASE(a_linux_guest_wants_a_descriptor_for_each_file),
        ENVVM_CASE(a_datagram_that_is_no_config_fails),
        ENVVM_CASE(a_config_that_is_garbage_fails),
        ENVVM_CASE(no_config_at_all_ends_it),
        ENVVM_CASE(a_missing_descriptor_fails),
        ENVVM_CASE(a_descriptor_of_the_wrong_kind_fails),
        ENVVM_CASE(a_program_that_cannot_be_loaded_fails_with_its_reason),
        ENVVM_CASE(a_kernel_that_is_none_fails),
        ENVVM_CASE(a_log_that_is_none_fails),
        ENVVM_CASE(a_faulting_guest_fails_with_its_reason),
    };
    return cmocka_run_group_tests_name("vmm/envvm_refuse", tests, NULL, NULL);
}
