// Tests of what vsock makes of guests that lie, starve or flood it (server/vmm/virtio/vsock.c).
#include "testing.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <unistd.h>

#include "vsock_fixture.h"

static void headers_that_lie_reset_their_connection_and_no_other(void **state)
{
    (void)state;
    char data[4];
    int other = guest_connects_from(1);
    struct vsock_packet lies[6];
    for (unsigned i = 0; i < 6; i++)
        lies[i] = guest_packet(VIRTIO_VSOCK_OP_RW);
    lies[0].len = 1;                       // no payload came
    lies[1].op = 200;                      // no such operation
    lies[2].flags = 1;                     // no such flag
    lies[3].fwd_cnt = 1;                   // nothing was sent to it
    lies[4].op = VIRTIO_VSOCK_OP_REQUEST;  // it is connected
    lies[5].op = VIRTIO_VSOCK_OP_RESPONSE; // nobody asked
    for (unsigned i = 0; i < 6; i++) {
        int fd = guest_connects();
        guest_sends_packet(&lies[i], NULL, 0);
        guest_gets_op(VIRTIO_VSOCK_OP_RST);
        host_gets_end(fd);
    }
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RW);
    p.src_port = 1;
    p.len = 4;
    guest_sends_packet(&p, "fine", 4);
    host_gets(other, data, 4);
}

static void a_forged_source_does_not_reach_the_connection(void **state)
{
    (void)state;
    char data[4];
    int fd = guest_connects();
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_SHUTDOWN);
    p.src_cid = 99;
    p.flags = 3;
    guest_sends_packet(&p, NULL, 0);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    guest_sends_data("fine", 4);
    host_gets(fd, data, 4);
}

static void requests_that_are_no_packets_break_the_device(void **state)
{
    (void)state;
    static const struct {
        unsigned queue;
        struct driver_buffer buffer;
        const char *why;
    } cases[] = {
        {TX, {DRIVER_HEAP_GPA, VSOCK_HEADER_BYTES - 1, false}, "a transmit request that is no vsock packet"},
        {TX, {DRIVER_HEAP_GPA, VSOCK_HEADER_BYTES, true}, "a transmit request that is no vsock packet"},
        {RX, {DRIVER_HEAP_GPA, 100, false}, "a receive request that holds no vsock packet"},
        {RX, {DRIVER_HEAP_GPA, VSOCK_HEADER_BYTES, true}, "a receive request that holds no vsock packet"},
        {EVENT, {DRIVER_HEAP_GPA, 3, true}, "an event request that holds no event"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
        driver_clear_rings(&driver);
        driver_start(&driver, FEATURES);
        __atomic_store_n(&driver.broken, NULL, __ATOMIC_SEQ_CST);
        driver_push(&driver, cases[i].queue, &cases[i].buffer, 1);
        driver_kick(&driver, cases[i].queue);
        if (cases[i].queue == RX) // it matters once there is something to send
            guest_sends(VIRTIO_VSOCK_OP_REQUEST);
        if (cases[i].queue == EVENT)
            virtio_vsock_transport_reset(vsock);
        assert_string_equal(driver_wait_broken(&driver), cases[i].why);
    }
}

static void packets_wait_for_buffers(void **state)
{
    (void)state;
    char data[RX_BYTES];
    guest_sends(VIRTIO_VSOCK_OP_REQUEST);
    for (unsigned i = 0; i < 50000 && __atomic_load_n(&n_accepted, __ATOMIC_ACQUIRE) == 0; i++)
        usleep(100);
    host_sends(accepted[0], "early", 5);
    assert_true(guest_gets_nothing());
    post_rx_buffers();
    guest_gets_op(VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(guest_gets(data).len, 5);
}

static unsigned used_tx(void)
{
    uint16_t head;
    uint32_t len;
    unsigned n = 0;
    while (driver_used(&driver, TX, &head, &len))
        n++;
    return n;
}

static void resets_that_nobody_takes_stop_the_transmit_queue_and_none_is_lost(void **state)
{
    (void)state;
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_REQUEST);
    uint8_t header[VSOCK_HEADER_BYTES];
    p.dst_port = 1; // where nobody listens
    vsock_header_write(header, &p);
    uint64_t gpa = driver_copy(&driver, header, sizeof header);
    const struct driver_buffer b = {gpa, sizeof header, false};
    unsigned pushed = 0, used = 0;
    for (unsigned round = 0; round < 100 && pushed < 100; round++) { // as fast as the queue lets us
        for (; pushed < used + DRIVER_QUEUE_SIZE && pushed < 100; pushed++)
            driver_push(&driver, TX, &b, 1);
        driver_kick(&driver, TX);
        usleep(1000);
        used += used_tx();
    }
    assert_true(used < 100);
    post_rx_buffers();
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(guest_gets(NULL).op, VIRTIO_VSOCK_OP_RST);
        used += used_tx();
        for (; pushed < used + DRIVER_QUEUE_SIZE && pushed < 100; pushed++)
            driver_push(&driver, TX, &b, 1);
        driver_kick(&driver, TX);
    }
    assert_true(guest_gets_nothing());
    assert_int_equal(used + used_tx(), 100);
}

static void a_reset_of_the_device_ends_its_connections(void **state)
{
    (void)state;
    int a = guest_connects_from(1), b = guest_connects_from(2);
    driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
    host_gets_end(a);
    host_gets_end(b);
    driver.heap = 0x20000;
    driver_clear_rings(&driver);
    driver_start(&driver, FEATURES);
    post_rx_buffers();
    guest_connects_from(1);
}

static void a_broken_device_ends_its_connections(void **state)
{
    (void)state;
    int fd = guest_connects();
    driver_push_in(&driver, TX, DRIVER_HEAP_GPA, 64);
    driver_kick(&driver, TX);
    host_gets_end(fd);
    assert_true(driver_read(&driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void freeing_the_device_ends_its_connections(void **state)
{
    (void)state;
    int fd = guest_connects();
    driver_stop_loop(&driver);
    virtio_vsock_free(vsock);
    vsock = NULL;
    host_gets_end(fd);
}

static void a_transport_reset_ends_connections_and_tells_the_guest(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    int fd = guest_connects();
    driver_stop_loop(&driver); // it is the I/O thread's call
    virtio_vsock_transport_reset(vsock);
    host_gets_end(fd);
    uint64_t gpa = driver_copy(&driver, "\xff\xff\xff\xff", 4);
    driver_push_in(&driver, EVENT, gpa, 4);
    assert_false(virtio_device_process(driver.dev, EVENT));
    assert_true(driver_used(&driver, EVENT, &head, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(driver_at(&driver, gpa, 4), "\0\0\0\0", 4);
    driver_push_in(&driver, EVENT, gpa, 4); // once
    virtio_device_process(driver.dev, EVENT);
    assert_false(driver_used(&driver, EVENT, &head, &len));
}

// The guest's thread resets the device while connections open, talk and close on the I/O thread.
static void resets_at_any_moment_leave_no_connection_behind(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 32; round++) {
        driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
        driver.heap = 0x20000;
        driver_clear_rings(&driver);
        driver_start(&driver, FEATURES);
        post_rx_buffers();
        if (round % 3 == 0)
            continue;
        int fd = guest_connects_from(round);
        host_sends(fd, "data", 4);
        if (round % 3 == 1) {
            close(fd);
            accepted[n_accepted - 1] = -1;
        }
    }
    assert_null(__atomic_load_n(&driver.broken, __ATOMIC_SEQ_CST));
}

#define VSOCK_TEST(name)   cmocka_unit_test_setup_teardown(name, vsock_setup, vsock_teardown)
#define STARVED_TEST(name) cmocka_unit_test_setup_teardown(name, vsock_setup_starved, vsock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VSOCK_TEST(headers_that_lie_reset_their_connection_and_no_other),
        VSOCK_TEST(a_forged_source_does_not_reach_the_connection),
        STARVED_TEST(requests_that_are_no_packets_break_the_device),
        STARVED_TEST(packets_wait_for_buffers),
        STARVED_TEST(resets_that_nobody_takes_stop_the_transmit_queue_and_none_is_lost),
        VSOCK_TEST(a_reset_of_the_device_ends_its_connections),
        VSOCK_TEST(a_broken_device_ends_its_connections),
        VSOCK_TEST(freeing_the_device_ends_its_connections),
        VSOCK_TEST(a_transport_reset_ends_connections_and_tells_the_guest),
        VSOCK_TEST(resets_at_any_moment_leave_no_connection_behind),
    };
    return cmocka_run_group_tests_name("virtio/vsock_hostile", tests, NULL, NULL);
}
