// Tests of looking users up (agent/linux/users.c), in passwd and group files of the test's own.
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "users.h"

static char root[64], path[128];
static struct user u;
static struct err err;

static void write_table(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/etc/%s", root, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/users-test-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/etc", root);
    assert_int_equal(mkdir(path, 0755), 0);
    write_table("passwd", "root:x:0:0:root:/root:/bin/bash\n"
                          "too:few:fields\n"
                          "bad:x:1x:1::/:/bin/sh\n"
                          "all:x:4294967295:1::/:/bin/sh\n"
                          "\n"
                          "web:x:33:34:Web,,,:/srv/www:\n"
                          "home:x:35:35:::/bin/sh\n"
                          "last:x:36:36::/last:/bin/last");
    write_table("group", "root:x:0:\n"
                         "adm:x:4:other,web\n"
                         "webs:x:5:webs,web2\n"
                         "web:x:34:web\n"
                         "log:x:6:web\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"etc/passwd", "etc/group", "etc", "."};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        if (i < 3)
            remove(path);
    }
    return rmdir(root);
}

static void nobody_in_particular_is_root(void **state)
{
    (void)state;
    assert_int_equal(users_find(root, "", &u, &err), 0);
    assert_int_equal(u.uid, 0);
    assert_string_equal(u.home, "/root");
    assert_string_equal(u.shell, "/bin/bash");
}

static void a_name_has_its_groups(void **state)
{
    (void)state;
    assert_int_equal(users_find(root, "web", &u, &err), 0);
    assert_int_equal(u.uid, 33);
    assert_int_equal(u.gid, 34);
    assert_int_equal(u.n_groups, 3);
    assert_int_equal(u.groups[0], 34);
    assert_int_equal(u.groups[1], 4);
    assert_int_equal(u.groups[2], 6);
    assert_string_equal(u.shell, "/bin/sh"); // empty: the default
}

static void a_number_finds_its_entry_or_stands_alone(void **state)
{
    (void)state;
    assert_int_equal(users_find(root, "33", &u, &err), 0);
    assert_string_equal(u.name, "web");
    assert_int_equal(u.n_groups, 3);
    assert_int_equal(users_find(root, "33:7", &u, &err), 0);
    assert_int_equal(u.gid, 7);
    assert_int_equal(u.n_groups, 1);
    assert_int_equal(users_find(root, "4711", &u, &err), 0);
    assert_int_equal(u.gid, 4711);
    assert_string_equal(u.name, "4711");
    assert_string_equal(u.home, "/");
}

static void the_last_line_needs_no_end_and_an_empty_home_is_the_root(void **state)
{
    (void)state;
    assert_int_equal(users_find(root, "last", &u, &err), 0);
    assert_string_equal(u.shell, "/bin/last");
    assert_int_equal(users_find(root, "home", &u, &err), 0);
    assert_string_equal(u.home, "/");
}

static void lines_that_do_not_parse_name_nobody(void **state)
{
    (void)state;
    static const char *const names[] = {"too", "bad", "all", "nobody", "web:34", ":"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(users_find(root, names[i], &u, &err), -ENOENT);
}

static void numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const numbers[] = {"1x",          "1:", "1:x", "4294967295", "99999999999999999999",
                                          "1:4294967295"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(users_find(root, numbers[i], &u, &err), -EINVAL);
}

static void a_line_that_is_too_long_is_passed_over(void **state)
{
    (void)state;
    char text[6000];
    memset(text, 'x', sizeof text);
    strcpy(text + 5000, ":x:1:1::/:/bin/sh\nok:x:7:7::/ok:/bin/sh\n");
    write_table("passwd", text);
    assert_int_equal(users_find(root, "ok", &u, &err), 0);
    assert_string_equal(u.home, "/ok");
}

static void without_tables_there_is_still_root(void **state)
{
    (void)state;
    assert_int_equal(users_find("/nonexistent", "", &u, &err), 0);
    assert_int_equal(u.uid, 0);
    assert_int_equal(u.gid, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nobody_in_particular_is_root),
        T(a_name_has_its_groups),
        T(a_number_finds_its_entry_or_stands_alone),
        T(the_last_line_needs_no_end_and_an_empty_home_is_the_root),
        T(lines_that_do_not_parse_name_nobody),
        T(numbers_that_are_none_are_refused),
        T(a_line_that_is_too_long_is_passed_over),
        T(without_tables_there_is_still_root),
    };
    return cmocka_run_group_tests_name("agent/users", tests, NULL, NULL);
}
