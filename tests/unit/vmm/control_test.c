// Tests of the control socket (server/vmm/control.c) against the other end of a socket pair.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "control.h"
#include "proto/wire.h"

#define MS 1000000ull

struct fixture {
    int ours, theirs;
    struct loop *loop;
    struct loop_source *timer;
    struct control control;
    int n_quit;
    char orders[64]; // a letter each, in the order in which they came
    uint16_t columns, rows;
    uint32_t target_mib;
    bool no_console; // there is none to have
    int console;     // the descriptor given last, as the test's own
};

static void note(struct fixture *f, char order)
{
    const size_t n = strlen(f->orders);
    assert_true(n < sizeof f->orders - 1);
    f->orders[n] = order;
}

static void on_quit(void *arg)
{
    struct fixture *f = arg;
    f->n_quit++;
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    struct fixture *f = arg;
    loop_stop(f->loop);
}

static const struct control_ops ops = {.quit = on_quit};

static void on_pause(void *arg)
{
    note(arg, 'p');
}

static void on_resume(void *arg)
{
    note(arg, 'r');
}

static int on_console(void *arg)
{
    struct fixture *f = arg;
    int pair[2];
    note(f, 'c');
    if (f->no_console)
        return -EMFILE;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    if (f->console >= 0)
        close(f->console);
    f->console = pair[0];
    return pair[1];
}

static void on_resize(void *arg, uint16_t columns, uint16_t rows)
{
    struct fixture *f = arg;
    note(f, 's');
    f->columns = columns;
    f->rows = rows;
}

static void on_balloon(void *arg, uint32_t target_mib)
{
    struct fixture *f = arg;
    note(f, 'b');
    f->target_mib = target_mib;
}

static void on_stats(void *arg, struct vmctl_stats *ret)
{
    note(arg, 't');
    *ret = (struct vmctl_stats){.cpu_ns = 7, .disk_flushes = 9};
}

static const struct control_ops all_ops = {.quit = on_quit,
                                           .pause = on_pause,
                                           .resume = on_resume,
                                           .console = on_console,
                                           .resize = on_resize,
                                           .balloon = on_balloon,
                                           .stats = on_stats};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    struct err err;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    f->ours = pair[0];
    f->theirs = pair[1];
    f->console = -1;
    f->loop = loop_new();
    f->timer = loop_add_timer(f->loop, on_timer, f);
    if (control_init(&f->control, f->ours, &err) < 0)
        return -1;
    return control_watch(&f->control, f->loop, &ops, f);
}

// A machine that follows every order.
static int setup_all(void **state)
{
    int rc = setup(state);
    struct fixture *f = *state;
    f->control.ops = &all_ops;
    return rc;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    control_done(&f->control);
    loop_free(f->loop);
    close(f->ours);
    if (f->theirs >= 0)
        close(f->theirs);
    if (f->console >= 0)
        close(f->console);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    loop_timer_set(f->timer, io_monotonic_ns() + 5 * MS);
    loop_run(f->loop);
}

static void send_order(struct fixture *f, const struct vmctl_message *m)
{
    uint8_t data[64];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    assert_int_equal(io_send_fds(f->theirs, data, w.pos, NULL, 0), 0);
}

static void send_type(struct fixture *f, enum vmctl_type type)
{
    send_order(f, &(struct vmctl_message){.type = type});
}

// The next datagram, its views valid until the next call; false when there is none.
static bool receive(struct fixture *f, struct vmctl_message *ret, int *ret_fd)
{
    static uint8_t data[2048];
    int fd = -1;
    size_t n_fds = 1;
    fcntl(f->theirs, F_SETFL, O_NONBLOCK);
    ssize_t n = io_recv_fds(f->theirs, data, sizeof data, &fd, &n_fds);
    if (n <= 0)
        return false;
    struct wire_error wrong;
    assert_true(vmctl_read(data, (size_t)n, ret, &wrong));
    if (ret_fd)
        *ret_fd = n_fds ? fd : -1;
    else if (n_fds)
        close(fd);
    return true;
}

// The next datagram and its descriptor, the caller's then (or -1), within two seconds.
static void await_with_fd(struct fixture *f, struct vmctl_message *ret, int *ret_fd)
{
    for (int i = 0; i < 400; i++) {
        if (receive(f, ret, ret_fd))
            return;
        turn(f);
    }
    fail_msg("nothing came");
}

static void await_message(struct fixture *f, struct vmctl_message *ret)
{
    await_with_fd(f, ret, NULL);
}

// Until as many orders were followed, or two seconds.
static void await_orders(struct fixture *f, const char *orders)
{
    for (int i = 0; i < 400 && strlen(f->orders) < strlen(orders); i++)
        turn(f);
    assert_string_equal(f->orders, orders);
}

static void await_quit(struct fixture *f)
{
    for (int i = 0; i < 400 && f->n_quit == 0; i++)
        turn(f);
    assert_int_equal(f->n_quit, 1);
}

static void set_failed(struct fixture *f, const char *why)
{
    struct outcome o;
    outcome_fail(&o, VMCTL_CAUSE_GUEST_FAULT, "%s", why);
    control_set_state(&f->control, &o);
}

// Sends until there is no more room; returns how many went through.
static int fill(struct fixture *f)
{
    int n = 0;
    while (!f->control.log_due && n < 100000)
        control_set_log(&f->control, (uint64_t)++n);
    assert_true(f->control.log_due);
    return n;
}

static void a_state_is_sent_at_once(void **state)
{
    struct fixture *f = *state;
    set_failed(f, "bad luck");
    struct vmctl_message m = {0};
    assert_true(receive(f, &m, NULL));
    assert_int_equal(m.type, VMCTL_STATE);
    assert_int_equal(m.state.state, VMCTL_FAILED);
    assert_int_equal(m.state.cause, VMCTL_CAUSE_GUEST_FAULT);
    assert_true(wire_view_equals(m.state.reason, "bad luck"));
    assert_false(receive(f, &m, NULL));
}

static void the_longest_reason_arrives(void **state)
{
    struct fixture *f = *state;
    char reason[2 * VMCTL_REASON_MAX];
    memset(reason, 'r', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    set_failed(f, reason);
    struct vmctl_message m = {0};
    assert_true(receive(f, &m, NULL));
    assert_int_equal(m.state.reason.len, VMCTL_REASON_MAX);
}

static void a_query_is_answered_with_state_and_log(void **state)
{
    struct fixture *f = *state;
    const struct outcome running = {.state = VMCTL_RUNNING};
    control_set_state(&f->control, &running);
    control_set_log(&f->control, 77);
    struct vmctl_message m = {0};
    while (receive(f, &m, NULL))
        continue;
    send_type(f, VMCTL_QUERY);
    await_message(f, &m);
    assert_int_equal(m.type, VMCTL_LOG);
    assert_int_equal(m.log_total, 77);
    assert_true(receive(f, &m, NULL));
    assert_int_equal(m.type, VMCTL_STATE);
    assert_int_equal(m.state.state, VMCTL_RUNNING);
}

static void quit_is_passed_on(void **state)
{
    struct fixture *f = *state;
    send_type(f, VMCTL_QUIT);
    await_quit(f);
}

static void a_closed_other_end_quits_once(void **state)
{
    struct fixture *f = *state;
    close(f->theirs);
    f->theirs = -1;
    await_quit(f);
    turn(f);
    assert_int_equal(f->n_quit, 1);
}

static void garbage_is_ignored(void **state)
{
    struct fixture *f = *state;
    static const uint8_t garbage[200] = {0xff, 0xff, 1, 2, 3};
    assert_int_equal(io_send_fds(f->theirs, garbage, sizeof garbage, NULL, 0), 0);
    assert_int_equal(io_send_fds(f->theirs, garbage, 1, NULL, 0), 0);
    assert_int_equal(io_send_fds(f->theirs, garbage, 5, &f->ours, 1), 0);
    send_type(f, VMCTL_QUERY);
    struct vmctl_message m = {0};
    await_message(f, &m);
    assert_int_equal(f->n_quit, 0);
}

static void a_stream_travels_with_its_descriptor(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(control_add_stream(&f->control, 49152, 1024, pair[1]), 0);
    struct vmctl_message m = {0};
    int fd;
    assert_true(receive(f, &m, &fd));
    assert_int_equal(m.type, VMCTL_STREAM);
    assert_int_equal(m.stream.guest_port, 49152);
    assert_int_equal(m.stream.host_port, 1024);
    assert_true(fd >= 0);
    close(fd);
    char c;
    assert_int_equal(read(pair[0], &c, 1), 0); // ours is closed as well
    close(pair[0]);
}

static void the_newest_state_and_log_survive_a_full_socket(void **state)
{
    struct fixture *f = *state;
    const int n = fill(f);
    set_failed(f, "first");
    set_failed(f, "second");
    control_set_log(&f->control, 999999);
    struct vmctl_message m = {0};
    for (int i = 1; i < n; i++) {
        assert_true(receive(f, &m, NULL));
        assert_int_equal(m.log_total, (uint64_t)i);
    }
    assert_false(receive(f, &m, NULL));
    await_message(f, &m);
    assert_int_equal(m.log_total, 999999);
    assert_true(receive(f, &m, NULL));
    assert_true(wire_view_equals(m.state.reason, "second"));
    assert_false(receive(f, &m, NULL));
}

static void streams_wait_up_to_a_limit_and_arrive_in_order(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (uint32_t i = 0; i < CONTROL_STREAMS_MAX; i++)
        assert_int_equal(control_add_stream(&f->control, i, 1024, dup(0)), 0);
    const int one_more = dup(0);
    assert_int_equal(control_add_stream(&f->control, 99, 1024, one_more), -EAGAIN);
    assert_int_equal(fcntl(one_more, F_GETFD), -1); // closed
    struct vmctl_message m = {0};
    uint32_t next = 0;
    for (int rounds = 0; rounds < 400 && next < CONTROL_STREAMS_MAX; rounds++) {
        while (receive(f, &m, NULL))
            if (m.type == VMCTL_STREAM)
                assert_int_equal(m.stream.guest_port, next++);
        turn(f);
    }
    assert_int_equal(next, CONTROL_STREAMS_MAX);
}

static void streams_for_nobody_are_refused(void **state)
{
    struct fixture *f = *state;
    close(f->theirs);
    f->theirs = -1;
    const struct outcome running = {.state = VMCTL_RUNNING};
    control_set_state(&f->control, &running); // notices
    assert_int_equal(control_add_stream(&f->control, 1, 1024, dup(0)), -EPIPE);
}

static void last_words_do_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;
    fill(f);
    set_failed(f, "last");
    const uint64_t start_ns = io_monotonic_ns();
    control_finish(&f->control, 50);
    assert_in_range(io_monotonic_ns() - start_ns, 49 * MS, 5000 * MS);
}

// ---- orders ----

static void orders_are_passed_on_in_their_order_and_as_often_as_they_come(void **state)
{
    struct fixture *f = *state;
    static const enum vmctl_type types[] = {VMCTL_RESUME, VMCTL_PAUSE,  VMCTL_PAUSE,
                                            VMCTL_RESUME, VMCTL_RESUME, VMCTL_PAUSE};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        send_type(f, types[i]);
    await_orders(f, "rpprrp");
    assert_int_equal(f->n_quit, 0);
}

static void a_resize_and_a_balloon_carry_their_numbers(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {.type = VMCTL_RESIZE, .resize = {.columns = 132, .rows = 43}};
    send_order(f, &m);
    m = (struct vmctl_message){.type = VMCTL_BALLOON, .balloon_target_mib = 96};
    send_order(f, &m);
    await_orders(f, "sb");
    assert_int_equal(f->columns, 132);
    assert_int_equal(f->rows, 43);
    assert_int_equal(f->target_mib, 96);
}

static void stats_are_taken_when_they_are_sent(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {0};
    send_type(f, VMCTL_STATS);
    await_message(f, &m);
    assert_int_equal(m.type, VMCTL_STATS_IS);
    assert_int_equal(m.stats.cpu_ns, 7);
    assert_int_equal(m.stats.disk_flushes, 9);
    assert_false(receive(f, &m, NULL));
}

static void stats_asked_for_often_are_answered_once_for_all_that_wait(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (int i = 0; i < 3; i++)
        send_type(f, VMCTL_STATS);
    turn(f);
    struct vmctl_message m = {0};
    unsigned n_stats = 0;
    for (int rounds = 0; rounds < 20; rounds++) {
        while (receive(f, &m, NULL))
            n_stats += m.type == VMCTL_STATS_IS;
        turn(f);
    }
    assert_int_equal(n_stats, 1);
}

static void a_console_comes_with_its_descriptor(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {0};
    int fd;
    send_type(f, VMCTL_CONSOLE);
    await_with_fd(f, &m, &fd);
    assert_int_equal(m.type, VMCTL_CONSOLE);
    assert_true(fd >= 0);
    assert_int_equal(write(f->console, "x", 1), 1);
    char c = 0;
    assert_int_equal(read(fd, &c, 1), 1);
    assert_int_equal(c, 'x');
    close(fd);
    assert_int_equal(read(f->console, &c, 1), 0); // nobody else holds it
}

static void a_console_that_cannot_be_had_is_answered_without_one(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {0};
    int fd;
    f->no_console = true;
    send_type(f, VMCTL_CONSOLE);
    await_with_fd(f, &m, &fd);
    assert_int_equal(m.type, VMCTL_CONSOLE);
    assert_int_equal(fd, -1);
}

static void of_consoles_that_wait_the_newest_is_sent_and_the_others_closed(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {0};
    fill(f);
    send_type(f, VMCTL_CONSOLE);
    await_orders(f, "c");
    const int first = f->console;
    f->console = -1;
    send_type(f, VMCTL_CONSOLE);
    await_orders(f, "cc");
    char c;
    assert_int_equal(read(first, &c, 1), 0);
    close(first);
    unsigned n_consoles = 0;
    for (int rounds = 0; rounds < 20; rounds++) {
        int fd;
        while (receive(f, &m, &fd)) {
            n_consoles += m.type == VMCTL_CONSOLE;
            if (fd >= 0)
                close(fd);
        }
        turn(f);
    }
    assert_int_equal(n_consoles, 1);
}

static void a_console_that_was_never_sent_is_closed_at_the_end(void **state)
{
    struct fixture *f = *state;
    fill(f);
    send_type(f, VMCTL_CONSOLE);
    await_orders(f, "c");
    control_done(&f->control);
    char c;
    assert_int_equal(read(f->console, &c, 1), 0);
}

// As a machine without such a device.
static void orders_that_nobody_follows_are_ignored_and_a_console_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vmctl_message m = {0};
    int fd;
    send_type(f, VMCTL_PAUSE);
    send_type(f, VMCTL_RESUME);
    send_type(f, VMCTL_RESIZE);
    send_type(f, VMCTL_BALLOON);
    send_type(f, VMCTL_STATS);
    send_type(f, VMCTL_CONSOLE);
    await_with_fd(f, &m, &fd);
    assert_int_equal(m.type, VMCTL_CONSOLE);
    assert_int_equal(fd, -1);
    assert_false(receive(f, &m, NULL));
    assert_int_equal(f->n_quit, 0);
}

#define CASE(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ORDER(f) cmocka_unit_test_setup_teardown(f, setup_all, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_state_is_sent_at_once),
        CASE(the_longest_reason_arrives),
        CASE(a_query_is_answered_with_state_and_log),
        CASE(quit_is_passed_on),
        CASE(a_closed_other_end_quits_once),
        CASE(garbage_is_ignored),
        CASE(a_stream_travels_with_its_descriptor),
        CASE(the_newest_state_and_log_survive_a_full_socket),
        CASE(streams_wait_up_to_a_limit_and_arrive_in_order),
        CASE(streams_for_nobody_are_refused),
        CASE(last_words_do_not_wait_for_ever),
        ORDER(orders_are_passed_on_in_their_order_and_as_often_as_they_come),
        ORDER(a_resize_and_a_balloon_carry_their_numbers),
        ORDER(stats_are_taken_when_they_are_sent),
        ORDER(stats_asked_for_often_are_answered_once_for_all_that_wait),
        ORDER(a_console_comes_with_its_descriptor),
        ORDER(a_console_that_cannot_be_had_is_answered_without_one),
        ORDER(of_consoles_that_wait_the_newest_is_sent_and_the_others_closed),
        ORDER(a_console_that_was_never_sent_is_closed_at_the_end),
        CASE(orders_that_nobody_follows_are_ignored_and_a_console_is_refused),
    };
    return cmocka_run_group_tests_name("vmm/control", tests, NULL, NULL);
}
