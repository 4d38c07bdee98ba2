// Tests of virtio-net (server/vmm/virtio/net.c, net_frame.c) against one end of a socket pair, which hands
// over whole datagrams as a tap does. net_tap_test.c has the real one.
#include "testing.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "driver.h"
#include "virtio/net.h"
#include "virtio/net_frame.h"

#define FEATURES (VIRTIO_VERSION_1 | 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS)

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_net *net;
static int tap[2]; // [0] the device's

static void start(struct virtio_net_rate to_guest, struct virtio_net_rate from_guest)
{
    struct err err;
    struct virtio_net_options options = {
        .tap_fd = tap[0], .mac = {2, 0, 0, 1, 2, 3}, .to_guest = to_guest, .from_guest = from_guest};
    assert_int_equal(virtio_net_new(&net, &driver.machine, &options, &err), 0);
    driver_attach(&driver, virtio_net_device(net));
    driver_preset(&driver, FEATURES);
}

static int setup(void **state)
{
    (void)state;
    net = NULL;
    driver_init(&driver);
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, tap);
}

static int setup_started(void **state)
{
    if (setup(state) < 0)
        return -1;
    start((struct virtio_net_rate){0}, (struct virtio_net_rate){0});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_net_free(net);
    driver_done(&driver);
    close(tap[0]);
    if (tap[1] >= 0)
        close(tap[1]);
    return 0;
}

// A header and a frame of len bytes that starts with tag.
static const uint8_t *frame(uint8_t tag, size_t len)
{
    static uint8_t bytes[NET_HEADER_BYTES + 4096];
    memset(bytes, 0, NET_HEADER_BYTES);
    for (size_t i = 0; i < len; i++)
        bytes[NET_HEADER_BYTES + i] = (uint8_t)(tag + i);
    return bytes;
}

static void push_frame(uint8_t tag, size_t len)
{
    driver_push_out(&driver, TX, frame(tag, len), (uint32_t)(NET_HEADER_BYTES + len));
}

static void tap_sends(uint8_t tag, size_t len)
{
    assert_int_equal(send(tap[1], frame(tag, len), NET_HEADER_BYTES + len, 0), NET_HEADER_BYTES + len);
}

static void assert_tap_gets(uint8_t tag, size_t len)
{
    uint8_t got[8192];
    assert_int_equal(recv(tap[1], got, sizeof got, 0), NET_HEADER_BYTES + len);
    assert_memory_equal(got, frame(tag, len), NET_HEADER_BYTES + len);
}

static void assert_tap_gets_nothing(void)
{
    uint8_t got;
    assert_int_equal(recv(tap[1], &got, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void assert_guest_has(uint64_t gpa, uint32_t used_len, uint8_t tag, size_t len)
{
    const uint8_t *got = driver_at(&driver, gpa, (uint32_t)(NET_HEADER_BYTES + len));
    assert_int_equal(used_len, NET_HEADER_BYTES + len);
    assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0\1\0", NET_HEADER_BYTES); // num_buffers is 1
    assert_memory_equal(got + NET_HEADER_BYTES, frame(tag, len) + NET_HEADER_BYTES, len);
}

static void configuration_space_has_the_mac_and_the_link_is_up(void **state)
{
    (void)state;
    assert_int_equal(driver_read(&driver, 0x100), 0x01000002);
    assert_int_equal(driver_read(&driver, 0x104), 0x00010302);
}

static void a_frame_from_the_guest_reaches_the_tap(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    push_frame(1, 60);
    push_frame(2, 1518);
    push_frame(3, 14);
    assert_false(virtio_device_process(driver.dev, TX));
    assert_tap_gets(1, 60);
    assert_tap_gets(2, 1518);
    assert_tap_gets(3, 14);
    for (unsigned i = 0; i < 3; i++)
        assert_true(driver_used(&driver, TX, &head, &len));
    assert_int_equal(virtio_net_counters(net).from_guest_frames, 3);
    assert_int_equal(virtio_net_counters(net).from_guest_bytes, 60 + 1518 + 14);
}

static void a_frame_may_be_cut_into_buffers_anywhere(void **state)
{
    (void)state;
    uint64_t gpa = driver_copy(&driver, frame(7, 100), NET_HEADER_BYTES + 100);
    const struct driver_buffer b[] = {
        {gpa, 5, false}, {gpa + 5, 8, false}, {gpa + 13, 1, false}, {gpa + 14, 98, false}};
    driver_push(&driver, TX, b, 4);
    virtio_device_process(driver.dev, TX);
    assert_tap_gets(7, 100);
}

static void the_guests_header_never_reaches_the_tap(void **state)
{
    (void)state;
    uint8_t bytes[NET_HEADER_BYTES + 60];
    memcpy(bytes, frame(1, 60), sizeof bytes);
    memset(bytes + 2, 0xff, NET_HEADER_BYTES - 2); // hdr_len, gso_size, csum_start, csum_offset, num_buffers
    driver_push_out(&driver, TX, bytes, sizeof bytes);
    virtio_device_process(driver.dev, TX);
    assert_tap_gets(1, 60);
}

static void frames_that_are_none_or_want_offloads_are_dropped_and_completed(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint8_t flags[NET_HEADER_BYTES + 60] = {VIRTIO_NET_HDR_F_NEEDS_CSUM};
    uint8_t gso[NET_HEADER_BYTES + 60] = {0, VIRTIO_NET_HDR_GSO_TCPV4};
    push_frame(1, 0);
    push_frame(1, 13);
    push_frame(1, 1519);
    driver_push_out(&driver, TX, flags, sizeof flags);
    driver_push_out(&driver, TX, gso, sizeof gso);
    virtio_device_process(driver.dev, TX);
    for (unsigned i = 0; i < 5; i++)
        assert_true(driver_used(&driver, TX, &head, &len));
    assert_tap_gets_nothing();
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 5);
    assert_null(driver.broken);
}

static void requests_that_make_no_sense_break_the_device(void **state)
{
    (void)state;
    static const struct {
        unsigned queue;
        struct driver_buffer buffer;
        const char *why;
    } cases[] = {
        {TX, {DRIVER_HEAP_GPA, 100, true}, "a transmit request with writable buffers"},
        {TX, {DRIVER_HEAP_GPA, 11, false}, "a transmit request shorter than its header"},
        {RX, {DRIVER_HEAP_GPA, 2000, false}, "a receive request with readable buffers"},
        {RX, {DRIVER_HEAP_GPA, 25, true}, "a receive buffer that holds no frame"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        driver_clear_rings(&driver);
        driver_start(&driver, FEATURES);
        driver_push(&driver, cases[i].queue, &cases[i].buffer, 1);
        virtio_device_process(driver.dev, cases[i].queue);
        assert_string_equal(driver.broken, cases[i].why);
    }
}

static void a_frame_for_the_guest_gets_a_plain_header(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint64_t gpa = driver_alloc(&driver, 2048);
    driver_push_in(&driver, RX, gpa, 2048);
    uint8_t bytes[NET_HEADER_BYTES + 60];
    memcpy(bytes, frame(9, 60), sizeof bytes);
    bytes[0] = VIRTIO_NET_HDR_F_DATA_VALID; // which the guest did not agree to
    assert_int_equal(send(tap[1], bytes, sizeof bytes, 0), sizeof bytes);
    virtio_device_process(driver.dev, RX);
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_guest_has(gpa, len, 9, 60);
}

static void what_the_host_answers_comes_in_one_interrupt_with_the_completions(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint64_t gpa = driver_alloc(&driver, 2048);
    driver_push_in(&driver, RX, gpa, 2048);
    push_frame(1, 60);
    tap_sends(2, 60);
    const unsigned raised = driver.raised;
    virtio_device_process(driver.dev, TX);
    assert_int_equal(driver.raised, raised + 1);
    assert_tap_gets(1, 60);
    assert_true(driver_used(&driver, TX, &head, &len));
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_guest_has(gpa, len, 2, 60);
}

static void a_transmit_request_that_breaks_the_device_leaves_the_tap_unread(void **state)
{
    (void)state;
    uint8_t got[NET_HEADER_BYTES + 60];
    driver_push_in(&driver, RX, driver_alloc(&driver, 2048), 2048);
    driver_push_in(&driver, TX, driver_alloc(&driver, 64), 64);
    tap_sends(1, 60);
    virtio_device_process(driver.dev, TX);
    assert_non_null(driver.broken);
    assert_int_equal(recv(tap[0], got, sizeof got, 0), sizeof got);
}

static void a_frame_too_long_for_the_buffer_or_for_ethernet_is_dropped_and_the_buffer_kept(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint64_t small = driver_alloc(&driver, 112), large = driver_alloc(&driver, 4096);
    driver_push_in(&driver, RX, small, 112);
    tap_sends(1, 101);
    tap_sends(2, 5); // shorter than an Ethernet header
    tap_sends(3, 100);
    virtio_device_process(driver.dev, RX);
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_guest_has(small, len, 3, 100);
    driver_push_in(&driver, RX, large, 4096);
    tap_sends(4, 1519);
    tap_sends(5, 1518);
    virtio_device_process(driver.dev, RX);
    assert_true(driver_used(&driver, RX, &head, &len));
    assert_guest_has(large, len, 5, 1518);
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 3);
    assert_int_equal(virtio_net_counters(net).to_guest_frames, 2);
}

static void frames_wait_in_the_tap_until_there_are_buffers(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint64_t gpa = driver_alloc(&driver, 2048);
    driver_run_loop(&driver);
    for (uint8_t i = 0; i < 40; i++)
        tap_sends(i, 60);
    for (uint8_t i = 0; i < 40; i++) {
        driver_push_in(&driver, RX, gpa, 2048);
        driver_kick(&driver, RX);
        assert_true(driver_wait_used(&driver, RX, &head, &len));
        assert_guest_has(gpa, len, i, 60);
    }
}

static void a_full_tap_holds_the_guests_frames_back_and_loses_none(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    unsigned pushed = 0, used = 0, got = 0;
    uint64_t gpa = driver_copy(&driver, frame(5, 1500), NET_HEADER_BYTES + 1500);
    const struct driver_buffer b = {gpa, NET_HEADER_BYTES + 1500, false};
    driver_run_loop(&driver);
    while (pushed < 1000) { // more than the pair takes: then nothing is used for a while
        driver_push(&driver, TX, &b, 1);
        driver_kick(&driver, TX);
        pushed++;
        unsigned tries = 0;
        while (!driver_used(&driver, TX, &head, &len) && tries++ < 1000)
            usleep(100);
        if (tries > 1000)
            break;
        used++;
    }
    assert_true(used < pushed); // the tap was full
    while (got < pushed) {
        uint8_t bytes[2048];
        if (recv(tap[1], bytes, sizeof bytes, 0) > 0)
            got++;
        else
            usleep(100);
    }
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 0);
}

static void the_guests_packet_rate_is_limited(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    struct virtio_net_rate rate = {.packets_per_s = 100}; // 64 at once, then one each 10 ms
    uint64_t gpa = driver_copy(&driver, frame(5, 60), NET_HEADER_BYTES + 60);
    const struct driver_buffer b = {gpa, NET_HEADER_BYTES + 60, false};
    start((struct virtio_net_rate){0}, rate);
    driver_run_loop(&driver);
    uint64_t before = io_monotonic_ns();
    for (unsigned i = 0; i < 70; i++) {
        driver_push(&driver, TX, &b, 1);
        driver_kick(&driver, TX);
        assert_true(driver_wait_used(&driver, TX, &head, &len));
        uint8_t bytes[128];
        assert_true(recv(tap[1], bytes, sizeof bytes, 0) > 0);
    }
    assert_in_range(io_monotonic_ns() - before, 55000000u, 5000000000u);
}

static void the_bit_rate_to_the_guest_is_limited(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    struct virtio_net_rate rate = {.bits_per_s = 8ull * 65536u}; // 64 KiB at once, then 64 KiB/s
    uint64_t gpa = driver_alloc(&driver, 2048);
    start(rate, (struct virtio_net_rate){0});
    driver_run_loop(&driver);
    uint64_t before = io_monotonic_ns();
    for (uint8_t i = 0; i < 50; i++) { // 75,000 bytes: 9,464 beyond the burst, less one frame on credit
        tap_sends(i, 1500);
        driver_push_in(&driver, RX, gpa, 2048);
        driver_kick(&driver, RX);
        assert_true(driver_wait_used(&driver, RX, &head, &len));
    }
    assert_in_range(io_monotonic_ns() - before, 100000000u, 5000000000u);
}

static void when_the_tap_goes_away_the_link_goes_down_and_the_device_lives(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    driver_run_loop(&driver);
    driver_push_in(&driver, RX, driver_alloc(&driver, 2048), 2048);
    driver_kick(&driver, RX);
    close(tap[1]);
    tap[1] = -1;
    for (unsigned i = 0; i < 50000 && driver_read(&driver, 0x104) >> 16 != 0; i++)
        usleep(100);
    assert_int_equal(driver_read(&driver, 0x104), 0x00000302);
    assert_true(driver_read(&driver, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
    push_frame(1, 60);
    driver_kick(&driver, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 1);
}

static void a_device_that_is_not_running_leaves_the_tap_alone(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint64_t gpa = driver_alloc(&driver, 2048);
    driver_run_loop(&driver);
    driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
    tap_sends(1, 60);
    usleep(20000);
    driver_clear_rings(&driver);
    driver_push_in(&driver, RX, gpa, 2048);
    driver_start(&driver, FEATURES);
    assert_true(driver_wait_used(&driver, RX, &head, &len));
    assert_guest_has(gpa, len, 1, 60);
}

#define NET_TEST(name)     cmocka_unit_test_setup_teardown(name, setup_started, teardown)
#define NET_TEST_RAW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(configuration_space_has_the_mac_and_the_link_is_up),
        NET_TEST(a_frame_from_the_guest_reaches_the_tap),
        NET_TEST(a_frame_may_be_cut_into_buffers_anywhere),
        NET_TEST(the_guests_header_never_reaches_the_tap),
        NET_TEST(frames_that_are_none_or_want_offloads_are_dropped_and_completed),
        NET_TEST(requests_that_make_no_sense_break_the_device),
        NET_TEST(a_frame_for_the_guest_gets_a_plain_header),
        NET_TEST(what_the_host_answers_comes_in_one_interrupt_with_the_completions),
        NET_TEST(a_transmit_request_that_breaks_the_device_leaves_the_tap_unread),
        NET_TEST(a_frame_too_long_for_the_buffer_or_for_ethernet_is_dropped_and_the_buffer_kept),
        NET_TEST(frames_wait_in_the_tap_until_there_are_buffers),
        NET_TEST(a_full_tap_holds_the_guests_frames_back_and_loses_none),
        NET_TEST_RAW(the_guests_packet_rate_is_limited),
        NET_TEST_RAW(the_bit_rate_to_the_guest_is_limited),
        NET_TEST(when_the_tap_goes_away_the_link_goes_down_and_the_device_lives),
        NET_TEST(a_device_that_is_not_running_leaves_the_tap_alone),
    };
    return cmocka_run_group_tests_name("virtio/net", tests, NULL, NULL);
}
