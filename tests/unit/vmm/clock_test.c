// Tests of the clock page (server/vmm/clock.c): read as the guest reads it.
#include "testing.h"

#include <string.h>

#include "clock.h"

#define S      1000000000ull
#define KHZ    2000000u // 2 GHz: two ticks a nanosecond
#define TICK_S (2 * S)

static struct cell_shared shared;
static struct clock_page page;

static int setup(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    clock_page_init(&page, &shared, KHZ);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clock_page_done(&page);
    return 0;
}

static uint64_t passed(uint64_t tsc)
{
    return (uint64_t)(((unsigned __int128)(tsc - shared.tsc_base) * shared.mult) >> 32);
}

static uint64_t monotonic(uint64_t tsc)
{
    assert_false(shared.clock_seq & 1);
    return shared.monotonic_base_ns + passed(tsc);
}

static void update(uint64_t tsc, uint64_t monotonic_ns)
{
    const struct clock_reading now = {
        .tsc = tsc, .monotonic_ns = monotonic_ns, .realtime_ns = monotonic_ns + 7 * S};
    clock_page_update(&page, &now);
}

static void assert_near(uint64_t a, uint64_t b)
{
    assert_in_range(a, b - 2, b + 2);
}

static void the_guest_reads_the_hosts_time(void **state)
{
    (void)state;
    update(1000, 50 * S);
    assert_near(monotonic(1000), 50 * S);
    assert_near(monotonic(1000 + TICK_S), 51 * S);
    assert_int_equal(shared.realtime_base_ns, 57 * S);
}

static void every_update_moves_the_sequence_by_two(void **state)
{
    (void)state;
    update(0, S);
    assert_int_equal(shared.clock_seq, 2);
    shared.clock_seq = 12345; // the guest scribbles
    update(TICK_S, 2 * S);
    assert_int_equal(shared.clock_seq, 4);
}

static void a_clock_that_is_behind_jumps_forward(void **state)
{
    (void)state;
    update(0, S);
    update(TICK_S, 2 * S + 500);
    assert_near(monotonic(TICK_S), 2 * S + 500);
    assert_near(monotonic(2 * TICK_S), 3 * S + 500);
}

static void a_clock_that_is_ahead_slows_down_and_never_goes_back(void **state)
{
    (void)state;
    update(0, S);
    const uint64_t shown = monotonic(TICK_S);
    update(TICK_S, 2 * S - 100000); // the host is 100 us behind what the guest has seen
    assert_true(monotonic(TICK_S) >= shown);
    assert_near(monotonic(2 * TICK_S), 3 * S - 100000); // met after a second
}

static void a_clock_that_is_far_ahead_still_moves(void **state)
{
    (void)state;
    update(0, 100 * S);
    update(TICK_S, S);
    const uint64_t a = monotonic(TICK_S), b = monotonic(2 * TICK_S);
    assert_near(a, 101 * S);
    assert_near(b - a, S - S / 8);
}

static void a_counter_that_goes_back_does_not_take_the_clock_with_it(void **state)
{
    (void)state;
    update(1000000, 10 * S);
    update(999000, 10 * S - 500);
    assert_true(monotonic(999000) >= 10 * S);
}

static void real_readings_agree_with_each_other(void **state)
{
    (void)state;
    const struct clock_reading a = clock_read(), b = clock_read();
    assert_true(b.tsc > a.tsc);
    assert_true(b.monotonic_ns >= a.monotonic_ns);
    assert_true(a.realtime_ns > 1700000000 * S);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_guest_reads_the_hosts_time),
        CASE(every_update_moves_the_sequence_by_two),
        CASE(a_clock_that_is_behind_jumps_forward),
        CASE(a_clock_that_is_ahead_slows_down_and_never_goes_back),
        CASE(a_clock_that_is_far_ahead_still_moves),
        CASE(a_counter_that_goes_back_does_not_take_the_clock_with_it),
        cmocka_unit_test(real_readings_agree_with_each_other),
    };
    return cmocka_run_group_tests_name("vmm/clock", tests, NULL, NULL);
}
