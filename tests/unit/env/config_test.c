// Options and the configuration file (server/daemon/config.c).
#include "../testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define ARGS_MAX 24

static int read_args(struct config *c, struct err *err, const char *const *args)
{
    char *argv[ARGS_MAX + 2] = {(char *)"envd"};
    int n = 1;
    for (; args[n - 1]; n++)
        argv[n] = (char *)args[n - 1];
    err->text[0] = '\0';
    return config_read(n, argv, c, err);
}
#define READ(c, err, ...) read_args(c, err, (const char *const[]){__VA_ARGS__, NULL})
#define NEEDED            "--state", "/s", "--run", "/r"

static char file[64];

static int setup(void **state)
{
    (void)state;
    snprintf(file, sizeof file, "/tmp/envd-config-XXXXXX");
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(file);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void the_two_folders_are_enough(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED), CONFIG_RUN);
    assert_string_equal(c.state, "/s");
    assert_string_equal(c.run, "/r");
    assert_string_equal(c.network, "10.77.0.0/16");
    assert_int_equal(c.log_kib, 256);
    assert_false(c.has_user);
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, "--state", "/s"), -EINVAL);
    assert_non_null(strstr(err.text, "--run"));
    assert_int_equal(READ(&c, &err, "--run", "/r"), -EINVAL);
    assert_non_null(strstr(err.text, "--state"));
}

static void every_option_is_read(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--user", "64177", "--network", "10.16.0.0/12", "--admin-uid",
                          "7", "--admin-uid", "8", "--log-kib", "64", "--stop-environments"),
                     CONFIG_RUN);
    assert_true(c.has_user);
    assert_int_equal(c.uid, 64177);
    assert_int_equal(c.gid, 64177);
    assert_int_equal(c.pool.prefix, 12);
    assert_int_equal(c.n_admins, 2);
    assert_int_equal(c.admins[1], 8);
    assert_int_equal(c.log_kib, 64);
    assert_true(c.stop_environments);
}

static void a_broker_is_a_url_without_a_user(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--host-name", "h1", "--broker", "amqps://mq.example:5671/envd",
                          "--broker-password-file", "/p"),
                     CONFIG_RUN);
    assert_string_equal(c.broker.host, "mq.example");
    assert_int_equal(c.broker.port, 5671);
    assert_string_equal(c.broker.vhost, "envd");
    assert_true(c.broker.tls);
    assert_int_equal(READ(&c, &err, NEEDED, "--host-name", "h1", "--broker", "amqp://[::1]:5000/%2F",
                          "--broker-password-file", "/p"),
                     CONFIG_RUN);
    assert_string_equal(c.broker.host, "::1");
    assert_string_equal(c.broker.vhost, "/");
    assert_int_equal(c.broker.port, 5000);
    assert_int_equal(READ(&c, &err, NEEDED, "--host-name", "h1", "--broker", "amqp://a,b:7,[::1]:8/%2f",
                          "--broker-password-file", "/p"),
                     CONFIG_RUN);
    assert_string_equal(c.broker.host, "a,b:7,[::1]:8");
    assert_string_equal(c.broker.vhost, "/");
    static const char *const wrong[] = {"",
                                        "amqp://a,",
                                        "amqp://,a",
                                        "amqp://a,b:x",
                                        "amqp://a/%2",
                                        "amqp://a/%00",
                                        "mq.example",
                                        "http://mq",
                                        "amqp://",
                                        "amqp://:1",
                                        "amqp://mq:",
                                        "amqp://mq:0",
                                        "amqp://mq:65536",
                                        "amqp://[::1",
                                        "amqp://mq:1x",
                                        "amqp://me:pw@mq/x",
                                        "amqp://mq/%2",
                                        "amqp://[]:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(READ(&c, &err, NEEDED, "--broker", wrong[i]), -EINVAL);
}

static void a_broker_needs_something_to_show_who_this_is(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--host-name", "h1", "--broker", "amqp://mq"), -EINVAL);
    assert_non_null(strstr(err.text, "--broker-password-file"));
    assert_int_equal(
        READ(&c, &err, NEEDED, "--host-name", "h1", "--broker", "amqps://mq", "--broker-cert", "/c"),
        -EINVAL);
    assert_int_equal(READ(&c, &err, NEEDED, "--host-name", "No Name"), -EINVAL);
}

static void root_is_not_a_user_to_become(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--user", "0"), -EINVAL);
    assert_int_equal(READ(&c, &err, NEEDED, "--user", "root"), -EINVAL);
    assert_non_null(strstr(err.text, "does not run as root"));
}

static void an_unknown_user_is_named(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--user", "nobody-by-that-name"), -EINVAL);
    assert_non_null(strstr(err.text, "nobody-by-that-name"));
}

static void an_unknown_option_is_named(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED, "--frobnicate"), -EINVAL);
    assert_non_null(strstr(err.text, "--frobnicate"));
    assert_int_equal(READ(&c, &err, NEEDED, "stray"), -EINVAL);
    assert_non_null(strstr(err.text, "stray"));
    assert_int_equal(READ(&c, &err, NEEDED, "--user"), -EINVAL);
    assert_non_null(strstr(err.text, "needs a value"));
}

static void a_number_out_of_range_is_refused(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    static const char *const wrong[] = {"3", "65537", "-1", "1x", "", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(READ(&c, &err, NEEDED, "--log-kib", wrong[i]), -EINVAL);
        assert_non_null(strstr(err.text, "from 4 to 65536"));
    }
}

static void attempts_and_dead_letters_have_limits_and_defaults(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, NEEDED), CONFIG_RUN);
    assert_int_equal(c.attempts_max, 16);
    assert_int_equal(c.dead_letters_max, 100);
    assert_int_equal(READ(&c, &err, NEEDED, "--attempts-max", "1", "--dead-letters-max", "65536"),
                     CONFIG_RUN);
    assert_int_equal(c.attempts_max, 1);
    assert_int_equal(c.dead_letters_max, 65536);
    assert_int_equal(READ(&c, &err, NEEDED, "--attempts-max", "0"), -EINVAL);
    assert_non_null(strstr(err.text, "from 1 to 1000"));
    assert_int_equal(READ(&c, &err, NEEDED, "--dead-letters-max", "0"), -EINVAL);
    assert_non_null(strstr(err.text, "from 1 to 65536"));
}

static void a_file_is_read_and_the_command_line_wins(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    write_file(
        "{\"state\":\"/a\",\"run\":\"/b\",\"log_kib\":8,\"admin_uid\":[\"5\"],\"stop_environments\":true}");
    assert_int_equal(READ(&c, &err, "--log-kib", "16", "--config", file), CONFIG_RUN);
    assert_string_equal(c.state, "/a");
    assert_int_equal(c.log_kib, 16);
    assert_int_equal(c.n_admins, 1);
    assert_true(c.stop_environments);
}

static void a_wrong_file_is_refused_with_file_and_member(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    static const struct {
        const char *text, *why;
    } wrong[] = {
        {"{\"stat\":\"/a\"}", "/stat"},  {"{\"log_kib\":\"8\"}", "/log_kib"},
        {"{\"log_kib\":1}", "/log_kib"}, {"{\"network\":\"10.0.0.0/8\"}", "network"},
        {"{\"state\":", "line 1"},       {"{\"state\":\"/a\",\"state\":\"/b\"}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_file(wrong[i].text);
        assert_int_equal(READ(&c, &err, "--config", file), -EINVAL);
        assert_non_null(strstr(err.text, file));
        assert_non_null(strstr(err.text, wrong[i].why));
    }
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, "--config", "/no/such/file"), -ENOENT);
    assert_non_null(strstr(err.text, "/no/such/file"));
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    assert_int_equal(READ(&c, &err, "--help"), CONFIG_HELP);
    assert_int_equal(READ(&c, &err, "--version"), CONFIG_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_folders_are_enough),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(every_option_is_read),
        cmocka_unit_test(a_broker_is_a_url_without_a_user),
        cmocka_unit_test(a_broker_needs_something_to_show_who_this_is),
        cmocka_unit_test(root_is_not_a_user_to_become),
        cmocka_unit_test(an_unknown_user_is_named),
        cmocka_unit_test(an_unknown_option_is_named),
        cmocka_unit_test(a_number_out_of_range_is_refused),
        cmocka_unit_test(attempts_and_dead_letters_have_limits_and_defaults),
        cmocka_unit_test_setup_teardown(a_file_is_read_and_the_command_line_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_file_is_refused_with_file_and_member, setup, teardown),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(help_and_version_need_nothing_else),
    };
    return cmocka_run_group_tests_name("daemon_config", tests, NULL, NULL);
}
