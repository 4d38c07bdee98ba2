// Tests of the event loop (server/common/loop.c).
#include "testing.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "common/loop.h"

#define MS 1000000ull

struct fixture {
    struct loop *loop;
    int a, b; // eventfds
    struct loop_source *source_a, *source_b, *timer;
    int n_a, n_b, n_timer;
    uint32_t events;
    uint64_t rearm_ns;
};

static void ring(int fd)
{
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
}

static void drain(int fd)
{
    uint64_t n;
    assert_int_equal(read(fd, &n, sizeof n), sizeof n);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->loop = loop_new();
    f->a = eventfd(0, EFD_NONBLOCK);
    f->b = eventfd(0, EFD_NONBLOCK);
    *state = f;
    return f->loop ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    close(f->a);
    close(f->b);
    free(f);
    return 0;
}

static void on_a(void *arg, uint32_t events)
{
    struct fixture *f = arg;
    f->n_a++;
    f->events = events;
    drain(f->a);
    loop_stop(f->loop);
}

static void on_b(void *arg, uint32_t events)
{
    struct fixture *f = arg;
    (void)events;
    f->n_b++;
    drain(f->b);
}

static void on_a_removes_both(void *arg, uint32_t events)
{
    struct fixture *f = arg;
    (void)events;
    f->n_a++;
    loop_remove(f->source_a);
    loop_remove(f->source_b);
    loop_remove(f->source_b); // harmless
}

static void on_timer(void *arg, uint32_t events)
{
    struct fixture *f = arg;
    f->n_timer++;
    f->events = events;
    if (f->rearm_ns && f->n_timer < 3)
        loop_timer_set(f->timer, f->rearm_ns);
    else
        loop_stop(f->loop);
}

static void a_readable_descriptor_calls_back_with_its_events(void **state)
{
    struct fixture *f = *state;
    assert_non_null(loop_add(f->loop, f->a, EPOLLIN, on_a, f));
    ring(f->a);
    assert_int_equal(loop_run(f->loop), 0);
    assert_int_equal(f->n_a, 1);
    assert_int_equal(f->events, EPOLLIN);
}

static void a_descriptor_cannot_be_added_twice(void **state)
{
    struct fixture *f = *state;
    assert_non_null(loop_add(f->loop, f->a, EPOLLIN, on_a, f));
    assert_null(loop_add(f->loop, f->a, EPOLLIN, on_a, f));
}

static void a_paused_source_is_silent_until_it_is_resumed(void **state)
{
    struct fixture *f = *state;
    f->source_b = loop_add(f->loop, f->b, EPOLLIN, on_b, f);
    f->timer = loop_add_timer(f->loop, on_timer, f);
    assert_int_equal(loop_modify(f->source_b, 0), 0);
    ring(f->b);
    loop_timer_set(f->timer, io_monotonic_ns() + 10 * MS);
    loop_run(f->loop);
    assert_int_equal(f->n_b, 0);
    assert_int_equal(loop_modify(f->source_b, EPOLLIN), 0);
    loop_timer_set(f->timer, io_monotonic_ns() + 10 * MS);
    loop_run(f->loop);
    assert_int_equal(f->n_b, 1);
}

// ---- pausing; the peer of pair[0] hangs up ----

static void on_hang_up(void *arg, uint32_t events)
{
    struct fixture *f = arg;
    f->n_a++;
    f->events = events;
    loop_stop(f->loop);
}

static void run_briefly(struct fixture *f)
{
    f->timer = loop_add_timer(f->loop, on_timer, f);
    loop_timer_set(f->timer, io_monotonic_ns() + 20 * MS);
    assert_int_equal(loop_run(f->loop), 0);
}

static void a_paused_source_does_not_even_report_a_hang_up(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct loop_source *s = loop_add(f->loop, pair[0], EPOLLIN, on_hang_up, f);
    assert_int_equal(loop_modify(s, 0), 0);
    assert_int_equal(loop_modify(s, 0), 0);
    close(pair[1]);
    run_briefly(f);
    assert_int_equal(f->n_a, 0);
    close(pair[0]);
}

static void a_source_that_goes_on_reports_what_it_missed(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct loop_source *s = loop_add(f->loop, pair[0], 0, on_hang_up, f);
    close(pair[1]);
    assert_int_equal(loop_modify(s, EPOLLIN), 0);
    run_briefly(f);
    assert_true(f->events & EPOLLHUP);
    close(pair[0]);
}

static void a_paused_source_can_be_removed(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct loop_source *s = loop_add(f->loop, pair[0], 0, on_hang_up, f);
    close(pair[1]);
    loop_remove(s);
    assert_non_null(loop_add(f->loop, pair[0], EPOLLIN, on_hang_up, f));
    run_briefly(f);
    assert_true(f->events & EPOLLHUP);
    close(pair[0]);
}

static void removing_in_a_callback_stops_events_of_the_same_round(void **state)
{
    struct fixture *f = *state;
    f->source_a = loop_add(f->loop, f->a, EPOLLIN, on_a_removes_both, f);
    f->source_b = loop_add(f->loop, f->b, EPOLLIN, on_a_removes_both, f);
    f->timer = loop_add_timer(f->loop, on_timer, f);
    ring(f->a);
    ring(f->b);
    loop_timer_set(f->timer, io_monotonic_ns() + 5 * MS);
    loop_run(f->loop);
    assert_int_equal(f->n_a, 1); // whichever came first removed the other
}

static void a_timer_fires_once_and_not_early(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_add_timer(f->loop, on_timer, f);
    const uint64_t due_ns = io_monotonic_ns() + 20 * MS;
    loop_timer_set(f->timer, due_ns);
    loop_run(f->loop);
    assert_int_equal(f->n_timer, 1);
    assert_int_equal(f->events, 0);
    assert_true(io_monotonic_ns() >= due_ns);
}

static void a_timer_can_be_armed_again_from_its_callback(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_add_timer(f->loop, on_timer, f);
    f->rearm_ns = 1; // long past
    loop_timer_set(f->timer, 1);
    loop_run(f->loop);
    assert_int_equal(f->n_timer, 3);
}

static void a_disarmed_timer_stays_silent(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_add_timer(f->loop, on_timer, f);
    struct loop_source *other = loop_add_timer(f->loop, on_timer, f);
    loop_timer_set(other, 1);
    loop_timer_set(other, 0);
    loop_timer_set(f->timer, io_monotonic_ns() + 5 * MS);
    loop_run(f->loop);
    assert_int_equal(f->n_timer, 1);
}

static void a_removed_timer_stays_silent(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_add_timer(f->loop, on_timer, f);
    struct loop_source *other = loop_add_timer(f->loop, on_timer, f);
    loop_timer_set(other, 1);
    loop_remove(other);
    loop_timer_set(f->timer, io_monotonic_ns() + 5 * MS);
    loop_run(f->loop);
    assert_int_equal(f->n_timer, 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_readable_descriptor_calls_back_with_its_events),
        CASE(a_descriptor_cannot_be_added_twice),
        CASE(a_paused_source_is_silent_until_it_is_resumed),
        CASE(a_paused_source_does_not_even_report_a_hang_up),
        CASE(a_source_that_goes_on_reports_what_it_missed),
        CASE(a_paused_source_can_be_removed),
        CASE(removing_in_a_callback_stops_events_of_the_same_round),
        CASE(a_timer_fires_once_and_not_early),
        CASE(a_timer_can_be_armed_again_from_its_callback),
        CASE(a_disarmed_timer_stays_silent),
        CASE(a_removed_timer_stays_silent),
    };
    return cmocka_run_group_tests_name("vmm/loop", tests, NULL, NULL);
}
