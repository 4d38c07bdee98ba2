// envagent as PID 1 of the smallest root there is: busybox and the agent, in namespaces of its own.
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static struct host *h;

static int setup_plain(void **state)
{
    (void)state;
    h = host_start_init(NULL);
    host_greet(h);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_stop(h);
    return 0;
}

static void assert_prints(const char *line, const char *text)
{
    struct outcome o = run_shell(h, line);
    if (!strstr(o.out, text))
        fail_msg("%s: %s%s%s", line, o.text, o.out, o.err);
    outcome_free(&o);
}

static void file_systems_and_loopback_are_there_when_a_command_runs(void **state)
{
    (void)state;
    assert_prints("/bin/busybox cat /proc/1/comm", "init");
    assert_prints("/bin/busybox cat /proc/self/mounts", "/dev/pts");
    assert_prints("/bin/busybox cat /proc/self/mounts", " /run tmpfs");
    assert_prints("/bin/busybox cat /proc/self/mounts", " /sys sysfs");
    assert_prints("/bin/busybox ip addr show lo", "127.0.0.1");
    assert_prints("/bin/busybox ls -l /run/env/agent.sock", "srw-rw-rw-");
    assert_prints("/bin/busybox ls /dev/", "stdin");
}

static void a_terminal_is_to_be_had(void **state)
{
    (void)state;
    const char *const argv[] = {"/bin/busybox", "tty", NULL};
    struct session_exec e = {.flags = SESSION_EXEC_TTY};
    struct outcome o = run_with(h, &e, argv, NULL, 0);
    assert_non_null(strstr(o.out, "/dev/pts/"));
    outcome_free(&o);
}

static void orphans_are_reaped(void **state)
{
    (void)state;
    assert_prints(
        "(/bin/busybox true & /bin/busybox true &) ; /bin/busybox sleep 0.3; /bin/busybox ps -o stat | "
        "/bin/busybox grep -c Z",
        "0");
}

static int wait_for_end(int limit_s)
{
    int status = -1;
    for (int i = 0; i < limit_s * 20; i++, pause_ms(50))
        if (waitpid(h->pid, &status, WNOHANG) == h->pid) {
            h->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
    fail_msg("it does not end");
    return -1;
}

static int setup_command(void **state)
{
    (void)state;
    h = host_start_init("trap \"echo bye > /said; exit\" TERM; while :; do /bin/busybox sleep 0.1; done");
    host_greet(h);
    return 0;
}

// In a process namespace the kernel turns reboot(2) into the init's end: by SIGINT for power-off, SIGHUP for
// a restart.
static void shutdown_lets_programs_end_and_then_the_machine(void **state)
{
    (void)state;
    char path[128];
    pause_ms(300);
    host_say(h, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {4000, text_view("test")}});
    assert_int_equal(wait_for_end(5), SIGINT);
    snprintf(path, sizeof path, "%s/said", h->folder);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    fclose(f);
}

static void what_does_not_end_is_killed_within_the_grace(void **state)
{
    (void)state;
    struct timespec a, b;
    const char *const argv[] = {"sh", "-c", "trap '' TERM HUP; while :; do /bin/busybox sleep 1; done", NULL};
    struct session_exec e = {0};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    clock_gettime(CLOCK_MONOTONIC, &a);
    host_say(h, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {2000, text_view("test")}});
    assert_int_equal(wait_for_end(5), SIGINT);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double passed = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    assert_true(passed > 1.5 && passed < 2.5);
}

static void busyboxs_reboot_and_poweroff_are_understood(void **state)
{
    (void)state;
    struct outcome o = run_shell(h, "/bin/busybox reboot");
    outcome_free(&o);
    assert_int_equal(wait_for_end(12), SIGHUP);
}

#define T(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(file_systems_and_loopback_are_there_when_a_command_runs, setup_plain),
        T(a_terminal_is_to_be_had, setup_plain),
        T(orphans_are_reaped, setup_plain),
        T(shutdown_lets_programs_end_and_then_the_machine, setup_command),
        T(what_does_not_end_is_killed_within_the_grace, setup_plain),
        T(busyboxs_reboot_and_poweroff_are_understood, setup_plain),
    };
    signal(SIGPIPE, SIG_IGN);
    int rc = harness_enter();
    return rc ? rc : cmocka_run_group_tests_name("envagent/init", tests, NULL, NULL);
}
