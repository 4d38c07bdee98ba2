// Tests of envvm's inside half of its jail (server/vmm/sandbox.c), each in a process of its own: a forbidden
// system call must kill, an allowed one must not.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

#define FILTERED 90 // the child could not install the filter

// Runs body in a child; returns its wait status.
static int in_child(void (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        syscall(SYS_exit_group, 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static enum vmctl_kind kind; // of the virtual machine

static void enter(enum sandbox_phase phase)
{
    struct err err;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (sandbox_enter(SANDBOX_SETUP, kind, &err) < 0 ||
        (phase == SANDBOX_RUN && sandbox_enter(SANDBOX_RUN, kind, &err) < 0))
        syscall(SYS_exit_group, FILTERED);
}

static void assert_killed(void (*body)(void))
{
    const int status = in_child(body);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void assert_fine(void (*body)(void))
{
    const int status = in_child(body);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define BODY(name, phase, call)                                                                              \
    static void name(void)                                                                                   \
    {                                                                                                        \
        enter(phase);                                                                                        \
        (void)!(call);                                                                                       \
    }

// Raw calls, so that no sanitizer's wrapper is in between.
BODY(run_open, SANDBOX_RUN, syscall(SYS_open, "/", O_RDONLY))
BODY(run_socket, SANDBOX_RUN, syscall(SYS_socket, AF_INET, SOCK_STREAM, 0))
BODY(run_execve, SANDBOX_RUN, syscall(SYS_execve, "/bin/true", NULL, NULL))
BODY(run_fork, SANDBOX_RUN, syscall(SYS_fork))
BODY(run_clone_process, SANDBOX_RUN, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
BODY(run_kill, SANDBOX_RUN, syscall(SYS_kill, 1, 0))
BODY(run_ptrace, SANDBOX_RUN, syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0))
BODY(run_unlink, SANDBOX_RUN, syscall(SYS_unlink, "/nothing"))
BODY(run_mmap_exec, SANDBOX_RUN,
     syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
BODY(run_mprotect_exec, SANDBOX_RUN, syscall(SYS_mprotect, NULL, 4096, PROT_EXEC))
BODY(run_create_vm, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0))
BODY(run_memory_region, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_SET_USER_MEMORY_REGION, 0))
BODY(run_other_ioctl, SANDBOX_RUN, syscall(SYS_ioctl, 0, TIOCSTI, "x"))
BODY(run_pread, SANDBOX_RUN, syscall(SYS_pread64, -1, NULL, 0, 0))
BODY(run_preadv, SANDBOX_RUN, syscall(SYS_preadv, VMCTL_STATM_FD + 1, NULL, 0, 0, 0))
BODY(run_seccomp, SANDBOX_RUN, syscall(SYS_seccomp, 0, 0, NULL))
BODY(run_x32_write, SANDBOX_RUN, syscall(SYS_write | 0x40000000, 1, "", 0))
BODY(setup_open, SANDBOX_SETUP, syscall(SYS_open, "/", O_RDONLY))
BODY(setup_execve, SANDBOX_SETUP, syscall(SYS_execve, "/bin/true", NULL, NULL))
BODY(setup_mmap_exec, SANDBOX_SETUP,
     syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
BODY(setup_dupfd, SANDBOX_SETUP, syscall(SYS_fcntl, 0, F_DUPFD, 100))

static void use_what_a_running_vm_needs(void)
{
    const pid_t self = getpid();
    enter(SANDBOX_RUN);
    int pair[2];
    syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
    syscall(SYS_write, pair[0], "x", 1);
    char c;
    syscall(SYS_read, pair[1], &c, 1);
    syscall(SYS_close, pair[0]);
    syscall(SYS_ioctl, -1, KVM_RUN, 0);
    syscall(SYS_ioctl, -1, KVM_GET_SREGS, 0);
    syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    syscall(SYS_getrandom, &c, 1, 0);
    syscall(SYS_preadv, VMCTL_STATM_FD, NULL, 0, 0, 0);
    syscall(SYS_tgkill, self, gettid(), 0);
}

static void use_what_setup_needs(void)
{
    enter(SANDBOX_SETUP);
    syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0);
    syscall(SYS_ioctl, -1, KVM_SET_USER_MEMORY_REGION, 0);
    syscall(SYS_eventfd2, 0, 0);
    syscall(SYS_epoll_create1, 0);
    syscall(SYS_pread64, -1, NULL, 0, 0);
}

static void *empty_thread(void *arg)
{
    return arg;
}

static void start_a_thread(void)
{
    pthread_t t;
    enter(SANDBOX_RUN);
    if (pthread_create(&t, NULL, empty_thread, NULL) != 0 || pthread_join(t, NULL) != 0)
        syscall(SYS_exit_group, 1);
}

static void a_running_vm_can_do_its_work(void **state)
{
    (void)state;
    assert_fine(use_what_a_running_vm_needs);
}

static void setting_up_can_do_its_work(void **state)
{
    (void)state;
    assert_fine(use_what_setup_needs);
}

static void a_thread_can_be_started(void **state)
{
    (void)state;
    assert_fine(start_a_thread);
}

static void a_forbidden_call_kills(void **state)
{
    (void)state;
    void (*const bodies[])(void) = {
        run_open,        run_socket, run_execve,    run_fork,          run_clone_process, run_kill,
        run_ptrace,      run_unlink, run_mmap_exec, run_mprotect_exec, run_create_vm,     run_memory_region,
        run_other_ioctl, run_pread,  run_preadv,    run_seccomp,       run_x32_write};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_killed(bodies[i]);
}

static void setting_up_is_confined_too(void **state)
{
    (void)state;
    void (*const bodies[])(void) = {setup_open, setup_execve, setup_mmap_exec, setup_dupfd};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_killed(bodies[i]);
}

BODY(run_io_uring_setup, SANDBOX_RUN, syscall(SYS_io_uring_setup, 1, NULL))
BODY(run_io_uring_enter, SANDBOX_RUN, syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0))
BODY(setup_io_uring_setup, SANDBOX_SETUP, syscall(SYS_io_uring_setup, 1, NULL))
BODY(setup_irqchip, SANDBOX_SETUP, syscall(SYS_ioctl, -1, KVM_CREATE_IRQCHIP, 0))
BODY(run_set_sregs, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_SET_SREGS, 0))
BODY(run_kvmclock, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_KVMCLOCK_CTRL, 0))
BODY(run_vcpu_events, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_GET_VCPU_EVENTS, 0))
BODY(run_irq_line, SANDBOX_RUN, syscall(SYS_ioctl, -1, KVM_IRQ_LINE, 0))

static void a_cell_gets_nothing_of_what_only_linux_needs(void **state)
{
    (void)state;
    void (*const bodies[])(void) = {run_io_uring_setup, run_io_uring_enter, setup_io_uring_setup,
                                    setup_irqchip,      run_kvmclock,       run_vcpu_events,
                                    run_irq_line};
    kind = VMCTL_KIND_CELL;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_killed(bodies[i]);
}

static void a_linux_guest_makes_its_rings_before_it_runs(void **state)
{
    (void)state;
    kind = VMCTL_KIND_LINUX;
    assert_fine(setup_io_uring_setup);
    assert_fine(setup_irqchip);
    assert_fine(run_io_uring_enter);
    assert_fine(run_kvmclock);
    assert_fine(run_vcpu_events);
    assert_fine(run_irq_line);
    assert_killed(run_io_uring_setup);
    assert_killed(run_set_sregs);
    kind = VMCTL_KIND_CELL;
}

// ---- rights ----

static void check_drop(void)
{
    struct err err;
    const int keep = dup2(eventfd(0, 0), 40);
    const int other = dup2(keep, 41), before = dup2(keep, 39);
    const int fds[] = {keep, -1};
    if (sandbox_drop(fds, 2, VMCTL_KIND_CELL, 1u << 20, &err) < 0)
        syscall(SYS_exit_group, 1);
    if (fcntl(keep, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0 || fcntl(other, F_GETFD) >= 0 ||
        fcntl(before, F_GETFD) >= 0)
        syscall(SYS_exit_group, 2);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    if (syscall(SYS_capget, &head, caps) < 0 || caps[0].effective || caps[0].permitted ||
        caps[0].inheritable || caps[1].effective || caps[1].permitted || caps[1].inheritable)
        syscall(SYS_exit_group, 3);
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        syscall(SYS_exit_group, 4);
    struct rlimit core, files, size;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_FSIZE, &size);
    if (core.rlim_max != 0 || files.rlim_max > 256 || size.rlim_max != 1u << 20)
        syscall(SYS_exit_group, 5);
}

static void rights_and_other_descriptors_are_dropped(void **state)
{
    (void)state;
    assert_fine(check_drop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_vm_can_do_its_work),
        cmocka_unit_test(setting_up_can_do_its_work),
        cmocka_unit_test(a_thread_can_be_started),
        cmocka_unit_test(a_forbidden_call_kills),
        cmocka_unit_test(setting_up_is_confined_too),
        cmocka_unit_test(a_cell_gets_nothing_of_what_only_linux_needs),
        cmocka_unit_test(a_linux_guest_makes_its_rings_before_it_runs),
        cmocka_unit_test(rights_and_other_descriptors_are_dropped),
    };
    return cmocka_run_group_tests_name("vmm/sandbox", tests, NULL, NULL);
}
