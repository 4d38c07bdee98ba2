// Tests of virtio-net's offloads on a real tap, in a network namespace of its own: the host's TCP on the one
// side, and on the other a guest that speaks just enough TCP to be one end of a connection. Skipped where no
// namespace or tap can be made.
#include "testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "tcp_frame.h"
#include "virtio/net.h"
#include "virtio/net_frame.h"

#define F(name) (1ull << VIRTIO_NET_F_##name)
#define BASE    (VIRTIO_VERSION_1 | F(MAC) | F(STATUS))
#define OFFLOADS                                                                                             \
    (BASE | F(CSUM) | F(HOST_TSO4) | F(GUEST_CSUM) | F(GUEST_TSO4) | F(MRG_RXBUF) | VIRTIO_RING_FEATURES)
#define HOST_IP      0x0a000001u // 10.0.0.1/24
#define GUEST_IP     0x0a000002u
#define HOST_PORT    7777u
#define GUEST_PORT   4000u
#define BUFFER_BYTES 8192u
#define SYN          2
#define ACK          16
#define SKIPPED      77
#define PATIENCE_S   5

enum { RX = 0, TX = 1 };

static struct driver driver;
static struct virtio_net *net;
static int tap = -1, listener = -1, peer = -1;
static uint8_t host_mac[6];
static struct tcp_frame tcp;
static uint8_t bytes[NET_HEADER_BYTES + 66000], received[NET_HEADER_BYTES + 66000];

static int run(const char *command)
{
    FILE *p = popen(command, "r");
    return p ? pclose(p) : -1;
}

static int open_tap(void)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header_bytes = NET_HEADER_BYTES, one = 1;
    strcpy(ifr.ifr_name, "tap0");
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) < 0 || ioctl(tap, TUNSETVNETHDRSZ, &header_bytes) < 0)
        return -errno;
    // No IPv6, for its own traffic would come between.
    run("sysctl -qw net.ipv6.conf.tap0.disable_ipv6=1");
    // Long frames also when this machine is so busy that the connection looks slow.
    run("sysctl -qw net.ipv4.tcp_min_tso_segs=40");
    if (run("ip addr add 10.0.0.1/24 dev tap0") != 0 || run("ip link set tap0 up") != 0 ||
        run("ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:01 dev tap0") != 0)
        return -EPERM;
    if (ioctl(tap, SIOCGIFHWADDR, &ifr) < 0)
        return -errno;
    memcpy(host_mac, ifr.ifr_hwaddr.sa_data, sizeof host_mac);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(HOST_PORT), .sin_addr.s_addr = htonl(HOST_IP)};
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 4) < 0)
        return -errno;
    return 0;
}

static void push_buffer(uint64_t gpa)
{
    driver_push_in(&driver, RX, gpa, BUFFER_BYTES);
}

static int start(uint64_t features)
{
    static uint16_t port = GUEST_PORT;
    struct err err;
    struct virtio_net_options options = {.tap_fd = tap, .mac = {2, 0, 0, 0, 0, 1}, .offloads = true};
    driver_init(&driver);
    if (virtio_net_new(&net, &driver.machine, &options, &err) < 0)
        return -1;
    driver_attach(&driver, virtio_net_device(net));
    driver_preset(&driver, features);
    for (unsigned i = 0; i < DRIVER_QUEUE_SIZE; i++)
        push_buffer(driver_alloc(&driver, BUFFER_BYTES));
    driver_run_loop(&driver);
    driver_kick(&driver, RX);
    tcp = (struct tcp_frame){
        .from = {2, 0, 0, 0, 0, 1}, .saddr = GUEST_IP, .daddr = HOST_IP, .sport = port++, .dport = HOST_PORT};
    memcpy(tcp.to, host_mac, sizeof tcp.to);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return start(OFFLOADS);
}

static int setup_plain(void **state)
{
    (void)state;
    return start(BASE);
}

static int teardown(void **state)
{
    (void)state;
    // At once, with a reset: what it would still send would come in the next test's way.
    const struct linger none = {.l_onoff = 1};
    if (peer >= 0) {
        setsockopt(peer, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(peer);
    }
    peer = -1;
    driver_stop_loop(&driver);
    virtio_net_free(net);
    driver_done(&driver);
    return 0;
}

static void send_tcp(uint8_t flags, const uint8_t *payload, uint16_t len, uint16_t gso_size)
{
    uint16_t head;
    uint32_t used;
    tcp.flags = flags;
    tcp.gso_size = gso_size;
    uint32_t n = tcp4_frame(bytes, &tcp, len);
    if (len > 0)
        memcpy(bytes + n - len, payload, len);
    driver_push_out(&driver, TX, bytes, n);
    driver_write(&driver, 0x50, TX);
    assert_true(driver_wait_used(&driver, TX, &head, &used));
    tcp.seq += len + (flags & SYN ? 1 : 0);
}

// The next frame, put together from its buffers, in `received`. Returns its length with the header. The
// buffers are given back.
static uint32_t receive(void)
{
    uint16_t heads[DRIVER_QUEUE_SIZE];
    uint32_t used, len = 0;
    unsigned n = 1;
    for (unsigned i = 0; i < n; i++) {
        assert_true(driver_wait_used(&driver, RX, &heads[i], &used));
        uint64_t gpa = DRIVER_HEAP_GPA + (uint64_t)heads[i] * BUFFER_BYTES; // heads are used in their order
        memcpy(received + len, driver_at(&driver, gpa, used), used);
        len += used;
        n = received[10];
        push_buffer(gpa);
    }
    driver_write(&driver, 0x50, RX);
    return len;
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// The next TCP segment of the connection. Returns its payload's length; *ret is the payload.
static uint32_t receive_tcp(const uint8_t **ret)
{
    for (;;) {
        uint32_t len = receive();
        const uint8_t *eth = received + NET_HEADER_BYTES, *ip = eth + 14, *t = ip + 4u * (ip[0] & 0xfu);
        if (len < NET_HEADER_BYTES + TCP4_HEADERS || ip[9] != 6 || t[2] << 8 != (tcp.sport & 0xff00) ||
            t[3] != (tcp.sport & 0xff))
            continue;
        *ret = t + 4u * (t[12] >> 4);
        uint32_t n = (uint32_t)(ip[2] << 8 | ip[3]) - (uint32_t)(*ret - ip);
        tcp.ack = load_be32(t + 4) + n + (t[13] & SYN ? 1 : 0);
        return n;
    }
}

static void connect_to_host(void)
{
    const uint8_t *none;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    tcp.seq = 1000;
    send_tcp(SYN, NULL, 0, 0);
    receive_tcp(&none);
    send_tcp(ACK, NULL, 0, 0);
    peer = accept(listener, NULL, NULL);
    assert_true(peer >= 0);
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static void fill(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(i * 31 + i / 251);
}

static void a_frame_that_the_host_is_to_cut_reaches_its_socket(void **state)
{
    (void)state;
    static uint8_t data[40000], got[sizeof data];
    fill(data, sizeof data);
    connect_to_host();
    send_tcp(ACK, data, sizeof data, 1460);
    assert_int_equal(recv(peer, got, sizeof got, MSG_WAITALL), sizeof data);
    assert_memory_equal(got, data, sizeof data);
    assert_int_equal(virtio_net_counters(net).from_guest_dropped, 0);
}

static void a_long_write_of_the_host_comes_in_frames_over_several_buffers(void **state)
{
    (void)state;
    static uint8_t data[200000];
    const uint8_t *payload;
    uint32_t longest = 0, done = 0;
    fill(data, sizeof data);
    connect_to_host();
    fcntl(peer, F_SETFL, O_NONBLOCK);
    assert_true(send(peer, data, sizeof data, 0) >= 60000);
    while (done < 60000) { // acknowledged as it comes, so that the window opens
        uint32_t n = receive_tcp(&payload);
        assert_memory_equal(payload, data + done, n);
        assert_int_equal(received[0], VIRTIO_NET_HDR_F_NEEDS_CSUM);
        done += n;
        longest = n > longest ? n : longest;
        send_tcp(ACK, NULL, 0, 0);
    }
    assert_true(longest > BUFFER_BYTES);
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 0);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    return len % 2 ? sum + (uint32_t)(p[len - 1] << 8) : sum;
}

// What a cell, or any driver without GUEST_CSUM, gets: the tap has the kernel finish checksums.
static void a_guest_without_offloads_gets_whole_checksums(void **state)
{
    (void)state;
    const uint8_t *payload;
    // The guest's own checksums are not whole, so it is the host that connects.
    peer = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(tcp.sport), .sin_addr.s_addr = htonl(GUEST_IP)};
    struct sockaddr_in from = {
        .sin_family = AF_INET, .sin_port = htons(HOST_PORT + 1), .sin_addr.s_addr = htonl(HOST_IP)};
    assert_int_equal(bind(peer, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&to, sizeof to), -1);
    receive_tcp(&payload);
    const uint8_t *ip = received + NET_HEADER_BYTES + 14, *t = ip + 20;
    size_t len = (size_t)(ip[2] << 8 | ip[3]) - 20;
    uint32_t sum = sum16(ip + 12, 8, 6 + (uint32_t)len);
    sum = sum16(t, len, sum);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    assert_int_equal(sum, 0xffff);
    assert_int_equal(received[0], 0);
    assert_int_equal(virtio_net_counters(net).to_guest_dropped, 0);
}

// The kernel is not trusted to find these: it would, for some, write where it is told.
static void frames_that_lie_do_not_reach_the_tap(void **state)
{
    (void)state;
    uint16_t head;
    uint32_t used;
    connect_to_host();
    uint64_t before = virtio_net_counters(net).from_guest_frames;
    for (unsigned at = 0; at < 10; at++) {
        tcp.gso_size = 1460;
        tcp.flags = ACK;
        uint32_t n = tcp4_frame(bytes, &tcp, 3000);
        if (at == 2 || at == 3) // hdr_len, which is only a hint
            continue;
        bytes[at] ^= 0x5a;
        driver_push_out(&driver, TX, bytes, n);
        driver_write(&driver, 0x50, TX);
        assert_true(driver_wait_used(&driver, TX, &head, &used));
    }
    // flags lost its bit, and so on; a gso_size of 1460 ^ 0x5a is another one that is fine.
    assert_in_range(virtio_net_counters(net).from_guest_dropped, 6, 8);
    assert_in_range(virtio_net_counters(net).from_guest_frames - before, 0, 2);
}

#define TCP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TCP_TEST(a_frame_that_the_host_is_to_cut_reaches_its_socket),
        TCP_TEST(a_long_write_of_the_host_comes_in_frames_over_several_buffers),
        cmocka_unit_test_setup_teardown(a_guest_without_offloads_gets_whole_checksums, setup_plain, teardown),
        TCP_TEST(frames_that_lie_do_not_reach_the_tap),
    };
    int rc = unshare(CLONE_NEWNET) < 0 ? -errno : open_tap();
    if (rc < 0) {
        printf("SKIPPED: no tap in a network namespace here: %s\n", strerror(-rc));
        return SKIPPED;
    }
    return cmocka_run_group_tests_name("virtio/net_tcp", tests, NULL, NULL);
}
