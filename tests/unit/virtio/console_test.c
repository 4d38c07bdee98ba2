// Tests of virtio-console (server/vmm/virtio/console.c).
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "virtio/console.h"

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_console *console;
static uint8_t *seen; // what the sink was given
static size_t seen_len;

#define SEEN_MAX (4u << 20)

static void sink(void *arg, const uint8_t *untrusted_data, size_t len)
{
    (void)arg;
    assert_true(len > 0 && seen_len + len <= SEEN_MAX);
    memcpy(seen + seen_len, untrusted_data, len);
    seen_len += len;
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    seen = malloc(SEEN_MAX);
    seen_len = 0;
    driver_init(&driver);
    if (!seen || virtio_console_new(&console, &driver.machine, sink, NULL, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_console_device(console));
    driver_preset(&driver, VIRTIO_VERSION_1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_console_free(console);
    driver_done(&driver);
    free(seen);
    return 0;
}

static void assert_seen(const char *text)
{
    assert_int_equal(seen_len, strlen(text));
    assert_memory_equal(seen, text, seen_len);
}

static void what_the_guest_writes_reaches_the_sink(void **state)
{
    (void)state;
    uint16_t head, pushed;
    uint32_t len;
    driver_run_loop(&driver);
    pushed = driver_push_out(&driver, TX, "hello\n", 6);
    driver_kick(&driver, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(head, pushed);
    assert_int_equal(len, 0);
    driver_stop_loop(&driver);
    assert_seen("hello\n");
}

static void a_request_may_be_many_buffers(void **state)
{
    (void)state;
    uint64_t gpa = driver_copy(&driver, "abc", 3);
    const struct driver_buffer b[] = {{gpa, 3, false}, {gpa + 1, 2, false}, {gpa, 1, false}};
    driver_push(&driver, TX, b, 3);
    assert_false(virtio_device_process(driver.dev, TX));
    assert_seen("abcbca");
}

static void a_request_larger_than_a_round_is_served_in_several(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    const struct driver_buffer b[] = {{0, 0x10000, false}, {0, 0x10000, false}, {0, 100, false}};
    driver_push(&driver, TX, b, 3);
    assert_true(virtio_device_process(driver.dev, TX));
    assert_int_equal(seen_len, 0x10000);
    assert_false(driver_used(&driver, TX, &head, &len));
    assert_true(virtio_device_process(driver.dev, TX));
    assert_false(virtio_device_process(driver.dev, TX));
    assert_int_equal(seen_len, 0x20000 + 100);
    assert_true(driver_used(&driver, TX, &head, &len));
}

static void a_request_that_shrinks_between_rounds_ends_there(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    struct driver_buffer b = {0, 0x20000, false};
    driver_push(&driver, TX, &b, 1);
    assert_true(virtio_device_process(driver.dev, TX));
    *(uint32_t *)driver_at(&driver, DRIVER_QUEUE_GPA(TX) + 8, 4) = 10; // the descriptor's length
    assert_false(virtio_device_process(driver.dev, TX));
    assert_true(driver_used(&driver, TX, &head, &len));
    assert_int_equal(seen_len, 0x10000);
    driver_push_out(&driver, TX, "next", 4);
    assert_false(virtio_device_process(driver.dev, TX));
    assert_memory_equal(seen + 0x10000, "next", 4);
}

static void drain_hands_on_what_is_there_without_a_kick(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++)
        driver_push_out(&driver, TX, "0123456789abcdef" + i, 1);
    virtio_console_drain(console);
    assert_seen("0123456789abcdef");
}

static void drain_is_bounded(void **state)
{
    (void)state;
    struct driver_buffer b[8];
    for (unsigned i = 0; i < 8; i++)
        b[i] = (struct driver_buffer){0, DRIVER_MEMORY_BYTES, false};
    driver_push(&driver, TX, b, 8);
    virtio_console_drain(console);
    assert_int_equal(seen_len, 1u << 20);
}

static void drain_of_a_device_that_never_ran_is_nothing(void **state)
{
    (void)state;
    driver_write(&driver, 0x070, 0); // reset
    virtio_console_drain(console);
    assert_int_equal(seen_len, 0);
}

static void receive_buffers_are_kept_and_need_no_kicks(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 64);
    assert_false(virtio_device_process(driver.dev, RX));
    assert_false(driver_used(&driver, RX, &head, &len));
    assert_int_equal(driver_used_flags(&driver, RX), 1);
}

static void input_fills_receive_buffers_in_order(void **state)
{
    (void)state;
    uint16_t head, first, second;
    uint32_t len;
    first = driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 4);
    second = driver_push_in(&driver, RX, DRIVER_HEAP_GPA + 16, 64);
    assert_int_equal(virtio_console_input(console, "ls -l\n", 6), 6);
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_int_equal(head, first);
    assert_int_equal(len, 4);
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_int_equal(head, second);
    assert_int_equal(len, 2);
    assert_memory_equal(driver_at(&driver, DRIVER_HEAP_GPA, 4), "ls -", 4);
    assert_memory_equal(driver_at(&driver, DRIVER_HEAP_GPA + 16, 2), "l\n", 2);
    assert_int_equal(driver.raised, 1);
}

static unsigned readies;

static void on_ready(void *arg)
{
    (void)arg;
    readies++;
}

static void input_without_room_is_refused_until_the_guest_has_some(void **state)
{
    (void)state;
    readies = 0;
    virtio_console_on_ready(console, on_ready, NULL);
    driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 4);
    virtio_device_process(driver.dev, RX);
    assert_int_equal(virtio_console_input(console, "abcdef", 6), 4);
    assert_int_equal(readies, 0);
    driver_push_in(&driver, RX, DRIVER_HEAP_GPA, 4);
    assert_true(driver_kick(&driver, RX)); // it was asked for
    virtio_device_process(driver.dev, RX);
    assert_int_equal(readies, 1);
    assert_int_equal(virtio_console_input(console, "ef", 2), 2);
    virtio_device_process(driver.dev, RX);
    assert_int_equal(readies, 1);
}

static void input_before_the_driver_runs_waits_for_its_start(void **state)
{
    (void)state;
    readies = 0;
    virtio_console_on_ready(console, on_ready, NULL);
    driver_write(&driver, 0x070, 0); // reset
    assert_int_equal(virtio_console_input(console, "x", 1), 0);
    driver_clear_rings(&driver);
    driver_start(&driver, VIRTIO_VERSION_1);
    virtio_device_process(driver.dev, RX);
    assert_int_equal(readies, 1);
}

static void a_readable_buffer_on_the_receive_queue_breaks_the_device(void **state)
{
    (void)state;
    driver_push_out(&driver, RX, "?", 1);
    assert_int_equal(virtio_console_input(console, "x", 1), 0);
    assert_string_equal(driver.broken, "a console input request with readable buffers");
}

static void a_resize_is_told_by_a_configuration_change(void **state)
{
    (void)state;
    uint32_t size, generation = driver_read(&driver, 0x0fc);
    virtio_console_resize(console, 132, 43);
    size = driver_read(&driver, 0x100);
    assert_int_equal(size & 0xffff, 132);
    assert_int_equal(size >> 16, 43);
    assert_int_not_equal(driver_read(&driver, 0x0fc), generation);
    assert_int_equal(driver_read(&driver, 0x060), 2); // InterruptStatus: configuration change
    assert_int_equal(driver.raised, 1);
}

static void a_writable_buffer_on_the_transmit_queue_breaks_the_device(void **state)
{
    (void)state;
    driver_push_in(&driver, TX, DRIVER_HEAP_GPA, 64);
    virtio_device_process(driver.dev, TX);
    assert_string_equal(driver.broken, "a console output request with writable buffers");
}

static void a_reset_forgets_a_request_in_the_middle(void **state)
{
    (void)state;
    struct driver_buffer b = {0, 0x20000, false};
    driver_push(&driver, TX, &b, 1);
    assert_true(virtio_device_process(driver.dev, TX));
    driver_clear_rings(&driver);
    driver_start(&driver, VIRTIO_VERSION_1);
    seen_len = 0;
    driver_push_out(&driver, TX, "again", 5);
    virtio_device_process(driver.dev, TX);
    assert_seen("again");
}

#define CONSOLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONSOLE_TEST(what_the_guest_writes_reaches_the_sink),
        CONSOLE_TEST(a_request_may_be_many_buffers),
        CONSOLE_TEST(a_request_larger_than_a_round_is_served_in_several),
        CONSOLE_TEST(a_request_that_shrinks_between_rounds_ends_there),
        CONSOLE_TEST(drain_hands_on_what_is_there_without_a_kick),
        CONSOLE_TEST(drain_is_bounded),
        CONSOLE_TEST(drain_of_a_device_that_never_ran_is_nothing),
        CONSOLE_TEST(receive_buffers_are_kept_and_need_no_kicks),
        CONSOLE_TEST(input_fills_receive_buffers_in_order),
        CONSOLE_TEST(input_without_room_is_refused_until_the_guest_has_some),
        CONSOLE_TEST(input_before_the_driver_runs_waits_for_its_start),
        CONSOLE_TEST(a_readable_buffer_on_the_receive_queue_breaks_the_device),
        CONSOLE_TEST(a_resize_is_told_by_a_configuration_change),
        CONSOLE_TEST(a_writable_buffer_on_the_transmit_queue_breaks_the_device),
        CONSOLE_TEST(a_reset_forgets_a_request_in_the_middle),
    };
    return cmocka_run_group_tests_name("virtio/console", tests, NULL, NULL);
}
