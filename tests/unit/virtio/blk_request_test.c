// Tests of what block requests may say (server/vmm/virtio/blk_request.c).
#include "testing.h"

#include <linux/virtio_blk.h>
#include <string.h>

#include "virtio/blk_request.h"

#define DISK_BYTES (1u << 20)
#define ALL_FEATURES                                                                                         \
    (1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES)
#define HEADER BLK_HEADER_BYTES

static struct blk_limits limits;
static struct blk_request request;
static uint8_t status;
static const char *why;

static int setup(void **state)
{
    (void)state;
    limits = (struct blk_limits){.disk_bytes = DISK_BYTES, .features = ALL_FEATURES};
    request = (struct blk_request){0};
    status = 0xee;
    why = NULL;
    return 0;
}

static enum blk_verdict parse(uint32_t type, uint64_t sector, uint64_t readable, uint64_t writable)
{
    uint8_t prefix[BLK_PREFIX_BYTES] = {0};
    const struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    memcpy(prefix, &header, sizeof header);
    return blk_parse(prefix, readable, writable, &limits, &request, &status, &why);
}

static enum blk_verdict parse_range(uint32_t type, uint64_t sector, uint32_t n_sectors, uint32_t flags)
{
    uint8_t prefix[BLK_PREFIX_BYTES] = {0};
    const struct virtio_blk_outhdr header = {.type = type, .sector = UINT64_MAX}; // means nothing here
    const struct virtio_blk_discard_write_zeroes range = {
        .sector = sector, .num_sectors = n_sectors, .flags = flags};
    memcpy(prefix, &header, sizeof header);
    memcpy(prefix + HEADER, &range, sizeof range);
    return blk_parse(prefix, BLK_PREFIX_BYTES, 1, &limits, &request, &status, &why);
}

#define assert_refused(verdict, as)                                                                          \
    do {                                                                                                     \
        assert_int_equal(verdict, BLK_REFUSE);                                                               \
        assert_int_equal(status, as);                                                                        \
    } while (0)

static void transfers_inside_the_disk_are_accepted(void **state)
{
    (void)state;
    assert_int_equal(parse(VIRTIO_BLK_T_IN, 2, HEADER, 1025), BLK_PERFORM);
    assert_int_equal(request.verb, BLK_IN);
    assert_int_equal(request.offset, 1024);
    assert_int_equal(request.bytes, 1024);
    assert_int_equal(parse(VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 1, HEADER + 512, 1), BLK_PERFORM);
    assert_int_equal(request.verb, BLK_OUT);
    assert_int_equal(request.offset, DISK_BYTES - 512);
}

static void transfers_outside_the_disk_are_io_errors(void **state)
{
    (void)state;
    assert_refused(parse(VIRTIO_BLK_T_IN, DISK_BYTES / 512, HEADER, 513), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 1, HEADER + 1024, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_IN, UINT64_MAX, HEADER, 513), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_IN, UINT64_MAX / 512, HEADER, 513), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_IN, 1ull << 55, HEADER, 513), VIRTIO_BLK_S_IOERR); // wraps to 0
}

static void transfers_of_no_whole_sectors_or_in_both_directions_are_io_errors(void **state)
{
    (void)state;
    assert_refused(parse(VIRTIO_BLK_T_IN, 0, HEADER, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_IN, 0, HEADER, 512), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_OUT, 0, HEADER + 511, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_OUT, 0, HEADER + 512, 513), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_IN, 0, HEADER + 512, 513), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_FLUSH, 0, HEADER + 512, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_GET_ID, 0, HEADER, 20), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_GET_ID, 0, HEADER, 22), VIRTIO_BLK_S_IOERR);
}

static void ranges_inside_the_disk_are_accepted(void **state)
{
    (void)state;
    assert_int_equal(parse_range(VIRTIO_BLK_T_DISCARD, 8, 16, 0), BLK_PERFORM);
    assert_int_equal(request.verb, BLK_DISCARD);
    assert_int_equal(request.offset, 4096);
    assert_int_equal(request.bytes, 8192);
    assert_int_equal(parse_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, DISK_BYTES / 512, 1), BLK_PERFORM);
    assert_true(request.unmap);
    assert_int_equal(parse_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), BLK_PERFORM);
    assert_false(request.unmap);
}

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    limits.disk_bytes = 1ull << 40;
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, 0, BLK_SEGMENT_SECTORS_MAX + 1, 0), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, (1ull << 31) - 1, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
    assert_refused(parse_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
    assert_refused(parse(VIRTIO_BLK_T_DISCARD, 0, HEADER + 32, 1), VIRTIO_BLK_S_IOERR); // two ranges
    assert_refused(parse(VIRTIO_BLK_T_DISCARD, 0, HEADER + 15, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse(VIRTIO_BLK_T_DISCARD, 0, HEADER, 1), VIRTIO_BLK_S_IOERR);
}

static void what_was_not_negotiated_or_does_not_exist_is_unsupported(void **state)
{
    (void)state;
    limits.features = 0;
    assert_refused(parse(VIRTIO_BLK_T_FLUSH, 0, HEADER, 1), VIRTIO_BLK_S_UNSUPP);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    assert_refused(parse_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
    limits.features = UINT64_MAX;
    for (uint32_t type = 14; type < 100; type++)
        assert_refused(parse(type, 0, HEADER, 1), VIRTIO_BLK_S_UNSUPP);
    assert_refused(parse(VIRTIO_BLK_T_IN | 0x80000000u, 0, HEADER, 513), VIRTIO_BLK_S_UNSUPP);
}

static void a_read_only_disk_takes_nothing_that_changes_it(void **state)
{
    (void)state;
    limits.read_only = true;
    limits.features = 0;
    assert_refused(parse(VIRTIO_BLK_T_OUT, 0, HEADER + 512, 1), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_refused(parse_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(parse(VIRTIO_BLK_T_IN, 0, HEADER, 513), BLK_PERFORM);
}

static void a_request_without_room_for_header_or_status_breaks(void **state)
{
    (void)state;
    assert_int_equal(parse(VIRTIO_BLK_T_IN, 0, HEADER - 1, 513), BLK_BREAK);
    assert_string_equal(why, "a block request shorter than its header");
    assert_int_equal(parse(VIRTIO_BLK_T_OUT, 0, HEADER + 512, 0), BLK_BREAK);
    assert_string_equal(why, "a block request without a status byte");
}

#define TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(transfers_inside_the_disk_are_accepted),
        TEST(transfers_outside_the_disk_are_io_errors),
        TEST(transfers_of_no_whole_sectors_or_in_both_directions_are_io_errors),
        TEST(ranges_inside_the_disk_are_accepted),
        TEST(bad_ranges_are_refused),
        TEST(what_was_not_negotiated_or_does_not_exist_is_unsupported),
        TEST(a_read_only_disk_takes_nothing_that_changes_it),
        TEST(a_request_without_room_for_header_or_status_breaks),
    };
    return cmocka_run_group_tests_name("virtio/blk_request", tests, NULL, NULL);
}
