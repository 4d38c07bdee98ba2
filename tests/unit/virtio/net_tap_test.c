// Tests of virtio-net on a real tap, in a network namespace of its own; a packet socket is the world behind
// the tap. Skipped where no namespace or tap can be made.
#include "testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "virtio/net.h"
#include "virtio/net_frame.h"

#define FEATURES  (VIRTIO_VERSION_1 | 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS)
#define ETHERTYPE 0x88b5 // for local experiments: nobody else sends it
#define SKIPPED   77

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_net *net;
static int tap = -1, wire = -1;

static int open_tap(void)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header_bytes = NET_HEADER_BYTES;
    strcpy(ifr.ifr_name, "tap0");
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) < 0 || ioctl(tap, TUNSETVNETHDRSZ, &header_bytes) < 0)
        return -errno;
    wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));
    if (wire < 0 || ioctl(wire, SIOCGIFFLAGS, &ifr) < 0)
        return -errno;
    ifr.ifr_flags |= IFF_UP;
    if (ioctl(wire, SIOCSIFFLAGS, &ifr) < 0 || ioctl(wire, SIOCGIFINDEX, &ifr) < 0)
        return -errno;
    struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE), .sll_ifindex = ifr.ifr_ifindex};
    return bind(wire, (struct sockaddr *)&where, sizeof where) < 0 ? -errno : 0;
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    struct virtio_net_options options = {.tap_fd = tap, .mac = {2, 0, 0, 0, 0, 1}};
    driver_init(&driver);
    if (virtio_net_new(&net, &driver.machine, &options, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_net_device(net));
    driver_preset(&driver, FEATURES);
    driver_run_loop(&driver);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_stop_loop(&driver);
    virtio_net_free(net);
    driver_done(&driver);
    return 0;
}

// A whole Ethernet frame of our type.
static void make_frame(uint8_t *out, size_t len, uint8_t tag)
{
    static const uint8_t header[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, ETHERTYPE >> 8, ETHERTYPE & 0xff};
    memset(out, tag, len);
    memcpy(out, header, sizeof header);
}

static void a_frame_of_the_guest_appears_behind_the_tap(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint8_t request[NET_HEADER_BYTES + 1514] = {0}, got[2048];
    struct timeval patience = {.tv_sec = 5};
    make_frame(request + NET_HEADER_BYTES, 1514, 0x5a);
    driver_push_out(&driver, TX, request, sizeof request);
    driver_kick(&driver, TX);
    setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(recv(wire, got, sizeof got, 0), 1514);
    assert_memory_equal(got, request + NET_HEADER_BYTES, 1514);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
}

// Other frames come too: a fresh interface announces itself.
static void a_frame_from_behind_the_tap_reaches_the_guest(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint8_t frame[1514];
    uint64_t gpa = driver_alloc(&driver, 2048);
    const uint8_t *got = driver_at(&driver, gpa, 2048);
    make_frame(frame, sizeof frame, 0xa5);
    assert_int_equal(send(wire, frame, sizeof frame, 0), sizeof frame);
    for (unsigned i = 0; i < 100; i++) {
        driver_push_in(&driver, RX, gpa, 2048);
        driver_kick(&driver, RX);
        assert_true(driver_wait_used(&driver, RX, &head, &len));
        if (memcmp(got + NET_HEADER_BYTES + 12, "\x88\xb5", 2) == 0)
            break;
    }
    assert_int_equal(len, NET_HEADER_BYTES + sizeof frame);
    assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0\1\0", NET_HEADER_BYTES);
    assert_memory_equal(got + NET_HEADER_BYTES, frame, sizeof frame);
}

static void refused_frames_do_not_upset_the_tap(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t len;
    uint8_t gso[NET_HEADER_BYTES + 60] = {0, VIRTIO_NET_HDR_GSO_TCPV4};
    driver_push_out(&driver, TX, gso, sizeof gso);
    driver_kick(&driver, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 1);
    a_frame_of_the_guest_appears_behind_the_tap(state);
}

static void a_removed_interface_takes_the_link_down(void **state)
{
    (void)state;
    FILE *ip = popen("ip link delete tap0", "r");
    assert_int_equal(pclose(ip), 0);
    uint16_t head;
    uint32_t len;
    uint8_t request[NET_HEADER_BYTES + 60] = {0};
    make_frame(request + NET_HEADER_BYTES, 60, 1);
    driver_push_out(&driver, TX, request, sizeof request);
    driver_kick(&driver, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &len));
    assert_int_equal(driver_read(&driver, 0x104) >> 16, 0);
}

#define TAP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TAP_TEST(a_frame_of_the_guest_appears_behind_the_tap),
        TAP_TEST(a_frame_from_behind_the_tap_reaches_the_guest),
        TAP_TEST(refused_frames_do_not_upset_the_tap),
        TAP_TEST(a_removed_interface_takes_the_link_down), // the last one: it takes the tap away
    };
    int rc = unshare(CLONE_NEWNET) < 0 ? -errno : open_tap();
    if (rc < 0) {
        printf("SKIPPED: no tap in a network namespace here: %s\n", strerror(-rc));
        return SKIPPED;
    }
    return cmocka_run_group_tests_name("virtio/net_tap", tests, NULL, NULL);
}
