// Tests of what the program envvm does (server/vmm/main.c and all behind it): how its guest lives and ends,
// what it says, which orders it follows, and what it holds while it runs.
#include "envvm_process.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/wait.h>

static struct logring log_text(struct envvm *f, char *out, size_t cap)
{
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    assert_int_equal(pread(f->fds[4], raw, sizeof raw, 0), sizeof raw);
    assert_null(logring_header_read(raw, &ring));
    size_t n = ring.total < cap - 1 ? (size_t)ring.total : cap - 1;
    assert_int_equal(pread(f->fds[4], out, n, LOGRING_HEADER), n);
    out[n] = '\0';
    return ring;
}

// ---- its guest's life ----

static void a_guest_boots_runs_and_exits(void **state)
{
    struct envvm *f = *state;
    send_config(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->n_states, 3);
    assert_int_equal(f->states[0], VMCTL_BOOTING);
    assert_int_equal(f->states[1], VMCTL_RUNNING);
    assert_int_equal(f->states[2], VMCTL_EXITED);
    assert_int_equal(f->last.state.code, 42);
}

static void the_log_is_whole_when_the_exit_is_known(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(hello));
    send_config(f);
    await_state(f, VMCTL_EXITED);
    char text[64];
    log_text(f, text, sizeof text);
    assert_string_equal(text, "hello\n");
    assert_true(f->n_logs >= 1);
    assert_int_equal(f->last.state.code, 7);
}

static void a_flood_is_limited_dropped_and_told(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(flood));
    f->config.log_bytes_per_s = 1000;
    f->config.log_burst_bytes = 8192;
    send_config(f);
    assert_int_equal(await_end(f), 0);
    static char text[LOG_CAPACITY + 1];
    const struct logring ring = log_text(f, text, sizeof text);
    assert_in_range(ring.dropped, 500 * 4096 - 60000, 500 * 4096 - 8192);
    assert_in_range(ring.total, 8192, 60000);
    assert_non_null(strstr(text, "bytes dropped: more than 1000 bytes per second"));
    assert_in_range(f->n_logs, 1, 510); // never more than one a round
}

static void a_spinning_guest_can_be_told_to_quit(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    usleep(20000);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
    assert_string_equal(f->reason, "stopped by the host");
}

static void an_idle_guest_stands_still_and_goes_on(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_PAUSE); // and says so again
    f->n_states = 0;
    await_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_RESUME);
    await_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
}

// Its thread has no time to wake up between the two.
static void a_spinning_guest_released_for_a_moment_says_that_it_stands_still(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    for (int i = 0; i < 50; i++) {
        send_type(f, VMCTL_PAUSE);
        f->n_states = 0;
        await_state(f, VMCTL_PAUSED);
        send_type(f, VMCTL_RESUME);
        send_type(f, VMCTL_PAUSE);
        await_state(f, VMCTL_RUNNING);
        await_state(f, VMCTL_PAUSED);
    }
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
}

static void an_idle_guest_ends_when_nobody_is_there(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    shutdown(f->control, SHUT_RDWR);
    int status;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
}

// Tells of its state once more, behind all that was ordered before.
static void await_next_state(struct envvm *f, enum vmctl_state state)
{
    f->n_states = 0;
    await_state(f, state);
    assert_int_equal(f->n_states, 1);
}

static void orders_in_any_order_and_twice_are_followed(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_RESUME); // it runs
    await_next_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_STATS);
    send_type(f, VMCTL_CONSOLE);
    send_type(f, VMCTL_QUERY);
    await_next_state(f, VMCTL_PAUSED);
    while (f->n_stats == 0 || f->n_consoles == 0)
        assert_true(take(f));
    send_type(f, VMCTL_RESUME);
    await_next_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE); // a change of mind: it has run before it is held
    send_type(f, VMCTL_RESUME);
    await_next_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_string_equal(f->reason, "stopped by the host");
}

// The guest has no driver for any of its devices.
static void orders_to_devices_without_a_driver_harm_nobody(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    const struct vmctl_message resize = {.type = VMCTL_RESIZE, .resize = {.columns = 80, .rows = 25}};
    const struct vmctl_message balloon = {.type = VMCTL_BALLOON, .balloon_target_mib = 1};
    for (int i = 0; i < 3; i++) {
        send_order(f, &resize);
        send_order(f, &balloon);
        send_type(f, VMCTL_CONSOLE);
        send_type(f, VMCTL_STATS);
    }
    while (f->n_consoles < 1 || f->n_stats < 1)
        assert_true(take(f));
    send_type(f, VMCTL_QUERY);
    await_next_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
}

static void a_paused_guest_can_be_told_to_quit(void **state)
{
    struct envvm *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
}

// ---- what it holds while it runs ----

static void read_proc(struct envvm *f, const char *name, char *out, size_t cap)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)f->pid, name);
    ssize_t n = io_read_file(path, out, cap - 1);
    assert_true(n > 0);
    out[n] = '\0';
}

static void assert_status(const char *status, const char *key, const char *value)
{
    char line[64];
    snprintf(line, sizeof line, "\n%s:\t%s\n", key, value);
    if (!strstr(status, line))
        fail_msg("%s is not %s", key, value);
}

static void start_idling(struct envvm *f)
{
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
}

static void what_the_guest_has_of_its_memory_is_told(void **state)
{
    struct envvm *f = *state;
    start_idling(f);
    send_type(f, VMCTL_STATS);
    while (f->n_stats == 0)
        assert_true(take(f));
    assert_int_equal(f->stats.guest_memory_bytes, (uint64_t)VMCTL_MEMORY_MIN_MIB << 20);
    assert_in_range(f->stats.rss_bytes, 4096, f->stats.guest_memory_bytes);
}

static void a_running_envvm_has_no_rights_left(void **state)
{
    struct envvm *f = *state;
    start_idling(f);
    static char status[8192];
    read_proc(f, "status", status, sizeof status);
    assert_status(status, "CapInh", "0000000000000000");
    assert_status(status, "CapPrm", "0000000000000000");
    assert_status(status, "CapEff", "0000000000000000");
    assert_status(status, "CapAmb", "0000000000000000");
    assert_status(status, "NoNewPrivs", "1");
    assert_status(status, "Seccomp", "2");
}

static void a_running_envvm_holds_only_its_own_descriptors(void **state)
{
    struct envvm *f = *state;
    start_idling(f);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)f->pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    const char *stray = NULL;
    static char target[256];
    struct dirent *d;
    while (!stray && (d = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof target - 1);
        if (n < 0 || atoi(d->d_name) < VMCTL_FD)
            continue;
        target[n] = '\0';
        static const char *const expected[] = {"socket:",    "/dev/kvm",    "/dev/net/tun",
                                               "/memfd:log", "anon_inode:", "/proc/"};
        bool known = false;
        for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
            known = known || strncmp(target, expected[i], strlen(expected[i])) == 0;
        stray = known ? NULL : target;
    }
    closedir(dir);
    if (stray)
        fail_msg("a descriptor is %s", stray);
}

int main(void)
{
    if (!envvm_prepare())
        return 77;
    const struct CMUnitTest tests[] = {
        ENVVM_CASE(a_guest_boots_runs_and_exits),
        ENVVM_CASE(the_log_is_whole_when_the_exit_is_known),
        ENVVM_CASE(a_flood_is_limited_dropped_and_told),
        ENVVM_CASE(a_spinning_guest_can_be_told_to_quit),
        ENVVM_CASE(an_idle_guest_stands_still_and_goes_on),
        ENVVM_CASE(a_spinning_guest_released_for_a_moment_says_that_it_stands_still),
        ENVVM_CASE(an_idle_guest_ends_when_nobody_is_there),
        ENVVM_CASE(orders_in_any_order_and_twice_are_followed),
        ENVVM_CASE(orders_to_devices_without_a_driver_harm_nobody),
        ENVVM_CASE(what_the_guest_has_of_its_memory_is_told),
        ENVVM_CASE(a_paused_guest_can_be_told_to_quit),
        ENVVM_CASE(a_running_envvm_has_no_rights_left),
        ENVVM_CASE(a_running_envvm_holds_only_its_own_descriptors),
    };
    return cmocka_run_group_tests_name("vmm/envvm", tests, NULL, NULL);
}
