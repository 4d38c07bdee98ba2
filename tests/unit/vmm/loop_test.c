// Tests of pausing sources of the event loop (server/vmm/loop.c).
#include "testing.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "loop.h"

static struct loop *loop;
static int pair[2];
static unsigned seen;

static int setup(void **state)
{
    (void)state;
    seen = 0;
    loop = loop_new();
    return loop ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(pair[0]);
    loop_free(loop);
    return 0;
}

static void on_event(void *arg, uint32_t events)
{
    (void)arg;
    seen |= events;
    loop_stop(loop);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)arg, (void)events;
    loop_stop(loop);
}

// Runs the loop until something is seen, at most 50 ms.
static void run_briefly(void)
{
    struct loop_source *timer = loop_add_timer(loop, on_timer, NULL);
    loop_timer_set(timer, io_monotonic_ns() + 50000000u);
    assert_int_equal(loop_run(loop), 0);
}

static void a_paused_source_does_not_even_report_a_hang_up(void **state)
{
    (void)state;
    struct loop_source *s = loop_add(loop, pair[0], EPOLLIN, on_event, NULL);
    assert_int_equal(loop_modify(s, 0), 0);
    assert_int_equal(loop_modify(s, 0), 0);
    close(pair[1]);
    run_briefly();
    assert_int_equal(seen, 0);
}

static void a_source_that_goes_on_reports_what_it_missed(void **state)
{
    (void)state;
    struct loop_source *s = loop_add(loop, pair[0], 0, on_event, NULL);
    close(pair[1]);
    assert_int_equal(loop_modify(s, EPOLLIN), 0);
    run_briefly();
    assert_true(seen & EPOLLHUP);
}

static void a_paused_source_can_be_removed(void **state)
{
    (void)state;
    struct loop_source *s = loop_add(loop, pair[0], 0, on_event, NULL);
    close(pair[1]);
    loop_remove(s);
    assert_non_null(loop_add(loop, pair[0], EPOLLIN, on_event, NULL));
    run_briefly();
    assert_true(seen & EPOLLHUP);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(a_paused_source_does_not_even_report_a_hang_up),
        LOOP_TEST(a_source_that_goes_on_reports_what_it_missed),
        LOOP_TEST(a_paused_source_can_be_removed),
    };
    return cmocka_run_group_tests_name("vmm/loop", tests, NULL, NULL);
}
