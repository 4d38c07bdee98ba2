// Tests of a device's life on the I/O thread: rounds, breaking, reset, preset (server/vmm/virtio/device.c).
#include "testing.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <string.h>

#include "recorder.h"

static void served_requests_interrupt_until_acknowledged(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_start(&driver, FEATURES);
    uint16_t pushed = driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    assert_false(virtio_device_process(&recorder.dev, 0));
    assert_true(driver_used(&driver, 0, &head, &len));
    assert_int_equal(head, pushed);
    assert_int_equal(len, 8);
    assert_int_equal(driver.raised, 1);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    driver_write(&driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    driver_write(&driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void a_round_is_bounded_and_rings_again_for_the_rest(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    unsigned n = 0;
    driver_start(&driver, FEATURES);
    for (unsigned i = 0; i < 6; i++)
        driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    doorbell_rings(0);
    assert_true(virtio_device_process(&recorder.dev, 0));
    while (driver_used(&driver, 0, &head, &len))
        n++;
    assert_int_equal(n, 4);
    assert_true(doorbell_rings(0));
    assert_false(virtio_device_process(&recorder.dev, 0));
    while (driver_used(&driver, 0, &head, &len))
        n++;
    assert_int_equal(n, 6);
}

static void requests_that_are_not_served_stay(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_start(&driver, FEATURES);
    driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    recorder.serve = VIRTIO_BLOCKED;
    assert_false(virtio_device_process(&recorder.dev, 0));
    recorder.serve = VIRTIO_PARTLY;
    assert_true(virtio_device_process(&recorder.dev, 0));
    assert_false(driver_used(&driver, 0, &head, &len));
    recorder.serve = VIRTIO_SERVED;
    assert_false(virtio_device_process(&recorder.dev, 0));
    assert_true(driver_used(&driver, 0, &head, &len));
}

static void a_device_that_breaks_on_a_request_touches_its_rings_no_more(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_start(&driver, FEATURES);
    driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    recorder.break_it = true;
    assert_false(virtio_device_process(&recorder.dev, 0));
    assert_false(driver_used(&driver, 0, &head, &len));
    assert_string_equal(driver.broken, "as the test wants");
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void a_broken_ring_breaks_its_device(void **state)
{
    (void)state;
    driver_start(&driver, FEATURES);
    driver_push_in(&driver, 1, DRIVER_MEMORY_BYTES, 8);
    virtio_device_process(&recorder.dev, 1);
    assert_int_equal(status(), LIVE | NEEDS_RESET);
    assert_string_equal(driver.broken, "an empty descriptor, or one outside guest memory");
}

static void a_device_that_is_not_running_processes_nothing(void **state)
{
    (void)state;
    for (unsigned s = 0; s < VIRTIO_STATE_COUNT; s++) {
        enter_state(s);
        recorder.processed[0] = 0;
        virtio_device_process(&recorder.dev, 0);
        assert_int_equal(recorder.processed[0], s == VIRTIO_DRIVER_OK);
    }
}

static void a_reset_clears_all_registers_and_reaches_the_device_before_anything_else(void **state)
{
    (void)state;
    driver_start(&driver, FEATURES);
    driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    virtio_device_process(&recorder.dev, 0);
    recorder.resets = 0;
    set_status(0);
    assert_int_equal(status(), 0);
    assert_int_equal(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    for (uint32_t q = 0; q < 2; q++) {
        driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, q);
        assert_int_equal(driver_read(&driver, VIRTIO_MMIO_QUEUE_READY), 0);
        assert_int_equal(virtio_device_doorbell(&recorder.dev, q) >= 0, 1);
    }
    assert_int_equal(recorder.resets, 0); // the I/O thread's work
    assert_true(doorbell_rings(0));
    virtio_device_process(&recorder.dev, 0);
    assert_int_equal(recorder.resets, 1);
    virtio_device_process(&recorder.dev, 0);
    assert_int_equal(recorder.resets, 1);
}

static void a_device_works_again_after_a_reset(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_start(&driver, FEATURES);
    driver_push_in(&driver, 0, DRIVER_MEMORY_BYTES, 8);
    virtio_device_process(&recorder.dev, 0);
    assert_true(status() & NEEDS_RESET);
    driver_clear_rings(&driver);
    driver_start(&driver, FEATURES);
    assert_int_equal(status(), LIVE);
    driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    virtio_device_process(&recorder.dev, 0);
    assert_true(driver_used(&driver, 0, &head, &len));
}

static void assert_same_queue(const struct virtio_queue *a, const struct virtio_queue *b)
{
    assert_int_equal(a->config.size, b->config.size);
    assert_int_equal(a->config.desc_gpa, b->config.desc_gpa);
    assert_int_equal(a->config.avail_gpa, b->config.avail_gpa);
    assert_int_equal(a->config.used_gpa, b->config.used_gpa);
    assert_int_equal(a->ring.size, b->ring.size);
    assert_ptr_equal(a->ring.desc, b->ring.desc);
    assert_ptr_equal(a->ring.avail, b->ring.avail);
    assert_ptr_equal(a->ring.used, b->ring.used);
}

// Everything that a driver can read, and what the device knows.
static void assert_same_as(const struct recorder *other, struct virtio_mmio *other_mmio)
{
    for (uint32_t q = 0; q < 2; q++) {
        driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, q);
        virtio_mmio_write(other_mmio, VIRTIO_MMIO_QUEUE_SEL, &q, 4);
        for (uint32_t offset = 0; offset < VIRTIO_MMIO_BYTES; offset += 4) {
            uint32_t value;
            virtio_mmio_read(other_mmio, offset, &value, 4);
            assert_int_equal(driver_read(&driver, offset), value);
        }
        assert_same_queue(&recorder.dev.queues[q], &other->dev.queues[q]);
    }
    assert_int_equal(recorder.dev.state, other->dev.state);
    assert_int_equal(recorder.dev.driver_features, other->dev.driver_features);
}

static void a_preset_device_equals_one_set_up_through_its_registers(void **state)
{
    (void)state;
    struct err err;
    static struct recorder by_registers;
    memcpy(by_registers.config, recorder.config, sizeof recorder.config);
    assert_int_equal(virtio_device_init(&by_registers.dev, &recorder_ops, &driver.machine,
                                        by_registers.config, sizeof by_registers.config, &err),
                     0);
    driver_attach(&driver, &by_registers.dev);
    driver_start(&driver, FEATURES);
    struct virtio_mmio other = driver.mmio;
    driver_attach(&driver, &recorder.dev);
    driver_preset(&driver, FEATURES);
    assert_same_as(&by_registers, &other);
    virtio_device_done(&by_registers.dev);
}

static void a_preset_device_can_be_reset_and_renegotiated(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_preset(&driver, FEATURES);
    driver_start(&driver, VIRTIO_VERSION_1);
    assert_int_equal(status(), LIVE);
    assert_false(virtio_device_has_feature(&recorder.dev, 1u << 5));
    driver_push_in(&driver, 0, DRIVER_HEAP_GPA, 8);
    virtio_device_process(&recorder.dev, 0);
    assert_true(driver_used(&driver, 0, &head, &len));
}

static void a_preset_looks_at_queues_that_are_already_filled(void **state)
{
    (void)state;
    driver_push_in(&driver, 1, DRIVER_HEAP_GPA, 8);
    driver_preset(&driver, FEATURES);
    assert_true(doorbell_rings(0));
    assert_true(doorbell_rings(1));
}

static void a_preset_that_is_not_acceptable_leaves_the_device_in_reset(void **state)
{
    (void)state;
    struct err err;
    struct ring_config queues[3] = {driver_queue_config(0), driver_queue_config(1), driver_queue_config(2)};
    assert_int_equal(virtio_device_preset(&recorder.dev, 0, queues, 2, &err), -EINVAL);
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES | 1, queues, 2, &err), -EINVAL);
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES, queues, 3, &err), -EINVAL);
    queues[1].used_gpa = DRIVER_MEMORY_BYTES;
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES, queues, 2, &err), -EFAULT);
    assert_string_equal(err.text, "virtio-recorder: preset queue 1 of 16 entries: Bad address");
    queues[1].size = 128;
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES, queues, 2, &err), -EINVAL);
    assert_int_equal(status(), 0);
    assert_false(recorder.dev.queues[0].ring.desc);
    assert_null(driver.broken);
    queues[1].size = 0; // not used by this guest
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES, queues, 2, &err), 0);
    assert_int_equal(virtio_device_preset(&recorder.dev, FEATURES, queues, 2, &err), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, recorder_setup, recorder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(served_requests_interrupt_until_acknowledged),
        TEST(a_round_is_bounded_and_rings_again_for_the_rest),
        TEST(requests_that_are_not_served_stay),
        TEST(a_device_that_breaks_on_a_request_touches_its_rings_no_more),
        TEST(a_broken_ring_breaks_its_device),
        TEST(a_device_that_is_not_running_processes_nothing),
        TEST(a_reset_clears_all_registers_and_reaches_the_device_before_anything_else),
        TEST(a_device_works_again_after_a_reset),
        TEST(a_preset_device_equals_one_set_up_through_its_registers),
        TEST(a_preset_device_can_be_reset_and_renegotiated),
        TEST(a_preset_looks_at_queues_that_are_already_filled),
        TEST(a_preset_that_is_not_acceptable_leaves_the_device_in_reset),
    };
    return cmocka_run_group_tests_name("virtio/device", tests, NULL, NULL);
}
