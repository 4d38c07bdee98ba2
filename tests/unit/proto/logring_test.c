// Tests of the log file's layout (proto/logring.c).
#include "testing.h"

#include <string.h>

#include "proto/logring.h"

static uint8_t raw[LOGRING_HEADER];

static int setup(void **state)
{
    (void)state;
    memset(raw, 0, sizeof raw);
    logring_header_write(&(struct logring){.capacity = 4096, .total = 5000, .dropped = 7}, raw);
    return 0;
}

static void the_header_survives_the_round_trip(void **state)
{
    (void)state;
    struct logring ring;
    assert_memory_equal(raw, "ENVLOG1\n\0\x10\0\0\0\0\0\0\x88\x13", 18);
    assert_null(logring_header_read(raw, &ring));
    assert_int_equal(ring.capacity, 4096);
    assert_int_equal(ring.total, 5000);
    assert_int_equal(ring.dropped, 7);
}

static void a_header_without_magic_or_with_rubbish_is_refused(void **state)
{
    (void)state;
    struct logring ring;
    raw[0] = 'X';
    assert_string_equal(logring_header_read(raw, &ring), "not a log: the magic is missing");
    setup(NULL);
    raw[LOGRING_HEADER - 1] = 1;
    assert_string_equal(logring_header_read(raw, &ring), "the log's header has bytes that should be zero");
}

static void a_capacity_out_of_range_is_refused(void **state)
{
    (void)state;
    const uint64_t bad[] = {0, LOGRING_CAPACITY_MIN - 1, LOGRING_CAPACITY_MAX + 1ull, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct logring ring;
        logring_header_write(&(struct logring){.capacity = bad[i]}, raw);
        assert_string_equal(logring_header_read(raw, &ring), "the log's capacity is out of range");
    }
}

static void a_piece_that_wraps_has_two_spans(void **state)
{
    (void)state;
    struct logring ring = {.capacity = 4096};
    struct logring_span spans[2];
    assert_int_equal(logring_spans(&ring, 4096 + 4000, 200, spans), 2);
    assert_int_equal(spans[0].file_offset, LOGRING_HEADER + 4000);
    assert_int_equal(spans[0].len, 96);
    assert_int_equal(spans[1].file_offset, LOGRING_HEADER);
    assert_int_equal(spans[1].len, 104);
}

static void a_piece_up_to_the_end_has_one_span(void **state)
{
    (void)state;
    struct logring ring = {.capacity = 4096};
    struct logring_span spans[2];
    assert_int_equal(logring_spans(&ring, 4000, 96, spans), 1);
    assert_int_equal(spans[0].len, 96);
    assert_int_equal(logring_spans(&ring, 0, 4096, spans), 1);
    assert_int_equal(logring_spans(&ring, 1, 4096, spans), 2);
}

static void nothing_and_too_much_have_no_spans(void **state)
{
    (void)state;
    struct logring ring = {.capacity = 4096};
    struct logring_span spans[2];
    assert_int_equal(logring_spans(&ring, 0, 0, spans), 0);
    assert_int_equal(logring_spans(&ring, 0, 4097, spans), 0);
}

static void the_oldest_byte_is_one_capacity_back(void **state)
{
    (void)state;
    assert_int_equal(logring_oldest(&(struct logring){.capacity = 4096, .total = 4096}), 0);
    assert_int_equal(logring_oldest(&(struct logring){.capacity = 4096, .total = 4097}), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_header_survives_the_round_trip, setup),
        cmocka_unit_test_setup(a_header_without_magic_or_with_rubbish_is_refused, setup),
        cmocka_unit_test_setup(a_capacity_out_of_range_is_refused, setup),
        cmocka_unit_test(a_piece_that_wraps_has_two_spans),
        cmocka_unit_test(a_piece_up_to_the_end_has_one_span),
        cmocka_unit_test(nothing_and_too_much_have_no_spans),
        cmocka_unit_test(the_oldest_byte_is_one_capacity_back),
    };
    return cmocka_run_group_tests_name("proto/logring", tests, NULL, NULL);
}
