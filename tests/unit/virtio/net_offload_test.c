// Tests of virtio-net with offloads (server/vmm/virtio/net.c, net_buffers.c) against one end of a socket
// pair, which hands over whole datagrams as a tap does; TUNSETOFFLOAD is answered here. net_tcp_test.c has a
// real tap.
#include "testing.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "driver.h"
#include "tcp_frame.h"
#include "virtio/net.h"
#include "virtio/net_frame.h"

#define F(name) (1ull << VIRTIO_NET_F_##name)
#define BASE    (VIRTIO_VERSION_1 | F(MAC) | F(STATUS))
#define HOST    (F(CSUM) | F(HOST_TSO4) | F(HOST_TSO6) | F(HOST_ECN))
#define GUEST   (F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6) | F(GUEST_ECN))
#define ALL     (BASE | HOST | GUEST | F(MRG_RXBUF) | VIRTIO_RING_FEATURES)

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_net *net;
static int tap[2];            // [0] the device's
static long offloads_told;    // by TUNSETOFFLOAD; -1: never
static bool offloads_refused; // this tap cannot
static uint8_t bytes[NET_HEADER_BYTES + 70000];
static const struct tcp_frame tcp = {.sport = 1, .dport = 2, .gso_size = 1460};

int __wrap_ioctl(int fd, unsigned long request, unsigned long arg);

int __wrap_ioctl(int fd, unsigned long request, unsigned long arg)
{
    assert_int_equal(fd, tap[0]);
    assert_int_equal(request, TUNSETOFFLOAD);
    if (offloads_refused) {
        errno = EINVAL;
        return -1;
    }
    offloads_told = (long)arg;
    return 0;
}

static void start(const struct virtio_net_options *more, uint64_t features)
{
    struct err err;
    struct virtio_net_options options = *more;
    options.tap_fd = tap[0];
    options.offloads = true;
    assert_int_equal(virtio_net_new(&net, &driver.machine, &options, &err), 0);
    driver_attach(&driver, virtio_net_device(net));
    if (features)
        driver_preset(&driver, features);
}

static int setup(void **state)
{
    (void)state;
    net = NULL;
    offloads_told = -1;
    offloads_refused = false;
    memset(bytes, 0, sizeof bytes);
    driver_init(&driver);
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, tap);
}

static int setup_started(void **state)
{
    if (setup(state) < 0)
        return -1;
    start(&(struct virtio_net_options){0}, ALL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_net_free(net);
    driver_done(&driver);
    close(tap[0]);
    close(tap[1]);
    return 0;
}

static uint64_t offered(void)
{
    driver_write(&driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    uint64_t low = driver_read(&driver, VIRTIO_MMIO_DEVICE_FEATURES);
    driver_write(&driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return low | (uint64_t)driver_read(&driver, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void push_buffers(unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++)
        driver_push_in(&driver, RX, driver_alloc(&driver, len), len);
}

// A TCP frame of len bytes of payload, in `bytes`. Returns its length with the header.
static uint32_t make_frame(uint16_t len)
{
    uint32_t n = tcp4_frame(bytes, &tcp, len);
    for (unsigned i = 0; i < len; i++)
        bytes[NET_HEADER_BYTES + TCP4_HEADERS + i] = (uint8_t)(i * 7 + i / 256);
    return n;
}

static void tap_sends(uint32_t n)
{
    assert_int_equal(send(tap[1], bytes, n, 0), n);
}

static void everything_is_offered_on_a_tap_that_can(void **state)
{
    (void)state;
    start(&(struct virtio_net_options){0}, 0);
    assert_int_equal(offered(), ALL);
    assert_int_equal(offloads_told, 0); // tried, and taken back
}

static void a_tap_that_cannot_leaves_the_guests_part_out(void **state)
{
    (void)state;
    offloads_refused = true;
    start(&(struct virtio_net_options){0}, 0);
    assert_int_equal(offered(), ALL & ~GUEST);
}

static void the_tap_is_told_what_was_negotiated_and_a_reset_takes_it_back(void **state)
{
    (void)state;
    start(&(struct virtio_net_options){0}, 0);
    driver_run_loop(&driver);
    driver_start(&driver, BASE | F(GUEST_CSUM) | F(GUEST_TSO4));
    for (unsigned i = 0; i < 50000 && __atomic_load_n(&offloads_told, __ATOMIC_SEQ_CST) == 0; i++)
        usleep(100);
    assert_int_equal(offloads_told, TUN_F_CSUM | TUN_F_TSO4);
    driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
    for (unsigned i = 0; i < 50000 && __atomic_load_n(&offloads_told, __ATOMIC_SEQ_CST) != 0; i++)
        usleep(100);
    assert_int_equal(offloads_told, 0);
}

static void the_mtu_is_told_and_bounds_frames(void **state)
{
    (void)state;
    start(&(struct virtio_net_options){.mtu = 9000}, ALL | F(MTU));
    assert_int_equal(driver_read(&driver, 0x108) >> 16, 9000);
    driver_push_out(&driver, TX, bytes, NET_HEADER_BYTES + 9018);
    driver_push_out(&driver, TX, bytes, NET_HEADER_BYTES + 9019);
    virtio_device_process(driver.dev, TX);
    assert_int_equal(recv(tap[1], bytes, sizeof bytes, 0), NET_HEADER_BYTES + 9018);
    assert_int_equal(recv(tap[1], bytes, sizeof bytes, 0), -1);
}

static void a_frame_to_be_cut_reaches_the_tap_whole_behind_a_checked_header(void **state)
{
    (void)state;
    static uint8_t got[sizeof bytes];
    uint32_t len = make_frame(60000);
    bytes[2] = bytes[3] = 0xff; // hdr_len, a hint that may be anything
    driver_push_out(&driver, TX, bytes, len);
    assert_false(virtio_device_process(driver.dev, TX));
    assert_int_equal(recv(tap[1], got, sizeof got, 0), len);
    bytes[2] = TCP4_HEADERS;
    bytes[3] = 0;
    assert_memory_equal(got, bytes, len);
    assert_int_equal(virtio_net_counters(net).from_guest_frames, 1);
}

static void a_frame_that_lies_is_dropped_with_a_count(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(3000);
    bytes[6] = 14; // csum_start: into the IP header
    driver_push_out(&driver, TX, bytes, len);
    virtio_device_process(driver.dev, TX);
    assert_true(driver_used(&driver, TX, &head, &used));
    assert_int_equal(recv(tap[1], bytes, sizeof bytes, 0), -1);
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 1);
    assert_null(driver.broken);
}

static void a_round_is_bounded_in_bytes(void **state)
{
    (void)state;
    uint32_t len = make_frame(60000);
    static uint8_t got[sizeof bytes];
    uint64_t gpa = driver_copy(&driver, bytes, len);
    const struct driver_buffer b = {.gpa = gpa, .len = len};
    int large = 8 << 20; // so that the pair takes more than a round sends
    setsockopt(tap[0], SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
    for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++)
        driver_push(&driver, TX, &b, 1);
    for (unsigned expected = 9; expected > 0; expected = expected == 9 ? 7 : 0) { // 512 KiB, and the rest
        assert_int_equal(virtio_device_process(driver.dev, TX), expected == 9);
        for (unsigned i = 0; i < expected; i++)
            assert_int_equal(recv(tap[1], got, sizeof got, 0), len);
        assert_int_equal(recv(tap[1], got, sizeof got, 0), -1);
    }
}

static void a_frame_runs_through_as_many_buffers_as_it_needs(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(20000), at = 0;
    uint64_t first = driver.heap;
    push_buffers(10, 4096);
    tap_sends(len);
    virtio_device_process(driver.dev, RX);
    const uint8_t *got = driver_at(&driver, first, 10 * 4096); // allocated one behind the other
    for (unsigned i = 0; i < 5; i++) {
        assert_true(driver_used(&driver, RX, &head, &used));
        assert_int_equal(used, i < 4 ? 4096 : len - 4 * 4096);
        at += used;
    }
    assert_int_equal(at, len);
    assert_false(driver_used(&driver, RX, &head, &used));
    bytes[10] = 5; // num_buffers
    assert_memory_equal(got, bytes, len);
    assert_int_equal(virtio_net_counters(net).to_guest_frames, 1);
}

static void short_frames_take_one_buffer_each_of_those_popped_ahead(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(100);
    push_buffers(16, 4096);
    for (unsigned i = 0; i < 3; i++)
        tap_sends(len);
    virtio_device_process(driver.dev, RX);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(driver_used(&driver, RX, &head, &used));
        assert_int_equal(head, i);
        assert_int_equal(used, len);
    }
    assert_false(driver_used(&driver, RX, &head, &used));
}

static void frames_wait_for_buffers_enough_for_any_of_them(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(60000);
    driver_run_loop(&driver);
    tap_sends(len);
    push_buffers(7, 8192); // 57,344 bytes, and less than half the ring
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
    usleep(50000);
    assert_false(driver_used(&driver, RX, &head, &used));
    push_buffers(2, 8192);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
    for (unsigned i = 0; i < 8; i++)
        assert_true(driver_wait_used(&driver, RX, &head, &used));
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 0);
}

static void a_guest_of_small_means_gets_what_fits(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used;
    push_buffers(8, 64); // half the ring
    tap_sends(make_frame(1000));
    tap_sends(make_frame(100));
    virtio_device_process(driver.dev, RX);
    for (unsigned i = 0; i < 3; i++)
        assert_true(driver_used(&driver, RX, &head, &used));
    assert_false(driver_used(&driver, RX, &head, &used));
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 1);
}

static void a_header_may_be_spread_over_buffers_parts(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(100);
    uint64_t gpa = driver_alloc(&driver, 4096);
    const struct driver_buffer b[] = {
        {gpa, 5, true}, {gpa + 5, 3, true}, {gpa + 8, 10, true}, {gpa + 18, 4000, true}};
    driver_push(&driver, RX, b, 4);
    push_buffers(8, 8192);
    tap_sends(len);
    virtio_device_process(driver.dev, RX);
    assert_true(driver_used(&driver, RX, &head, &used));
    assert_int_equal(used, len);
    bytes[10] = 1;
    assert_memory_equal(driver_at(&driver, gpa, len), bytes, len);
}

static void what_was_queued_for_an_earlier_driver_is_dropped(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used;
    start(&(struct virtio_net_options){0}, BASE);
    tap_sends(make_frame(1000)); // its checksum is not filled in, and this driver cannot
    push_buffers(1, 4096);
    virtio_device_process(driver.dev, RX);
    assert_false(driver_used(&driver, RX, &head, &used));
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 1);
}

static void a_reset_forgets_the_buffers_popped_ahead(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(100);
    push_buffers(16, 8192);
    virtio_device_process(driver.dev, RX);
    driver_write(&driver, VIRTIO_MMIO_STATUS, 0);
    driver_clear_rings(&driver);
    driver_start(&driver, ALL);
    uint64_t gpa = driver.heap;
    push_buffers(8, 16384);
    tap_sends(len);
    virtio_device_process(driver.dev, RX);
    assert_true(driver_used(&driver, RX, &head, &used));
    bytes[10] = 1;
    assert_memory_equal(driver_at(&driver, gpa, len), bytes, len);
}

static void a_queue_made_unready_is_not_written_to(void **state)
{
    (void)state;
    uint64_t gpa = driver.heap;
    push_buffers(16, 8192);
    virtio_device_process(driver.dev, RX);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_SEL, RX);
    driver_write(&driver, VIRTIO_MMIO_QUEUE_READY, 0);
    tap_sends(make_frame(100));
    virtio_device_process(driver.dev, RX);
    assert_int_equal(*(uint8_t *)driver_at(&driver, gpa + NET_HEADER_BYTES + 12, 1), 0);
}

// 100 packets at once, then 1000 a second: three frames of 42 segments pass, the next ones wait for the debt.
static void a_frame_is_charged_by_its_segments_and_none_starves(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used, len = make_frame(60000);
    start(&(struct virtio_net_options){.from_guest = {.packets_per_s = 1000}}, ALL);
    uint64_t gpa = driver_copy(&driver, bytes, len);
    const struct driver_buffer b = {.gpa = gpa, .len = len};
    driver_run_loop(&driver);
    uint64_t before = io_monotonic_ns();
    for (unsigned i = 0; i < 5; i++) { // 168 packets before the last one
        driver_push(&driver, TX, &b, 1);
        driver_write(&driver, VIRTIO_MMIO_QUEUE_NOTIFY, TX);
        assert_true(driver_wait_used(&driver, TX, &head, &used));
        assert_int_equal(recv(tap[1], bytes, sizeof bytes, 0), len);
    }
    assert_in_range(io_monotonic_ns() - before, 60000000u, 5000000000u);
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 0);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup_started, teardown)
#define TEST_RAW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_RAW(everything_is_offered_on_a_tap_that_can),
        TEST_RAW(a_tap_that_cannot_leaves_the_guests_part_out),
        TEST_RAW(the_tap_is_told_what_was_negotiated_and_a_reset_takes_it_back),
        TEST_RAW(the_mtu_is_told_and_bounds_frames),
        TEST(a_frame_to_be_cut_reaches_the_tap_whole_behind_a_checked_header),
        TEST(a_frame_that_lies_is_dropped_with_a_count),
        TEST(a_round_is_bounded_in_bytes),
        TEST(a_frame_runs_through_as_many_buffers_as_it_needs),
        TEST(short_frames_take_one_buffer_each_of_those_popped_ahead),
        TEST(frames_wait_for_buffers_enough_for_any_of_them),
        TEST(a_guest_of_small_means_gets_what_fits),
        TEST(a_header_may_be_spread_over_buffers_parts),
        TEST_RAW(what_was_queued_for_an_earlier_driver_is_dropped),
        TEST(a_reset_forgets_the_buffers_popped_ahead),
        TEST(a_queue_made_unready_is_not_written_to),
        TEST_RAW(a_frame_is_charged_by_its_segments_and_none_starves),
    };
    return cmocka_run_group_tests_name("virtio/net_offload", tests, NULL, NULL);
}
