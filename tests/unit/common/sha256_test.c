// Tests of SHA-256 (server/common/sha256.c) with the examples of NIST's FIPS 180 test vectors.
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "common/sha256.h"

static void assert_digest(const struct sha256 *s, const char *hex)
{
    struct sha256 copy = *s;
    uint8_t digest[SHA256_LEN];
    char text[2 * SHA256_LEN + 1];
    sha256_end(&copy, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

static void the_standards_examples_come_out(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } examples[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmno"
         "pqrst"
         "nopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, examples[i].text, strlen(examples[i].text));
        assert_digest(&s, examples[i].hex);
    }
}

static void a_million_bytes_come_out_in_any_pieces(void **state)
{
    (void)state;
    char as[997];
    struct sha256 s;
    memset(as, 'a', sizeof as);
    sha256_init(&s);
    for (size_t left = 1000000, piece = 1; left > 0; piece = piece * 7 % 991 + 1) {
        size_t n = piece < left ? piece : left;
        sha256_add(&s, as, n);
        left -= n;
    }
    assert_digest(&s, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_examples_come_out),
        cmocka_unit_test(a_million_bytes_come_out_in_any_pieces),
    };
    return cmocka_run_group_tests_name("common/sha256", tests, NULL, NULL);
}
