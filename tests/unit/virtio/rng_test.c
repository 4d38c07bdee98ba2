// Tests of virtio-rng (server/vmm/virtio/rng.c), and, with it, of a device used by two threads at once.
#include "testing.h"

#include <linux/virtio_mmio.h>
#include <string.h>

#include "common/io.h"
#include "driver.h"
#include "virtio/rng.h"

static struct driver driver;
static struct virtio_rng *rng;

static void start(uint64_t bytes_per_s)
{
    struct err err;
    assert_int_equal(virtio_rng_new(&rng, &driver.machine, bytes_per_s, &err), 0);
    driver_attach(&driver, virtio_rng_device(rng));
    driver_preset(&driver, VIRTIO_VERSION_1);
}

static int setup(void **state)
{
    (void)state;
    rng = NULL;
    driver_init(&driver);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_rng_free(rng);
    driver_done(&driver);
    return 0;
}

static bool all_zero(uint64_t gpa, uint32_t len)
{
    static const uint8_t zero[8192];
    return memcmp(driver_at(&driver, gpa, len), zero, len) == 0;
}

static void a_request_is_filled_across_its_buffers(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    start(0);
    uint64_t a = driver_alloc(&driver, 64), b = driver_alloc(&driver, 64);
    const struct driver_buffer buffers[] = {{a, 64, true}, {b, 32, true}};
    driver_push(&driver, 0, buffers, 2);
    assert_false(virtio_device_process(driver.dev, 0));
    assert_true(driver_used(&driver, 0, &head, &len));
    assert_int_equal(len, 96);
    assert_false(all_zero(a, 64));
    assert_false(all_zero(b, 32));
    assert_true(all_zero(b + 32, 32));
}

static void a_large_request_gets_4096_bytes(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    start(0);
    uint64_t gpa = driver_alloc(&driver, 8192);
    driver_push_in(&driver, 0, gpa, 8192);
    virtio_device_process(driver.dev, 0);
    assert_true(driver_used(&driver, 0, &head, &len));
    assert_int_equal(len, 4096);
    assert_true(all_zero(gpa + 4096, 4096));
}

static void a_readable_buffer_breaks_the_device(void **state)
{
    (void)state;
    start(0);
    driver_push_out(&driver, 0, "x", 1);
    virtio_device_process(driver.dev, 0);
    assert_string_equal(driver.broken, "an entropy request with readable buffers");
}

static void beyond_the_rate_requests_wait_for_the_timer(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    start(20480); // 4096 at once, then a request of 2048 each tenth of a second
    uint64_t gpa = driver_alloc(&driver, 2048);
    driver_run_loop(&driver);
    uint64_t before = io_monotonic_ns();
    for (unsigned i = 0; i < 4; i++)
        driver_push_in(&driver, 0, gpa, 2048);
    driver_kick(&driver, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_true(driver_wait_used(&driver, 0, &head, &len));
    // The third one empties the bucket into debt, the fourth waits until that is paid.
    assert_in_range(io_monotonic_ns() - before, 90000000u, 4000000000u);
}

// The vCPU's thread resets, renegotiates and kicks at will while the I/O thread serves: nothing is lost,
// nothing races.
static void resets_from_another_thread_are_safe_at_any_moment(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    start(0);
    driver_run_loop(&driver);
    for (unsigned round = 0; round < 100; round++) {
        driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
        driver.heap = DRIVER_HEAP_GPA;
        driver_clear_rings(&driver);
        driver_start(&driver, VIRTIO_VERSION_1);
        for (unsigned i = 0; i < 8; i++) {
            driver_push_in(&driver, 0, driver_alloc(&driver, 256), 256);
            driver_kick(&driver, 0);
        }
        for (unsigned i = 0; i < round % 9; i++) // sometimes it leaves requests behind
            assert_true(driver_wait_used(&driver, 0, &head, &len));
        driver_write(&driver, VIRTIO_MMIO_INTERRUPT_ACK, driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS));
    }
    assert_null(__atomic_load_n(&driver.broken, __ATOMIC_SEQ_CST));
    assert_true(__atomic_load_n(&driver.raised, __ATOMIC_SEQ_CST) > 0);
}

#define RNG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RNG_TEST(a_request_is_filled_across_its_buffers),
        RNG_TEST(a_large_request_gets_4096_bytes),
        RNG_TEST(a_readable_buffer_breaks_the_device),
        RNG_TEST(beyond_the_rate_requests_wait_for_the_timer),
        RNG_TEST(resets_from_another_thread_are_safe_at_any_moment),
    };
    return cmocka_run_group_tests_name("virtio/rng", tests, NULL, NULL);
}
