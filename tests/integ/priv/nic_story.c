// What an environment can send and receive through its tap: its own address to its gateway, ICMP echo and
// ARP, and nothing else, whatever it tries. The probe writes the frames; the story listens on the bridge,
// behind the filters.
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MARK_LEN 32 // payload of an echo request

static struct host host;
static struct guest guest;
static struct guest neighbour;
static int listener; // on the bridge
static uint8_t bridge_mac[6];

// Builds frames field by field, in network order.
struct frame {
    uint8_t bytes[PROBE_FRAME_MAX];
    size_t len;
};

static void put(struct frame *f, const void *data, size_t len)
{
    memcpy(f->bytes + f->len, data, len);
    f->len += len;
}

static void put_u16(struct frame *f, uint16_t v)
{
    put(f, &(uint16_t){htons(v)}, 2);
}

static void put_u32(struct frame *f, uint32_t v)
{
    put(f, &(uint32_t){htonl(v)}, 4);
}

static uint16_t checksum(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

// What varies between a good frame and the forged ones.
struct packet {
    const char *what;
    const uint8_t *to_mac;   // default: the bridge's
    const uint8_t *from_mac; // default: the guest's
    uint16_t vlan;           // 0: none
    uint16_t ethertype;      // default: IPv4
    uint32_t from, to;       // default: the guest's address, the gateway
    uint8_t protocol;        // default: ICMP
    uint8_t icmp_type;       // default: echo request
    uint16_t fragment;       // flags and offset
    bool arp;
    const uint8_t *arp_mac; // default: the guest's
};

static void put_ethernet(struct frame *f, const struct packet *p, uint16_t ethertype)
{
    put(f, p->to_mac ? p->to_mac : bridge_mac, 6);
    put(f, p->from_mac ? p->from_mac : guest.mac, 6);
    if (p->vlan) {
        put_u16(f, ETHERTYPE_VLAN);
        put_u16(f, p->vlan);
    }
    put_u16(f, p->ethertype ? p->ethertype : ethertype);
}

static void put_arp(struct frame *f, const struct packet *p)
{
    static const uint8_t unknown[6];
    put_ethernet(f, p, ETHERTYPE_ARP);
    put_u16(f, 1);
    put_u16(f, ETHERTYPE_IP);
    put(f, (uint8_t[]){6, 4}, 2);
    put_u16(f, 1); // request
    put(f, p->arp_mac ? p->arp_mac : guest.mac, 6);
    put_u32(f, p->from ? p->from : guest.ipv4);
    put(f, unknown, 6);
    put_u32(f, p->to ? p->to : HARNESS_GATEWAY);
}

static void put_ip(struct frame *f, const struct packet *p)
{
    put_ethernet(f, p, ETHERTYPE_IP);
    size_t ip = f->len;
    put(f, (uint8_t[]){0x45, 0}, 2);
    put_u16(f, 20 + 8 + MARK_LEN);
    put_u16(f, 1);
    put_u16(f, p->fragment);
    put(f, (uint8_t[]){64, p->protocol ? p->protocol : IPPROTO_ICMP, 0, 0}, 4);
    put_u32(f, p->from ? p->from : guest.ipv4);
    put_u32(f, p->to ? p->to : HARNESS_GATEWAY);
    uint16_t sum = htons(checksum(f->bytes + ip, 20));
    memcpy(f->bytes + ip + 10, &sum, 2);
    // ICMP echo; as UDP or TCP the same bytes are ports and more
    size_t icmp = f->len;
    put(f, (uint8_t[]){p->icmp_type ? p->icmp_type : 8, 0, 0, 0}, 4);
    put_u32(f, 0x12340001);
    char mark[MARK_LEN] = "";
    strncpy(mark, p->what, sizeof mark - 1);
    put(f, mark, sizeof mark);
    sum = htons(checksum(f->bytes + icmp, 8 + MARK_LEN));
    memcpy(f->bytes + icmp + 2, &sum, 2);
}

static void send_packet(const struct guest *g, const struct packet *p)
{
    struct frame f = {.len = 0};
    (p->arp ? put_arp : put_ip)(&f, p);
    assert_int_equal(guest_ask_number(g, PROBE_FRAME, f.bytes, f.len), 0);
}

// The next frame that came through from a guest, within half a second. 0: none.
static size_t overhear(uint8_t *bytes, size_t cap)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    while (poll(&p, 1, 500) == 1) {
        struct sockaddr_ll from = {0};
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(listener, bytes, cap, 0, (struct sockaddr *)&from, &len);
        if (n > 0 && from.sll_pkttype != PACKET_OUTGOING)
            return (size_t)n;
    }
    return 0;
}

// The next frame that reaches the guest and is for its MAC, or 0.
static size_t guest_hears(const struct guest *g, uint8_t *bytes, size_t cap)
{
    for (int i = 0; i < 20; i++) {
        size_t n = guest_ask(g, PROBE_RECEIVE, NULL, 0, bytes, cap);
        if (n <= 1)
            return 0;
        if (memcmp(bytes, g->mac, 6) == 0)
            return n;
    }
    return 0;
}

static void drain(void)
{
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    while (recv(listener, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

// Sent first a forged frame, then a good one: only the good one comes through.
static void assert_dropped(const struct packet *forged)
{
    drain();
    send_packet(&guest, forged);
    send_packet(&guest, &(struct packet){.what = "good"});
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    size_t n = overhear(bytes, sizeof bytes);
    if (n < 14 + 28 + 4 || memcmp(bytes + 14 + 28, "good", 4) != 0)
        fail_msg("%s came through (%zu bytes)", forged->what, n);
}

static void bridge_name(char name[IFNAMSIZ])
{
    snprintf(name, IFNAMSIZ, "ev%sb%u", harness_instance, HARNESS_NET);
}

static int open_listener(void)
{
    struct ifreq r = {0};
    bridge_name(r.ifr_name);
    listener = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(r.ifr_name)};
    if (listener < 0 || ioctl(listener, SIOCGIFHWADDR, &r) < 0)
        return -1;
    memcpy(bridge_mac, r.ifr_hwaddr.sa_data, 6);
    return bind(listener, (struct sockaddr *)&address, sizeof address);
}

static int setup(void **state)
{
    (void)state;
    host_start(&host);
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY);
    guest_start(&host, &guest, 1);
    guest_start(&host, &neighbour, 2);
    return open_listener();
}

static int teardown(void **state)
{
    (void)state;
    close(listener);
    close(guest.control);
    close(neighbour.control);
    host_end(&host, SIGTERM, true);
    return 0;
}

static void an_echo_request_to_the_gateway_is_answered(void **state)
{
    (void)state;
    send_packet(&guest, &(struct packet){.what = "hello"});
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    size_t n = guest_hears(&guest, bytes, sizeof bytes);
    assert_int_equal(n, 14 + 20 + 8 + MARK_LEN);
    assert_int_equal(bytes[14 + 20], 0); // echo reply
    assert_memory_equal(bytes + 14 + 28, "hello", 5);
}

static void arp_for_the_gateway_is_answered(void **state)
{
    (void)state;
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    send_packet(&guest, &(struct packet){.arp = true, .to_mac = all});
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    assert_true(guest_hears(&guest, bytes, sizeof bytes) >= 42);
    assert_int_equal(bytes[14 + 7], 2); // reply
    assert_memory_equal(bytes + 14 + 8, bridge_mac, 6);
}

static void forged_frames_are_dropped(void **state)
{
    (void)state;
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t other[6] = {0x02, 0x11, 0x22, 0x33, 0x00, 0x02}; // the neighbour's
    static const struct packet forged[] = {
        {.what = "another MAC", .from_mac = other},
        {.what = "another address", .from = HARNESS_GATEWAY + 3},
        {.what = "the gateway's own address", .from = HARNESS_GATEWAY},
        {.what = "to a neighbour", .to = HARNESS_GATEWAY + 3},
        {.what = "to a neighbour's MAC", .to_mac = other, .to = HARNESS_GATEWAY + 3},
        {.what = "to another address of the host", .to = 0x7f000001},
        {.what = "to the world", .to = 0x08080808},
        {.what = "UDP to the gateway", .protocol = IPPROTO_UDP},
        {.what = "TCP to the gateway", .protocol = IPPROTO_TCP},
        {.what = "a redirect", .icmp_type = 5},
        {.what = "a fragment's tail", .fragment = 0x0001},
        {.what = "a first fragment", .fragment = 0x2000},
        {.what = "a VLAN tag", .vlan = 1},
        {.what = "IPv6", .ethertype = ETHERTYPE_IPV6},
        {.what = "an unknown protocol", .ethertype = 0x88b5},
        {.what = "ARP from another address", .arp = true, .to_mac = all, .from = HARNESS_GATEWAY + 3},
        {.what = "ARP from another MAC", .arp = true, .to_mac = all, .from_mac = other},
        {.what = "ARP that gives another MAC", .arp = true, .to_mac = all, .arp_mac = other},
        {.what = "ARP for a neighbour", .arp = true, .to_mac = all, .to = HARNESS_GATEWAY + 3},
        {.what = "ARP with a VLAN tag", .arp = true, .to_mac = all, .vlan = 1},
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++)
        assert_dropped(&forged[i]);
}

static void runts_are_dropped(void **state)
{
    (void)state;
    for (size_t len = 14; len < 42; len += 7) {
        drain();
        struct frame f = {.len = 0};
        put_ip(&f, &(struct packet){.what = "runt"});
        guest_ask_number(&guest, PROBE_FRAME, f.bytes, len); // the tap itself refuses the shortest
        send_packet(&guest, &(struct packet){.what = "good"});
        uint8_t bytes[PROBE_FRAME_MAX] = {0};
        assert_int_equal(overhear(bytes, sizeof bytes), 14 + 28 + MARK_LEN);
    }
}

// Straight to the neighbour's MAC, with addresses that the filter takes: the bridge does not pass it on.
static void a_neighbour_hears_nothing(void **state)
{
    (void)state;
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    while (guest_ask(&neighbour, PROBE_RECEIVE, NULL, 0, bytes, sizeof bytes) > 1)
        ;
    send_packet(&guest, &(struct packet){.what = "psst", .to_mac = neighbour.mac});
    send_packet(&guest, &(struct packet){.what = "psst", .to_mac = all});
    send_packet(&guest, &(struct packet){.arp = true, .to_mac = all});
    assert_int_equal(guest_ask(&neighbour, PROBE_RECEIVE, NULL, 0, bytes, sizeof bytes), 1);
}

static void the_host_reaches_a_guest_without_asking(void **state)
{
    (void)state;
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(7), .sin_addr = {htonl(neighbour.ipv4)}};
    assert_int_equal(sendto(sock, "hi", 2, 0, (struct sockaddr *)&to, sizeof to), 2);
    close(sock);
    uint8_t bytes[PROBE_FRAME_MAX] = {0};
    size_t n = guest_ask(&neighbour, PROBE_RECEIVE, NULL, 0, bytes, sizeof bytes);
    assert_true(n >= 14 + 28 + 2);
    assert_memory_equal(bytes, neighbour.mac, 6); // the first frame is the datagram: no ARP went before it
    assert_memory_equal(bytes + 14 + 28, "hi", 2);
}

static void listening_ports_of_the_host_are_out_of_reach(void **state)
{
    (void)state;
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(0x0800)}; // the "ports" of put_ip()
    assert_int_equal(bind(sock, (struct sockaddr *)&any, sizeof any), 0);
    send_packet(&guest, &(struct packet){.what = "knock", .protocol = IPPROTO_UDP});
    struct pollfd p = {.fd = sock, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 200), 0);
    close(sock);
}

static void first_line_of(const char *command, char *ret, int cap)
{
    FILE *f = popen(command, "r");
    assert_non_null(f);
    ret[0] = '\0';
    if (!fgets(ret, cap, f))
        ret[0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    pclose(f);
}

static void ports_are_isolated_and_learn_nothing(void **state)
{
    (void)state;
    char command[256], line[64];
    static const char *const wanted[] = {"isolated on", "learning off", "flood off", "mcast_flood off"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        snprintf(command, sizeof command, "ip -d link show ev%st0 | grep -ow '%s'", harness_instance,
                 wanted[i]);
        first_line_of(command, line, sizeof line);
        assert_string_equal(line, wanted[i]);
    }
}

static void links_have_no_ipv6(void **state)
{
    (void)state;
    char command[256], line[256];
    snprintf(command, sizeof command, "ip -o -6 addr show | grep ev%s", harness_instance);
    first_line_of(command, line, sizeof line);
    assert_string_equal(line, "");
}

static void assert_rule(const char *chain, const char *before, const char *after)
{
    char command[256], line[128], wanted[128];
    snprintf(wanted, sizeof wanted, "%s \"ev%s*\" %s", before, harness_instance, after);
    snprintf(command, sizeof command, "nft -p list chain inet envd_%s %s | grep -oF '%.*s'", harness_instance,
             chain, 120, wanted);
    first_line_of(command, line, sizeof line);
    assert_string_equal(line, wanted);
}

// The messages are made by hand, so nft is asked how it reads them.
static void filters_read_as_meant(void **state)
{
    (void)state;
    assert_rule("input", "iifname", "meta l4proto 1 accept");
    assert_rule("input", "iifname", "drop");
    assert_rule("forward", "iifname", "drop");
    assert_rule("forward", "oifname", "drop");
    char command[256], line[64];
    snprintf(command, sizeof command, "nft list chain netdev envd_%s ev%st0 | grep -o 'policy drop'",
             harness_instance, harness_instance);
    first_line_of(command, line, sizeof line);
    assert_string_equal(line, "policy drop");
}

int main(void)
{
    int rc = harness_enter();
    if (rc != 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo_request_to_the_gateway_is_answered),
        cmocka_unit_test(arp_for_the_gateway_is_answered),
        cmocka_unit_test(forged_frames_are_dropped),
        cmocka_unit_test(runts_are_dropped),
        cmocka_unit_test(a_neighbour_hears_nothing),
        cmocka_unit_test(the_host_reaches_a_guest_without_asking),
        cmocka_unit_test(listening_ports_of_the_host_are_out_of_reach),
        cmocka_unit_test(ports_are_isolated_and_learn_nothing),
        cmocka_unit_test(links_have_no_ipv6),
        cmocka_unit_test(filters_read_as_meant),
    };
    return cmocka_run_group_tests_name("priv/nic", tests, setup, teardown);
}
