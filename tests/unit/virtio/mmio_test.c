// Tests of the MMIO registers and the status state machine (server/vmm/virtio/mmio.c, transport.c, status.c).
#include "testing.h"

#include <linux/virtio_mmio.h>
#include <string.h>

#include "recorder.h"

static void the_identity_is_that_of_a_version_2_device(void **state)
{
    (void)state;
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_DEVICE_ID), 42);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_VENDOR_ID), 0x64766e65);
}

static void features_are_offered_in_halves(void **state)
{
    (void)state;
    static const uint32_t expected[] = {(uint32_t)(FEATURES | VIRTIO_RING_FEATURES), FEATURES >> 32, 0};
    for (uint32_t half = 0; half < 3; half++) {
        driver_write(&driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
        assert_int_equal(driver_read(&driver, VIRTIO_MMIO_DEVICE_FEATURES), expected[half]);
    }
}

static void features_that_cannot_be_agreed_on_leave_features_ok_unset(void **state)
{
    (void)state;
    static const struct {
        uint64_t features;
        bool ok;
    } cases[] = {{VIRTIO_VERSION_1, true},
                 {FEATURES, true},
                 {FEATURES & ~VIRTIO_VERSION_1, false},
                 {0, false},
                 {FEATURES | 1, false},
                 {FEATURES | 1ull << 63, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        driver_negotiate(&driver, cases[i].features);
        assert_int_equal(status(), cases[i].ok ? ACKNOWLEDGE | DRIVER | FEATURES_OK : ACKNOWLEDGE | DRIVER);
    }
}

static void features_cannot_change_after_features_ok(void **state)
{
    (void)state;
    driver_negotiate(&driver, VIRTIO_VERSION_1);
    driver_write(&driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    driver_write(&driver, VIRTIO_MMIO_DRIVER_FEATURES, 1u << 5);
    assert_false(virtio_device_has_feature(&recorder.dev, 1u << 5));
}

// Brings the device into a state by the shortest way.
// What the driver adds to the status register: one row per event of status.c.
enum {
    EV_RESET,
    EV_ACKNOWLEDGE,
    EV_DRIVER,
    EV_FEATURES_OK,
    EV_DRIVER_OK,
    EV_FAILED,
    EV_CLEARED,
    EV_UNKNOWN,
    EV_BREAK,
    EV_COUNT
};

static void cause(unsigned event, enum virtio_state from)
{
    static const uint8_t bit[EV_COUNT] = {
        [EV_ACKNOWLEDGE] = ACKNOWLEDGE, [EV_DRIVER] = DRIVER, [EV_FEATURES_OK] = FEATURES_OK,
        [EV_DRIVER_OK] = DRIVER_OK,     [EV_FAILED] = FAILED, [EV_UNKNOWN] = 0x10};
    if (from == VIRTIO_DRIVER) { // so that FEATURES_OK can be agreed on
        driver_write(&driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        driver_write(&driver, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    }
    if (event == EV_RESET)
        set_status(0);
    else if (event == EV_CLEARED)
        set_status(0x20 | FAILED); // no ACKNOWLEDGE, and not 0
    else if (event == EV_BREAK) {
        virtio_device_enter(&recorder.dev);
        virtio_device_broken(&recorder.dev, "found by the device");
        virtio_device_leave(&recorder.dev);
    } else {
        set_status(status() | bit[event]);
    }
}

static void every_cell_of_the_status_table_is_as_specified(void **state)
{
    (void)state;
    enum {
        R = VIRTIO_RESET,
        A = VIRTIO_ACKNOWLEDGED,
        D = VIRTIO_DRIVER,
        F = VIRTIO_FEATURES_OK,
        O = VIRTIO_DRIVER_OK,
        X = VIRTIO_FAILED,
        B = VIRTIO_BROKEN
    };
    // A bit that is set already is no event: the state stays.
    static const uint8_t expected[VIRTIO_STATE_COUNT][EV_COUNT] = {
        //     reset ack driver features_ok driver_ok failed cleared unknown break
        [R] = {R, A, B, B, B, X, B, B, B}, [A] = {R, A, D, B, B, X, B, B, B},
        [D] = {R, D, D, F, B, X, B, B, B}, [F] = {R, F, F, F, O, X, B, B, B},
        [O] = {R, O, O, O, O, X, B, B, B}, [X] = {R, X, X, X, X, X, X, X, X},
        [B] = {R, B, B, B, B, X, B, B, B},
    };
    for (unsigned s = 0; s < VIRTIO_STATE_COUNT; s++) {
        for (unsigned e = 0; e < EV_COUNT; e++) {
            enter_state(s);
            cause(e, s);
            if (recorder.dev.state != expected[s][e])
                fail_msg("state %u event %u: %u, not %u", s, e, recorder.dev.state, expected[s][e]);
            assert_int_equal(!!(status() & NEEDS_RESET),
                             recorder.dev.state == VIRTIO_BROKEN || (s == B && e == EV_FAILED));
        }
    }
}

static void several_bits_at_once_are_taken_in_their_order(void **state)
{
    (void)state;
    set_status(ACKNOWLEDGE | DRIVER);
    assert_int_equal(status(), ACKNOWLEDGE | DRIVER);
}

static void a_status_wider_than_the_register_breaks_the_device(void **state)
{
    (void)state;
    set_status(0x100);
    assert_int_equal(status(), NEEDS_RESET);
}

static void only_a_running_driver_is_interrupted_when_its_device_breaks(void **state)
{
    (void)state;
    enter_state(VIRTIO_FEATURES_OK);
    cause(EV_BREAK, VIRTIO_FEATURES_OK);
    assert_int_equal(driver.raised, 0);
    assert_string_equal(driver.broken, "found by the device");
    enter_state(VIRTIO_DRIVER_OK);
    cause(EV_BREAK, VIRTIO_DRIVER_OK);
    assert_int_equal(driver.raised, 1);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    assert_int_equal(status(), LIVE | NEEDS_RESET);
}

static void writing_back_needs_reset_changes_nothing(void **state)
{
    (void)state;
    enter_state(VIRTIO_DRIVER_OK);
    set_status(LIVE | NEEDS_RESET);
    assert_int_equal(status(), LIVE);
}

static void queue_sizes_are_told_per_queue(void **state)
{
    (void)state;
    static const uint32_t expected[] = {64, 64, 0};
    for (uint32_t q = 0; q < 3; q++) {
        driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, q);
        assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_NUM_MAX), expected[q]);
    }
}

static void a_queue_gets_ready_and_unready(void **state)
{
    (void)state;
    driver_negotiate(&driver, FEATURES);
    driver_setup_queue(&driver, 1);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 1);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 0);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, 1);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void a_ready_queue_cannot_be_moved(void **state)
{
    (void)state;
    driver_negotiate(&driver, FEATURES);
    driver_setup_queue(&driver, 0);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_DESC_LOW, 0xabc0);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NUM, 2);
    assert_int_equal(recorder.dev.queues[0].config.desc_gpa, DRIVER_QUEUE_GPA(0));
    assert_int_equal(recorder.dev.queues[0].config.size, DRIVER_QUEUE_SIZE);
}

static void queues_are_set_up_only_between_features_ok_and_driver_ok(void **state)
{
    (void)state;
    for (unsigned s = 0; s < VIRTIO_STATE_COUNT; s++) {
        enter_state(s);
        driver_setup_queue(&driver, 0);
        assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), s == VIRTIO_FEATURES_OK);
    }
}

static void a_wrong_queue_breaks_the_device_when_it_gets_ready(void **state)
{
    (void)state;
    static const struct {
        uint32_t reg, value;
        const char *why;
    } cases[] = {
        {VIRTIO_MMIO_QUEUE_NUM, 0, "a queue with a wrong size, or not in guest memory"},
        {VIRTIO_MMIO_QUEUE_NUM, 3, "a queue with a wrong size, or not in guest memory"},
        {VIRTIO_MMIO_QUEUE_NUM, 128, "a queue larger than the device allows"},
        {VIRTIO_MMIO_QUEUE_NUM, 0x10010, "a queue with a wrong size, or not in guest memory"},
        {VIRTIO_MMIO_QUEUE_DESC_HIGH, 1, "a queue with a wrong size, or not in guest memory"},
        {VIRTIO_MMIO_QUEUE_AVAIL_LOW, DRIVER_MEMORY_BYTES - 2,
         "a queue with a wrong size, or not in guest memory"},
        {VIRTIO_MMIO_QUEUE_USED_HIGH, 0xffffffff, "a queue with a wrong size, or not in guest memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        driver_negotiate(&driver, FEATURES);
        driver_setup_queue(&driver, 0);
        driver_write(&driver, VIRTIO_MMIO_QUEUE_READY, 0);
        driver_write(&driver, cases[i].reg, cases[i].value);
        driver_write(&driver, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 0);
        assert_true(status() & NEEDS_RESET);
        assert_string_equal(driver.broken, cases[i].why);
    }
}

static void accesses_of_a_wrong_width_or_place_do_nothing(void **state)
{
    (void)state;
    uint8_t wide[8];
    for (uint32_t len = 1; len <= 8; len *= 2) {
        for (uint64_t offset = 0; offset < 0x100; offset++) {
            memset(wide, 0xaa, sizeof wide);
            if (len == 4 && offset % 4 == 0)
                continue;
            virtio_mmio_read(&driver.mmio, offset, wide, len);
            assert_memory_equal(wide, "\0\0\0\0\0\0\0\0", len);
            memset(wide, 0xff, sizeof wide);
            virtio_mmio_write(&driver.mmio, offset, wide, len);
        }
    }
    for (uint64_t offset = VIRTIO_MMIO_BYTES; offset < VIRTIO_MMIO_BYTES + 64; offset++) {
        virtio_mmio_write(&driver.mmio, offset, wide, 4);
        virtio_mmio_read(&driver.mmio, offset, wide, 4);
        assert_memory_equal(wide, "\0\0\0\0", 4);
    }
    virtio_mmio_write(&driver.mmio, UINT64_MAX - 3, wide, 4);
    assert_int_equal(recorder.wrote_len, 0);
    assert_int_equal(status(), 0);
}

static void reading_write_only_and_unknown_registers_gives_zero(void **state)
{
    (void)state;
    static const uint32_t offsets[] = {0x014, 0x020, 0x024, 0x028, 0x030, 0x038, 0x03c, 0x040, 0x050,
                                       0x064, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0c0, 0x0f0};
    driver_start(&driver, FEATURES);
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
        assert_int_equal(driver_read(&driver, offsets[i]), 0);
}

static void there_are_no_shared_memory_regions(void **state)
{
    (void)state;
    for (uint32_t offset = VIRTIO_MMIO_SHM_LEN_LOW; offset <= VIRTIO_MMIO_SHM_BASE_HIGH; offset += 4)
        assert_int_equal(driver_read(&driver, offset), 0xffffffff);
}

static void configuration_space_is_read_in_any_width_and_zero_behind_its_end(void **state)
{
    (void)state;
    uint8_t out[8];
    virtio_mmio_read(&driver.mmio, 0x101, out, 1);
    assert_int_equal(out[0], 2);
    virtio_mmio_read(&driver.mmio, 0x102, out, 2);
    assert_memory_equal(out, "\3\4", 2);
    virtio_mmio_read(&driver.mmio, 0x108, out, 8);
    assert_memory_equal(out, "\x9\xa\xb\xc\0\0\0\0", 8);
    virtio_mmio_read(&driver.mmio, 0x103, out, 2); // not aligned
    assert_memory_equal(out, "\0\0", 2);
    virtio_mmio_read(&driver.mmio, 0x1fc, out, 4);
    assert_memory_equal(out, "\0\0\0\0", 4);
}

static void configuration_space_is_written_only_wholly_inside(void **state)
{
    (void)state;
    set_status(ACKNOWLEDGE);
    virtio_mmio_write(&driver.mmio, 0x10a, "xy", 2);
    assert_int_equal(recorder.wrote_offset, 10);
    assert_int_equal(recorder.wrote_len, 2);
    assert_memory_equal(recorder.config + 10, "xy", 2);
    recorder.wrote_len = 0;
    virtio_mmio_write(&driver.mmio, 0x108, "12345678", 8);
    virtio_mmio_write(&driver.mmio, 0x10c, "1234", 4);
    assert_int_equal(recorder.wrote_len, 0);
}

static void a_configuration_change_counts_and_interrupts_a_running_driver(void **state)
{
    (void)state;
    uint32_t before = driver_read(&driver, VIRTIO_MMIO_CONFIG_GENERATION);
    virtio_device_enter(&recorder.dev);
    virtio_device_config_changed(&recorder.dev);
    virtio_device_leave(&recorder.dev);
    assert_int_not_equal(driver_read(&driver, VIRTIO_MMIO_CONFIG_GENERATION), before);
    assert_int_equal(driver.raised, 0);
    driver_start(&driver, FEATURES);
    virtio_device_enter(&recorder.dev);
    virtio_device_config_changed(&recorder.dev);
    virtio_device_leave(&recorder.dev);
    assert_int_equal(driver.raised, 1);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

static void notify_rings_the_doorbell_of_that_queue(void **state)
{
    (void)state;
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert_false(doorbell_rings(0));
    assert_true(doorbell_rings(1));
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
    assert_false(doorbell_rings(0));
    assert_false(doorbell_rings(1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, recorder_setup, recorder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_identity_is_that_of_a_version_2_device),
        TEST(features_are_offered_in_halves),
        TEST(features_that_cannot_be_agreed_on_leave_features_ok_unset),
        TEST(features_cannot_change_after_features_ok),
        TEST(every_cell_of_the_status_table_is_as_specified),
        TEST(several_bits_at_once_are_taken_in_their_order),
        TEST(a_status_wider_than_the_register_breaks_the_device),
        TEST(only_a_running_driver_is_interrupted_when_its_device_breaks),
        TEST(writing_back_needs_reset_changes_nothing),
        TEST(queue_sizes_are_told_per_queue),
        TEST(a_queue_gets_ready_and_unready),
        TEST(a_ready_queue_cannot_be_moved),
        TEST(queues_are_set_up_only_between_features_ok_and_driver_ok),
        TEST(a_wrong_queue_breaks_the_device_when_it_gets_ready),
        TEST(accesses_of_a_wrong_width_or_place_do_nothing),
        TEST(reading_write_only_and_unknown_registers_gives_zero),
        TEST(there_are_no_shared_memory_regions),
        TEST(configuration_space_is_read_in_any_width_and_zero_behind_its_end),
        TEST(configuration_space_is_written_only_wholly_inside),
        TEST(a_configuration_change_counts_and_interrupts_a_running_driver),
        TEST(notify_rings_the_doorbell_of_that_queue),
    };
    return cmocka_run_group_tests_name("virtio/mmio", tests, NULL, NULL);
}
