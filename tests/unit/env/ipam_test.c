// The arithmetic of addresses (server/daemon/net).
#include "../testing.h"

#include <errno.h>
#include <string.h>

#include "net/ipam.h"

static struct ipam_pool pool(const char *text)
{
    struct ipam_pool p = {0};
    struct err err;
    assert_int_equal(ipam_pool_parse(text, &p, &err), 0);
    return p;
}

static void assert_refused(const char *text, const char *why)
{
    struct ipam_pool p = {1, 1};
    struct err err;
    assert_int_equal(ipam_pool_parse(text, &p, &err), -EINVAL);
    assert_non_null(strstr(err.text, why));
    assert_int_equal(p.base, 1);
}

static void a_pool_is_parsed(void **state)
{
    (void)state;
    struct ipam_pool p = pool("10.77.0.0/16");
    assert_int_equal(p.base, 0x0a4d0000);
    assert_int_equal(p.prefix, 16);
}

static void a_pool_has_a_network_per_24_bits(void **state)
{
    (void)state;
    struct ipam_pool small = pool("192.168.7.0/24"), large = pool("10.16.0.0/12");
    assert_int_equal(ipam_tenants_max(&small), 1);
    assert_int_equal(ipam_tenants_max(&large), 4096);
}

static void what_is_no_network_is_refused_with_an_example(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",          "10.0.0.0",    "/16",        "10.0.0/16",
                                        "10.0.0.0/", "10.0.0.0/1x", "a.b.c.d/16", "10.0.0.0.0.0.0.0.0.0.0/16",
                                        "::/16"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(wrong[i], "10.77.0.0/16");
}

static void a_prefix_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_refused("10.0.0.0/8", "from /12 to /24");
    assert_refused("10.0.0.0/25", "from /12 to /24");
    assert_refused("10.0.0.0/-1", "from /12 to /24");
}

static void bits_behind_the_prefix_are_refused(void **state)
{
    (void)state;
    assert_refused("10.77.1.0/16", "behind its prefix");
}

static void tenants_have_their_own_network_and_gateway(void **state)
{
    (void)state;
    struct ipam_pool p = pool("10.77.0.0/16");
    assert_int_equal(ipam_subnet(&p, 3), 0x0a4d0300);
    assert_int_equal(ipam_gateway(&p, 3), 0x0a4d0301);
    assert_int_equal(ipam_address(&p, 3, 254), 0x0a4d03fe);
}

static void a_mac_is_local_unicast_and_carries_the_address(void **state)
{
    (void)state;
    uint8_t mac[6];
    static const uint8_t want[6] = {0x02, 0x65, 10, 77, 3, 2};
    ipam_mac(0x0a4d0302, mac);
    assert_memory_equal(mac, want, 6);
}

static void addresses_are_written_as_people_do(void **state)
{
    (void)state;
    char ip[IPAM_TEXT_CAP], mac_text[IPAM_MAC_CAP];
    ipam_format_ipv4(0xffffffff, ip);
    assert_string_equal(ip, "255.255.255.255");
    ipam_format_mac((const uint8_t[6]){2, 0x65, 0xff, 0, 1, 9}, mac_text);
    assert_string_equal(mac_text, "02:65:ff:00:01:09");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_is_parsed),
        cmocka_unit_test(a_pool_has_a_network_per_24_bits),
        cmocka_unit_test(what_is_no_network_is_refused_with_an_example),
        cmocka_unit_test(a_prefix_out_of_range_is_refused),
        cmocka_unit_test(bits_behind_the_prefix_are_refused),
        cmocka_unit_test(tenants_have_their_own_network_and_gateway),
        cmocka_unit_test(a_mac_is_local_unicast_and_carries_the_address),
        cmocka_unit_test(addresses_are_written_as_people_do),
    };
    return cmocka_run_group_tests_name("env_ipam", tests, NULL, NULL);
}
