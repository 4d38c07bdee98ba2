// Tests of the kernel's random numbers and of its formatting (agent/cell/base).
#include "testing.h"

#include <string.h>

#include "base/random.h"
#include "base/text.h"

// RFC 8439, 2.3.2.
static void chacha20_block_matches_the_rfc(void **state)
{
    (void)state;
    static const uint8_t wanted[64] = {
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4,
        0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e,
        0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2,
        0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
    };
    uint8_t key[32], out[64];
    uint32_t input[12];
    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    memcpy(input, key, 32);
    input[8] = 1;
    input[9] = 0x09000000;
    input[10] = 0x4a000000;
    input[11] = 0;
    chacha20_block(input, out);
    assert_memory_equal(out, wanted, 64);
}

static void same_seed_gives_the_same_bytes_and_another_seed_others(void **state)
{
    (void)state;
    uint8_t seed[64] = {1, 2, 3}, a[100], b[100];
    random_init(seed);
    random_bytes(a, sizeof a);
    random_init(seed);
    random_bytes(b, sizeof b);
    assert_memory_equal(a, b, sizeof a);
    seed[63] = 1;
    random_init(seed);
    random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void requests_never_repeat_and_stirring_changes_them(void **state)
{
    (void)state;
    uint8_t seed[64] = {9}, a[40], b[40], c[40];
    random_init(seed);
    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    random_init(seed);
    random_bytes(a, sizeof a);
    random_stir("x", 1);
    random_bytes(c, sizeof c);
    assert_memory_not_equal(b, c, sizeof b);
}

static void format_knows_its_conversions(void **state)
{
    (void)state;
    char out[100];
    size_t n = text_format(out, sizeof out, "%s %c %d %u %x %ld %zu %%", "text", 'c', -5, 7u, 0xbeefu,
                           (long)INT64_MIN, (size_t)12);
    assert_string_equal(out, "text c -5 7 beef -9223372036854775808 12 %");
    assert_int_equal(n, strlen(out));
}

static void format_cuts_at_the_end_of_the_buffer(void **state)
{
    (void)state;
    char out[5];
    assert_int_equal(text_format(out, sizeof out, "%s", "too long"), 4);
    assert_string_equal(out, "too ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chacha20_block_matches_the_rfc),
        cmocka_unit_test(same_seed_gives_the_same_bytes_and_another_seed_others),
        cmocka_unit_test(requests_never_repeat_and_stirring_changes_them),
        cmocka_unit_test(format_knows_its_conversions),
        cmocka_unit_test(format_cuts_at_the_end_of_the_buffer),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
