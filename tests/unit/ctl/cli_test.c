// Tests of envctl's option parsing, sizes and query encoding (client/cli.c, size.c, pages.c).
#include "testing.h"

#include <string.h>

#include "cli.h"
#include "pages.h"
#include "size.h"

struct parsed {
    struct cli cli;
    bool flag;
    const char *text;
    struct cli_list list;
    int n, rest;
};

// Parses a NULL-terminated command line after the verb.
static int parse(struct parsed *p, const char **argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    *p = (struct parsed){.cli = {.wait = true, .timeout_s = 30}};
    const struct cli_option options[] = {{"flag", 'f', CLI_FLAG, &p->flag},
                                         {"text", 0, CLI_STRING, &p->text},
                                         {"item", 'i', CLI_LIST, &p->list}};
    return cli_options(&p->cli, options, 3, argc, (char **)argv, &p->n, &p->rest);
}

static void options_stand_anywhere(void **state)
{
    (void)state;
    struct parsed p;
    const char *argv[] = {"verb", "one", "--flag", "two", "--text", "x", NULL};
    assert_int_equal(parse(&p, argv), 0);
    assert_int_equal(p.n, 2);
    assert_string_equal(argv[0], "one");
    assert_string_equal(argv[1], "two");
    assert_true(p.flag);
    assert_string_equal(p.text, "x");
    assert_int_equal(p.rest, -1);
}

static void values_follow_an_equals_sign_too(void **state)
{
    (void)state;
    struct parsed p;
    const char *argv[] = {"verb", "--text=a=b", "--timeout=5s", NULL};
    assert_int_equal(parse(&p, argv), 0);
    assert_string_equal(p.text, "a=b");
    assert_int_equal(p.cli.timeout_s, 5);
}

static void lists_collect_in_order(void **state)
{
    (void)state;
    struct parsed p;
    const char *argv[] = {"verb", "-i", "a", "--item", "b", NULL};
    assert_int_equal(parse(&p, argv), 0);
    assert_int_equal(p.list.n, 2);
    assert_string_equal(p.list.items[0], "a");
    assert_string_equal(p.list.items[1], "b");
    cli_list_free(&p.list);
}

static void what_follows_two_dashes_is_left_alone(void **state)
{
    (void)state;
    struct parsed p;
    const char *argv[] = {"verb", "one", "--", "--flag", "-x", NULL};
    assert_int_equal(parse(&p, argv), 0);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.rest, 3);
    assert_false(p.flag);
}

static void a_lone_dash_is_an_argument(void **state)
{
    (void)state;
    struct parsed p;
    const char *argv[] = {"verb", "-", NULL};
    assert_int_equal(parse(&p, argv), 0);
    assert_int_equal(p.n, 1);
}

static void unknown_options_and_missing_values_are_usage_errors(void **state)
{
    (void)state;
    static const char *lines[][3] = {{"verb", "--nonsense", NULL},   {"verb", "--text", NULL},
                                     {"verb", "--format", NULL},     {"verb", "--format=xml", NULL},
                                     {"verb", "-q", NULL},           {"verb", "--timeout=0", NULL},
                                     {"verb", "--timeout=9x", NULL}, {"verb", "--flagg", NULL}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed p;
        assert_int_equal(parse(&p, lines[i]), CLI_USAGE);
        assert_true(strlen(p.cli.err.text) > 0);
    }
}

static void sizes_are_mebibytes_by_default(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t mib;
    } good[] = {{"64", 64}, {"64M", 64}, {"64MiB", 64}, {"2G", 2048}, {"1GiB", 1024}};
    uint32_t mib;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(size_parse_mib(good[i].text, &mib));
        assert_int_equal(mib, good[i].mib);
    }
}

static void nonsense_sizes_are_refused(void **state)
{
    (void)state;
    static const char *bad[] = {"",         "M",    "-1",    " 5", "5K", "5MB", "99999999999999999999",
                                "16777217", "0x10", "20000G"};
    uint32_t mib;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(size_parse_mib(bad[i], &mib));
}

static void queries_are_percent_encoded(void **state)
{
    (void)state;
    char out[64];
    assert_true(query_encode("role=web,!x y&z", out, sizeof out));
    assert_string_equal(out, "role%3Dweb%2C%21x%20y%26z");
    assert_false(query_encode("long", out, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(values_follow_an_equals_sign_too),
        cmocka_unit_test(lists_collect_in_order),
        cmocka_unit_test(what_follows_two_dashes_is_left_alone),
        cmocka_unit_test(a_lone_dash_is_an_argument),
        cmocka_unit_test(unknown_options_and_missing_values_are_usage_errors),
        cmocka_unit_test(sizes_are_mebibytes_by_default),
        cmocka_unit_test(nonsense_sizes_are_refused),
        cmocka_unit_test(queries_are_percent_encoded),
    };
    return cmocka_run_group_tests_name("ctl/cli", tests, NULL, NULL);
}
