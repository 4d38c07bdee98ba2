// Tests of what virtio-net takes for a frame (server/vmm/virtio/net_frame.c): headers that ask the host for
// checksums and for cutting.
#include "testing.h"

#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "tcp_frame.h"
#include "virtio/net_frame.h"

#define F(name)     (1ull << VIRTIO_NET_F_##name)
#define ALL         (F(CSUM) | F(HOST_TSO4) | F(HOST_TSO6) | F(HOST_ECN))
#define ALL_GUEST   (F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6) | F(GUEST_ECN) | F(MRG_RXBUF))
#define PAYLOAD     30000u
#define GSO_SIZE    1460u
#define FRAME_MAX   1518u
#define VNET(field) offsetof(struct virtio_net_hdr_v1, field)
#define IP          (NET_HEADER_BYTES + 14u)
#define TCP4        (IP + 20u)

static uint8_t request[NET_HEADER_BYTES + TCP6_HEADERS + PAYLOAD];
static struct net_limits limits;
static struct net_frame frame;

static int setup(void **state)
{
    (void)state;
    limits = (struct net_limits){.features = ALL, .frame_max = FRAME_MAX};
    frame = (struct net_frame){0};
    memset(request, 0, sizeof request);
    return 0;
}

static enum net_verdict parse(uint32_t bytes)
{
    const char *why = NULL;
    return net_parse_transmit(request, bytes, 0, &limits, &frame, &why);
}

static uint32_t make(uint16_t gso_size, uint16_t payload)
{
    const struct tcp_frame f = {.gso_size = gso_size};
    return tcp4_frame(request, &f, payload);
}

static void a_frame_to_be_cut_is_sent_and_counted_by_its_segments(void **state)
{
    (void)state;
    assert_int_equal(parse(make(GSO_SIZE, PAYLOAD)), NET_SEND);
    assert_int_equal(frame.bytes, TCP4_HEADERS + PAYLOAD);
    assert_int_equal(frame.packets, 21);
    assert_int_equal(frame.wire_bytes, PAYLOAD + 21 * TCP4_HEADERS);
    assert_int_equal(frame.copied_bytes, NET_COPY_MAX);
    const struct tcp_frame f = {.gso_size = GSO_SIZE - 20};
    assert_int_equal(parse(tcp6_frame(request, &f, PAYLOAD)), NET_SEND);
    assert_int_equal(frame.packets, 21);
}

static void the_header_for_the_tap_is_made_of_what_was_checked(void **state)
{
    (void)state;
    struct virtio_net_hdr_v1 header;
    uint32_t len = make(GSO_SIZE, PAYLOAD);
    request[VNET(flags)] |= 0xf0;
    request[VNET(hdr_len)] = 0xff;
    request[VNET(hdr_len) + 1] = 0xff;
    request[VNET(num_buffers)] = 7;
    assert_int_equal(parse(len), NET_SEND);
    memcpy(&header, frame.header, sizeof header);
    assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(header.hdr_len, TCP4_HEADERS);
    assert_int_equal(header.gso_size, GSO_SIZE);
    assert_int_equal(header.csum_start, 34);
    assert_int_equal(header.csum_offset, 16);
    assert_int_equal(header.num_buffers, 0);
}

static void a_checksum_alone_is_sent_for_tcp_and_udp(void **state)
{
    (void)state;
    assert_int_equal(parse(make(0, 100)), NET_SEND);
    assert_int_equal(frame.packets, 1);
    assert_int_equal(frame.wire_bytes, TCP4_HEADERS + 100);
    request[IP + 9] = 17;
    request[VNET(csum_offset)] = 6;
    assert_int_equal(parse(NET_HEADER_BYTES + 42), NET_SEND);
    assert_int_equal(parse(NET_HEADER_BYTES + 41), NET_REFUSE);
}

static void one_vlan_tag_is_looked_behind(void **state)
{
    (void)state;
    uint8_t tagged[sizeof request + 4];
    uint32_t len = make(GSO_SIZE, 3000);
    memcpy(tagged, request, NET_HEADER_BYTES + 12);
    memcpy(tagged + NET_HEADER_BYTES + 12, "\x81\x00\x00\x05", 4);
    memcpy(tagged + NET_HEADER_BYTES + 16, request + NET_HEADER_BYTES + 12, len - NET_HEADER_BYTES - 12);
    tagged[VNET(csum_start)] += 4;
    memcpy(request, tagged, sizeof request);
    assert_int_equal(parse(len + 4), NET_SEND);
}

static void a_plain_frame_keeps_its_limit_and_is_not_copied(void **state)
{
    (void)state;
    assert_int_equal(parse(NET_HEADER_BYTES + FRAME_MAX), NET_SEND);
    assert_int_equal(frame.copied_bytes, 0);
    assert_int_equal(parse(NET_HEADER_BYTES + FRAME_MAX + 1), NET_REFUSE);
    assert_int_equal(parse(make(0, FRAME_MAX - TCP4_HEADERS)), NET_SEND);
    assert_int_equal(parse(make(0, FRAME_MAX - TCP4_HEADERS + 1)), NET_REFUSE);
}

static void offloads_that_were_not_agreed_to_are_refused(void **state)
{
    (void)state;
    uint32_t len = make(GSO_SIZE, PAYLOAD);
    limits.features = F(CSUM) | F(HOST_TSO6);
    assert_int_equal(parse(len), NET_REFUSE);
    limits.features = F(HOST_TSO4);
    assert_int_equal(parse(len), NET_REFUSE);
    limits.features = F(CSUM) | F(HOST_TSO4);
    assert_int_equal(parse(len), NET_SEND);
    request[VNET(gso_type)] |= VIRTIO_NET_HDR_GSO_ECN;
    assert_int_equal(parse(len), NET_REFUSE);
    limits.features |= F(HOST_ECN);
    assert_int_equal(parse(len), NET_SEND);
}

// Each case changes one field of a request that is fine. 16-bit fields of the vnet header are little endian.
static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        const char *what;
    } cases[] = {
        {VNET(flags), 0, "cut without a checksum"},
        {VNET(gso_type), VIRTIO_NET_HDR_GSO_TCPV6, "cut as IPv6"},
        {VNET(gso_type), VIRTIO_NET_HDR_GSO_UDP, "cut as UDP"},
        {VNET(gso_type), 5, "cut as nobody knows what"},
        {VNET(gso_type), VIRTIO_NET_HDR_GSO_ECN, "ECN of nothing"},
        {VNET(gso_size) + 1, 0xff, "segments longer than the network takes"},
        {VNET(csum_start), 14, "a checksum over the IP header"},
        {VNET(csum_start), 33, "one byte off"},
        {VNET(csum_start) + 1, 0xff, "a checksum far outside"},
        {VNET(csum_offset), 6, "UDP's place in TCP"},
        {VNET(csum_offset) + 1, 0xff, "a checksum field far outside"},
        {NET_HEADER_BYTES + 12, 0x09, "not IP"},
        {NET_HEADER_BYTES + 12, 0x86, "IPv6's type, or neither"},
        {IP, 0x55, "version 5"},
        {IP, 0x44, "an IP header too short"},
        {IP, 0x4f, "an IP header that reaches into TCP"},
        {IP + 6, 0x20, "more fragments"},
        {IP + 7, 0x01, "a later fragment"},
        {IP + 9, 1, "ICMP"},
        {IP + 9, 17, "UDP to be cut"},
        {TCP4 + 12, 0x40, "a TCP header too short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t len = make(GSO_SIZE, PAYLOAD);
        request[cases[i].at] = cases[i].value;
        if (parse(len) != NET_REFUSE)
            fail_msg("%s was sent", cases[i].what);
    }
}

static void cutting_into_nothing_or_dust_is_refused(void **state)
{
    (void)state;
    uint32_t len = make(GSO_SIZE, PAYLOAD);
    request[VNET(gso_size)] = request[VNET(gso_size) + 1] = 0;
    assert_int_equal(parse(len), NET_REFUSE);
    assert_int_equal(parse(make(14, PAYLOAD)), NET_REFUSE); // 2143 segments
    assert_int_equal(parse(make(15, PAYLOAD)), NET_SEND);   // 2000
    assert_int_equal(parse(make(GSO_SIZE, 0)), NET_REFUSE); // headers alone
    assert_int_equal(parse(make(GSO_SIZE, 1)), NET_SEND);
    assert_int_equal(parse(make((uint16_t)(FRAME_MAX - TCP4_HEADERS), PAYLOAD)), NET_SEND);
    assert_int_equal(parse(make((uint16_t)(FRAME_MAX - TCP4_HEADERS + 1), PAYLOAD)), NET_REFUSE);
}

static void a_frame_cut_short_anywhere_in_its_headers_is_refused(void **state)
{
    (void)state;
    make(GSO_SIZE, PAYLOAD);
    for (uint32_t bytes = NET_HEADER_BYTES; bytes <= NET_HEADER_BYTES + TCP4_HEADERS; bytes++)
        assert_int_equal(parse(bytes), NET_REFUSE);
    const struct tcp_frame f = {.gso_size = 1400};
    tcp6_frame(request, &f, PAYLOAD);
    for (uint32_t bytes = NET_HEADER_BYTES; bytes <= NET_HEADER_BYTES + TCP6_HEADERS; bytes++)
        assert_int_equal(parse(bytes), NET_REFUSE);
}

static void the_longest_frame_to_be_cut_is_a_full_ip_packet_with_a_vlan_tag(void **state)
{
    (void)state;
    make(GSO_SIZE, PAYLOAD);
    assert_int_equal(parse(NET_HEADER_BYTES + 65535 + 18), NET_SEND);
    assert_int_equal(parse(NET_HEADER_BYTES + 65535 + 19), NET_REFUSE);
}

static void the_taps_header_passes_as_far_as_the_guest_agreed(void **state)
{
    (void)state;
    const struct tcp_frame f = {.gso_size = GSO_SIZE};
    uint8_t header[sizeof request];
    tcp4_frame(header, &f, PAYLOAD);
    limits.features = ALL_GUEST;
    assert_true(net_parse_tap(header, TCP4_HEADERS + PAYLOAD, &limits, &frame));
    assert_memory_equal(frame.header, header, VNET(num_buffers));
    assert_int_equal(frame.packets, 21);
    assert_int_equal(frame.wire_bytes, PAYLOAD + 21 * TCP4_HEADERS);
    limits.features = ALL_GUEST & ~F(GUEST_TSO4);
    assert_false(net_parse_tap(header, TCP4_HEADERS + PAYLOAD, &limits, &frame));
    limits.features = ALL_GUEST & ~F(GUEST_CSUM);
    assert_false(net_parse_tap(header, TCP4_HEADERS + PAYLOAD, &limits, &frame));
    limits.features = ALL_GUEST;
    assert_false(net_parse_tap(header, 13, &limits, &frame));
}

static void a_checked_checksum_is_told_only_to_a_guest_that_agreed(void **state)
{
    (void)state;
    uint8_t header[NET_HEADER_BYTES] = {VIRTIO_NET_HDR_F_DATA_VALID};
    limits.features = F(GUEST_CSUM);
    assert_true(net_parse_tap(header, 60, &limits, &frame));
    assert_int_equal(frame.header[0], VIRTIO_NET_HDR_F_DATA_VALID);
    limits.features = 0;
    assert_true(net_parse_tap(header, 60, &limits, &frame));
    assert_int_equal(frame.header[0], 0);
}

static void the_tap_is_told_what_the_guest_can_take(void **state)
{
    (void)state;
    assert_int_equal(net_tap_offloads(ALL), 0);
    assert_int_equal(net_tap_offloads(ALL_GUEST), TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
    assert_int_equal(net_tap_offloads(F(GUEST_CSUM) | F(GUEST_TSO6)), TUN_F_CSUM | TUN_F_TSO6);
}

#define FRAME_TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRAME_TEST(a_frame_to_be_cut_is_sent_and_counted_by_its_segments),
        FRAME_TEST(the_header_for_the_tap_is_made_of_what_was_checked),
        FRAME_TEST(a_checksum_alone_is_sent_for_tcp_and_udp),
        FRAME_TEST(one_vlan_tag_is_looked_behind),
        FRAME_TEST(a_plain_frame_keeps_its_limit_and_is_not_copied),
        FRAME_TEST(offloads_that_were_not_agreed_to_are_refused),
        FRAME_TEST(headers_that_lie_are_refused),
        FRAME_TEST(cutting_into_nothing_or_dust_is_refused),
        FRAME_TEST(a_frame_cut_short_anywhere_in_its_headers_is_refused),
        FRAME_TEST(the_longest_frame_to_be_cut_is_a_full_ip_packet_with_a_vlan_tag),
        FRAME_TEST(the_taps_header_passes_as_far_as_the_guest_agreed),
        FRAME_TEST(a_checked_checksum_is_told_only_to_a_guest_that_agreed),
        FRAME_TEST(the_tap_is_told_what_the_guest_can_take),
    };
    return cmocka_run_group_tests_name("virtio/net_frame", tests, NULL, NULL);
}
