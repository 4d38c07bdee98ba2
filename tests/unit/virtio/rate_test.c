// Tests of the token bucket (server/vmm/virtio/rate.c).
#include "testing.h"

#include "virtio/rate.h"

#define S 1000000000ull

static struct rate rate;

static void zero_is_unlimited(void **state)
{
    (void)state;
    rate_init(&rate, 0, 1, S);
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(rate_ready(&rate, S));
        rate_take(&rate, UINT64_MAX);
    }
    assert_int_equal(rate_next_ns(&rate), 0);
}

static void a_full_bucket_holds_a_tenth_of_a_second(void **state)
{
    (void)state;
    rate_init(&rate, 1000, 1, S);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(rate_ready(&rate, S));
        rate_take(&rate, 1);
    }
    assert_false(rate_ready(&rate, S));
}

static void a_full_bucket_holds_at_least_the_minimum(void **state)
{
    (void)state;
    rate_init(&rate, 10, 64, S);
    for (unsigned i = 0; i < 64; i++) {
        assert_true(rate_ready(&rate, S));
        rate_take(&rate, 1);
    }
    assert_false(rate_ready(&rate, S));
}

static void it_is_ready_when_it_said_it_would_be_and_not_before(void **state)
{
    (void)state;
    rate_init(&rate, 3, 1, S);
    rate_take(&rate, 1);
    uint64_t at = rate_next_ns(&rate);
    assert_false(rate_ready(&rate, at - 1));
    assert_true(rate_ready(&rate, at));
    assert_in_range(at, S + S / 3, S + S / 3 + 1);
}

static void a_debt_is_paid_before_anything_else_happens(void **state)
{
    (void)state;
    rate_init(&rate, 10, 1, S);
    rate_take(&rate, 11); // 10 more than there was
    assert_false(rate_ready(&rate, 2 * S));
    assert_true(rate_ready(&rate, 2 * S + S / 10));
}

static void looking_often_loses_no_tokens(void **state)
{
    (void)state;
    rate_init(&rate, 7, 1, 0);
    rate_take(&rate, 1);
    unsigned n = 0;
    for (uint64_t now = 0; now <= 10 * S; now += S / 1000)
        while (rate_ready(&rate, now)) {
            rate_take(&rate, 1);
            n++;
        }
    assert_int_equal(n, 70);
}

static void a_long_sleep_fills_the_bucket_and_no_more(void **state)
{
    (void)state;
    rate_init(&rate, 1ull << 60, 1, 0);
    rate_take(&rate, 1ull << 60);
    assert_true(rate_ready(&rate, UINT64_MAX));
    assert_int_equal(rate.tokens, rate.burst);
    assert_true(rate_ready(&rate, 0)); // a clock that goes back adds nothing
}

static void the_smallest_rate_with_the_largest_debt_does_not_overflow(void **state)
{
    (void)state;
    rate_init(&rate, 1, 1, UINT64_MAX - 1);
    rate_take(&rate, UINT64_MAX);
    rate_take(&rate, UINT64_MAX);
    assert_false(rate_ready(&rate, UINT64_MAX));
    assert_true(rate_next_ns(&rate) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_is_unlimited),
        cmocka_unit_test(a_full_bucket_holds_a_tenth_of_a_second),
        cmocka_unit_test(a_full_bucket_holds_at_least_the_minimum),
        cmocka_unit_test(it_is_ready_when_it_said_it_would_be_and_not_before),
        cmocka_unit_test(a_debt_is_paid_before_anything_else_happens),
        cmocka_unit_test(looking_often_loses_no_tokens),
        cmocka_unit_test(a_long_sleep_fills_the_bucket_and_no_more),
        cmocka_unit_test(the_smallest_rate_with_the_largest_debt_does_not_overflow),
    };
    return cmocka_run_group_tests_name("virtio/rate", tests, NULL, NULL);
}
