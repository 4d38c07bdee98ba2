// Tests of envpriv's command line (server/priv/options.c).
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "options.h"

#define ARGS_MAX 16

// Parses the arguments, after "envpriv" and, when asked, the options that are needed.
static int parse_all(struct options *o, struct err *err, bool with_needed, const char *const *more)
{
    static const char *const needed[] = {"--run", "/r", "--envvm", "/e", "--user", "0"};
    static char texts[ARGS_MAX][32];
    char *argv[ARGS_MAX + 1] = {NULL};
    int argc = 0;
    snprintf(texts[argc++], sizeof texts[0], "envpriv");
    for (size_t i = 0; with_needed && i < sizeof needed / sizeof needed[0]; i++)
        snprintf(texts[argc++], sizeof texts[0], "%s", needed[i]);
    for (; more && *more; more++)
        snprintf(texts[argc++], sizeof texts[0], "%s", *more);
    for (int i = 0; i < argc; i++)
        argv[i] = texts[i];
    return options_parse(argc, argv, o, err);
}

static int parse(struct options *o, struct err *err, const char *const *more)
{
    return parse_all(o, err, true, more);
}

static void the_needed_ones_suffice(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(parse(&o, &err, NULL), 0);
    assert_string_equal(o.run, "/r");
    assert_string_equal(o.envvm, "/e");
    assert_int_equal(o.user, 0);
    assert_false(o.has_instance);
    assert_int_equal(o.uid_base, 0);
}

static void a_missing_one_is_named(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(parse_all(&o, &err, false, (const char *[]){"--run", "/r", NULL}), -EINVAL);
    assert_non_null(strstr(err.text, "--envvm"));
}

static void a_user_without_account_is_a_number(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(parse(&o, &err, (const char *[]){"--user", "64177", NULL}), 0);
    assert_int_equal(o.user, 64177);
    assert_int_equal(o.group, 64177);
    assert_int_equal(parse(&o, &err, (const char *[]){"--user", "root", NULL}), 0);
    assert_int_equal(o.user, 0);
}

static void wrong_values_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"--user", "no-such-user"},
        {"--user", "-1"},
        {"--instance", "ABC"},
        {"--uid-base", "0"},
        {"--uid-base", "1e6"},
        {"--uid-base", "99999999999"},
        {"--nonsense"},
        {"stray"},
        {"--run"},
    };
    struct options o;
    struct err err;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(&o, &err, wrong[i]), -EINVAL);
}

static void help_needs_nothing_else(void **state)
{
    (void)state;
    struct options o;
    struct err err;
    assert_int_equal(parse_all(&o, &err, false, (const char *[]){"--help", NULL}), 0);
    assert_true(o.help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_needed_ones_suffice),
        cmocka_unit_test(a_missing_one_is_named),
        cmocka_unit_test(a_user_without_account_is_a_number),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(help_needs_nothing_else),
    };
    return cmocka_run_group_tests_name("priv/options", tests, NULL, NULL);
}
