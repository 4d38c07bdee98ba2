// Tests of names, addresses, subjects and ids (proto/name.c).
#include "testing.h"

#include <string.h>

#include "proto/name.h"

#define L63 "a23456789012345678901234567890123456789012345678901234567890123"

static bool is_name(const char *s)
{
    return name_valid(s, strlen(s));
}

static void names_are_dns_labels(void **state)
{
    (void)state;
    assert_true(is_name("a"));
    assert_true(is_name("0"));
    assert_true(is_name("web-1"));
    assert_true(is_name("a--b"));
    assert_true(is_name(L63));
}

static void what_is_no_dns_label_is_no_name(void **state)
{
    (void)state;
    const char *const bad[] = {"",    "-",   "-a", "a-",  "A",        "a_b",
                               "a.b", "a/b", ":a", "a b", "\xc3\xa9", (L63 "x")};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (is_name(bad[i]))
            fail_msg("\"%s\" passed", bad[i]);
    assert_false(name_valid("a\0b", 3));
}

static void subjects_are_tokens_joined_by_dots(void **state)
{
    (void)state;
    const char *const good[] = {"a", "db.query", "A_b-9.c", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!subject_valid(good[i], strlen(good[i])))
            fail_msg("\"%s\" was refused", good[i]);
    const char *const bad[] = {
        "",        ".", "a.", ".a", "a..b", "a b", "a*", "a/b", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17",
        "\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (subject_valid(bad[i], strlen(bad[i])))
            fail_msg("\"%s\" passed", bad[i]);
}

static void a_subject_has_at_most_127_bytes(void **state)
{
    (void)state;
    char s[128];
    memset(s, 'x', sizeof s);
    assert_true(subject_valid(s, 127));
    assert_false(subject_valid(s, 128));
}

static const struct {
    const char *text;
    struct address address;
} addresses[] = {
    {"db", {"", "db", false}},        {"acme/db", {"acme", "db", false}},
    {":logs", {"", "logs", true}},    {"ops/:logs", {"ops", "logs", true}},
    {L63 "/:" L63, {L63, L63, true}},
};

static void addresses_parse_and_format_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct address a;
        char text[ADDRESS_CAP];
        assert_null(address_parse(addresses[i].text, strlen(addresses[i].text), &a));
        assert_true(address_equals(&a, &addresses[i].address));
        address_format(&a, text);
        assert_string_equal(text, addresses[i].text);
    }
}

static void what_is_no_address_is_refused_and_leaves_the_output_alone(void **state)
{
    (void)state;
    const char *const bad[] = {
        "",   "/",    "a/",   "/a",  ":",   "a/:",       "a:b",          "a/b/c",
        "::", "a//b", ":a/b", "A/b", "a/B", (L63 "x/a"), ("a/" L63 "x"), (L63 "/:" L63 "xx")};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a = {"t", "n", true};
        if (address_parse(bad[i], strlen(bad[i]), &a) == NULL)
            fail_msg("\"%s\" passed", bad[i]);
        assert_true(address_equals(&a, &(struct address){"t", "n", true}));
    }
}

static void addresses_differ_in_tenant_name_and_kind(void **state)
{
    (void)state;
    struct address a = {"t", "n", false};
    assert_false(address_equals(&a, &(struct address){"", "n", false}));
    assert_false(address_equals(&a, &(struct address){"t", "m", false}));
    assert_false(address_equals(&a, &(struct address){"t", "n", true}));
}

static void an_id_has_the_time_the_version_and_the_variant(void **state)
{
    (void)state;
    const uint8_t zeros[10] = {0}, ones[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    char text[ID_TEXT_CAP];
    struct id id = id_make(0x0123456789ab, zeros);
    id_format(&id, text);
    assert_string_equal(text, "01234567-89ab-7000-8000-000000000000");
    id = id_make(0x0123456789ab, ones);
    id_format(&id, text);
    assert_string_equal(text, "01234567-89ab-7fff-bfff-ffffffffffff");
}

static void ids_parse_in_either_case(void **state)
{
    (void)state;
    struct id lower, upper;
    assert_true(id_parse("01234567-89ab-7def-8000-00000000000f", 36, &lower));
    assert_true(id_parse("01234567-89AB-7DEF-8000-00000000000F", 36, &upper));
    assert_true(id_equals(&lower, &upper));
    assert_int_equal(lower.bytes[15], 15);
    assert_false(id_is_zero(&lower));
}

static void what_is_no_id_is_refused_and_leaves_the_output_alone(void **state)
{
    (void)state;
    const char *const bad[] = {"",
                               "01234567-89ab-7def-8000-00000000000",
                               "01234567-89ab-7def-8000-00000000000f0",
                               "01234567089ab-7def-8000-00000000000f",
                               "0123456g-89ab-7def-8000-00000000000f",
                               "-1234567-89ab-7def-8000-00000000000f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct id id = {{0}};
        assert_false(id_parse(bad[i], strlen(bad[i]), &id));
        assert_true(id_is_zero(&id));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_dns_labels),
        cmocka_unit_test(what_is_no_dns_label_is_no_name),
        cmocka_unit_test(subjects_are_tokens_joined_by_dots),
        cmocka_unit_test(a_subject_has_at_most_127_bytes),
        cmocka_unit_test(addresses_parse_and_format_back),
        cmocka_unit_test(what_is_no_address_is_refused_and_leaves_the_output_alone),
        cmocka_unit_test(addresses_differ_in_tenant_name_and_kind),
        cmocka_unit_test(an_id_has_the_time_the_version_and_the_variant),
        cmocka_unit_test(ids_parse_in_either_case),
        cmocka_unit_test(what_is_no_id_is_refused_and_leaves_the_output_alone),
    };
    return cmocka_run_group_tests_name("proto/name", tests, NULL, NULL);
}
