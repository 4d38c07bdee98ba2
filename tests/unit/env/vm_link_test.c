// The link to an envvm (server/daemon/env/vm_link.c), against a socket that plays envvm.
#include "../testing.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "env/vm_link.h"

struct vm {
    struct event_base *base;
    struct vm_link *link;
    int peer;
    char seen[1024]; // what was called, in order
    int stream_fd;
    bool free_on_state;
};

__attribute__((format(printf, 2, 3))) static void note(struct vm *vm, const char *format, ...)
{
    size_t n = strlen(vm->seen);
    va_list ap;
    va_start(ap, format);
    vsnprintf(vm->seen + n, sizeof vm->seen - n, format, ap);
    va_end(ap);
}

static void on_state(void *arg, enum vmctl_state s, enum vmctl_cause cause, int32_t code, const char *reason)
{
    struct vm *vm = arg;
    note(vm, "state %s %s %d %s;", vmctl_state_name(s), vmctl_cause_name(cause), code, reason);
    if (vm->free_on_state) {
        vm_link_free(vm->link);
        vm->link = NULL;
    }
}

static void on_stream(void *arg, uint32_t guest_port, uint32_t host_port, int fd)
{
    struct vm *vm = arg;
    note(vm, "stream %u %u;", guest_port, host_port);
    vm->stream_fd = fd;
}

static void on_log(void *arg, uint64_t total)
{
    note(arg, "log %llu;", (unsigned long long)total);
}

static void on_console(void *arg, int fd)
{
    struct vm *vm = arg;
    note(vm, "console %s;", fd >= 0 ? "here" : "none");
    vm->stream_fd = fd;
}

static void on_stats(void *arg, const struct vmctl_stats *stats)
{
    note(arg, "stats %llu;", (unsigned long long)stats->cpu_ns);
}

static void on_end(void *arg, const char *reason)
{
    note(arg, "end %s;", reason ? reason : "");
}

static int setup(void **state)
{
    static const struct vm_link_cb cb = {on_state, on_stream, on_log, on_console, on_stats, on_end};
    struct vm *vm = calloc(1, sizeof *vm);
    int fds[2];
    assert_non_null(vm);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    vm->base = event_base_new();
    vm->peer = fds[1];
    vm->stream_fd = -1;
    vm->link = vm_link_new(vm->base, fds[0], &cb, vm);
    assert_non_null(vm->link);
    *state = vm;
    return 0;
}

static int teardown(void **state)
{
    struct vm *vm = *state;
    vm_link_free(vm->link);
    if (vm->peer >= 0)
        close(vm->peer);
    if (vm->stream_fd >= 0)
        close(vm->stream_fd);
    event_base_free(vm->base);
    free(vm);
    return 0;
}

static void say(struct vm *vm, const struct vmctl_message *m, int fd)
{
    uint8_t data[1024];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    assert_false(w.overflow);
    assert_int_equal(io_send_fds(vm->peer, data, w.pos, &fd, fd >= 0 ? 1 : 0), 0);
}

static struct vmctl_message state_message(enum vmctl_state s, enum vmctl_cause cause, int32_t code,
                                          const char *reason)
{
    return (struct vmctl_message){
        .type = VMCTL_STATE,
        .state = {s, cause, code, {(const uint8_t *)reason, strlen(reason)}},
    };
}

static void run(struct vm *vm)
{
    event_base_loop(vm->base, EVLOOP_NONBLOCK);
}

static void states_arrive_in_order(void **state)
{
    struct vm *vm = *state;
    struct vmctl_message m = state_message(VMCTL_RUNNING, VMCTL_CAUSE_NONE, 0, "");
    say(vm, &m, -1);
    m = state_message(VMCTL_FAILED, VMCTL_CAUSE_TRIPLE_FAULT, 0, "why");
    say(vm, &m, -1);
    run(vm);
    assert_string_equal(vm->seen, "state running none 0 ;state failed triple-fault 0 why;");
}

static void a_stream_comes_with_its_descriptor(void **state)
{
    struct vm *vm = *state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    say(vm, &(struct vmctl_message){.type = VMCTL_STREAM, .stream = {5000, 1024}}, fds[0]);
    run(vm);
    assert_string_equal(vm->seen, "stream 5000 1024;");
    assert_int_equal(write(fds[1], "x", 1), 1);
    char c = 0;
    assert_int_equal(read(vm->stream_fd, &c, 1), 1);
    assert_int_equal(c, 'x');
    close(fds[0]);
    close(fds[1]);
}

static void the_end_of_the_process_is_no_offence(void **state)
{
    struct vm *vm = *state;
    close(vm->peer);
    vm->peer = -1;
    run(vm);
    assert_string_equal(vm->seen, "end ;");
    run(vm);
    assert_string_equal(vm->seen, "end ;"); // once
    assert_int_equal(vm_link_quit(vm->link), -ENOTCONN);
}

static void garbage_ends_the_link(void **state)
{
    struct vm *vm = *state;
    assert_int_equal(write(vm->peer, "garbage", 7), 7);
    run(vm);
    assert_string_equal(vm->seen, "end envvm sent a malformed message;");
}

static void a_datagram_that_is_too_long_ends_the_link(void **state)
{
    struct vm *vm = *state;
    static const char large[4096];
    assert_int_equal(write(vm->peer, large, sizeof large), sizeof large);
    run(vm);
    assert_string_equal(vm->seen, "end envvm sent a message that is too long;");
}

static void a_message_of_envd_s_own_direction_ends_the_link(void **state)
{
    struct vm *vm = *state;
    say(vm, &(struct vmctl_message){.type = VMCTL_QUIT}, -1);
    run(vm);
    assert_non_null(strstr(vm->seen, "out of direction"));
}

static void a_descriptor_where_none_belongs_ends_the_link(void **state)
{
    struct vm *vm = *state;
    say(vm, &(struct vmctl_message){.type = VMCTL_LOG, .log_total = 1}, vm->peer);
    run(vm);
    assert_non_null(strstr(vm->seen, "wrong descriptors"));
    vm->seen[0] = '\0';
    say(vm, &(struct vmctl_message){.type = VMCTL_LOG, .log_total = 1}, -1);
    run(vm);
    assert_string_equal(vm->seen, ""); // and nothing is read after it
}

static void a_stream_without_a_descriptor_ends_the_link(void **state)
{
    struct vm *vm = *state;
    say(vm, &(struct vmctl_message){.type = VMCTL_STREAM, .stream = {1, 2}}, -1);
    run(vm);
    assert_non_null(strstr(vm->seen, "wrong descriptors"));
}

static void draining_serves_what_has_arrived(void **state)
{
    struct vm *vm = *state;
    struct vmctl_message m = state_message(VMCTL_EXITED, VMCTL_CAUSE_NONE, 3, "");
    for (uint64_t i = 0; i < 40; i++)
        say(vm, &(struct vmctl_message){.type = VMCTL_LOG, .log_total = 7}, -1);
    say(vm, &m, -1);
    close(vm->peer);
    vm->peer = -1;
    vm_link_drain(vm->link);
    assert_non_null(strstr(vm->seen, "log 7;state exited none 3 ;end ;"));
}

static void the_link_may_be_freed_from_its_callbacks(void **state)
{
    struct vm *vm = *state;
    struct vmctl_message m = state_message(VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "");
    vm->free_on_state = true;
    say(vm, &m, -1);
    say(vm, &m, -1);
    vm_link_drain(vm->link);
    assert_string_equal(vm->seen, "state exited none 0 ;");
}

static void questions_and_orders_reach_envvm(void **state)
{
    struct vm *vm = *state;
    uint8_t data[64];
    assert_int_equal(vm_link_query(vm->link), 0);
    assert_int_equal(vm_link_quit(vm->link), 0);
    ssize_t n = read(vm->peer, data, sizeof data);
    assert_int_equal(vmctl_type_of(data, (size_t)n), VMCTL_QUERY);
    n = read(vm->peer, data, sizeof data);
    assert_int_equal(vmctl_type_of(data, (size_t)n), VMCTL_QUIT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(states_arrive_in_order),
        TEST(a_stream_comes_with_its_descriptor),
        TEST(the_end_of_the_process_is_no_offence),
        TEST(garbage_ends_the_link),
        TEST(a_datagram_that_is_too_long_ends_the_link),
        TEST(a_message_of_envd_s_own_direction_ends_the_link),
        TEST(a_descriptor_where_none_belongs_ends_the_link),
        TEST(a_stream_without_a_descriptor_ends_the_link),
        TEST(draining_serves_what_has_arrived),
        TEST(the_link_may_be_freed_from_its_callbacks),
        TEST(questions_and_orders_reach_envvm),
    };
    return cmocka_run_group_tests_name("env_vm_link", tests, NULL, NULL);
}
