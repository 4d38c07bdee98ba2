// Tests of the envctl executable: exit codes, what goes to which output, the life of environments.
#include "envctl_world.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// --- exit codes and messages ---

static void each_class_of_failure_has_its_exit_code(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *address;
        int code;
    } cases[] = {{"acme/web", 0},       {"acme/broken", 1}, {"acme/missing", 3},
                 {"acme/forbidden", 4}, {"acme/taken", 5},  {"acme/moved", 5},
                 {"acme/away", 6},      {"acme/full", 6},   {"acme/late", 124}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(run(w, "show", cases[i].address), cases[i].code);
}

static void a_problem_is_told_with_its_remedy_on_standard_error(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show", "acme/missing"), 3);
    assert_string_equal(w->out, "");
    assert_string_equal(w->err, "envctl: missing is so\n  try: Do something else\n");
}

static void a_missing_socket_says_how_to_go_on(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list", "--socket", "/nonexistent/s"), 6);
    assert_has(w->err, "reach envd at /nonexistent/s: No such file or directory");
    assert_has(w->err, "start envd");
}

static void a_socket_that_nobody_serves_says_so(void **state)
{
    struct world *w = *state;
    stop_server(w);
    assert_int_equal(run(w, "list"), 6);
    assert_has(w->err, "is envd running?");
}

static void an_unknown_verb_offers_the_nearest(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "strat"), 2);
    assert_has(w->err, "did you mean envctl start?");
    assert_int_equal(run(w, "frobnicate"), 2);
    assert_has(w->err, "envctl help lists the verbs");
}

static void help_knows_every_verbs_usage(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "help"), 0);
    assert_has(w->out, "  explain     say what the policy decides, and why\n");
    assert_int_equal(run(w, "help", "stop"), 0);
    assert_string_equal(w->out, "envctl stop TENANT/NAME... [--grace SECONDS]\n    stop environments\n");
    assert_int_equal(run(w, "stop", "--help"), 0);
    assert_has(w->out, "--grace");
    assert_int_equal(run(w, "stop"), 2);
    assert_string_equal(w->err, "envctl: usage: envctl stop TENANT/NAME... [--grace SECONDS]\n");
}

static void a_wrong_command_line_asks_the_server_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show"), 2);
    assert_int_equal(run(w, "show", "ACME/web"), 2);
    assert_int_equal(run(w, "show", "web"), 2);
    assert_int_equal(run(w, "list", "--bogus"), 2);
    assert_int_equal(run(w, "list", "--format", "xml"), 2);
    assert_int_equal(run(w, "create", "acme/web"), 2);
    assert_int_equal(run(w, "stop", "acme/web", "--grace", "soon"), 2);
    assert_int_equal(run(w, "logs", "acme/web", "--tail", "-1"), 2);
    assert_string_equal(requests_of(w), "");
}

static void output_that_cannot_be_written_is_a_failure(void **state)
{
    struct world *w = *state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(run_to(w, full, ARGS("list")), 1);
    assert_has(w->err, "No space left on device");
}

// --- output ---

static void a_list_follows_its_pages_into_one_table(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list"), 0);
    assert_string_equal(w->out, "TENANT  NAME  STATE    IPV4       MEMORY-MIB  REASON\n"
                                "acme    web   ready    10.77.0.2  16          -\n"
                                "beta    eve   stopped  -          -           -\n");
    assert_string_equal(w->err, "");
    assert_has(requests_of(w), "GET /v1/environments limit=1000 cursor=a/b");
}

static void json_output_is_one_document(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list", "--format", "json"), 0);
    json_t *all = json_loads(w->out, 0, NULL);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void control_characters_of_guests_do_not_reach_the_terminal(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show", "acme/web"), 0);
    assert_has(w->out, "a [31mb  c\n");
    assert_null(strchr(w->out, 0x1b));
}

static void logs_go_to_a_pipe_as_they_are(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "logs", "acme/web", "--tail", "5"), 0);
    assert_string_equal(w->out, "one\n\x1b[2Jtwo\n");
    assert_has(requests_of(w), "/logs follow=false tail=5");
}

static void the_reply_of_a_call_is_written_byte_for_byte(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "call", "acme/db", "db.query", "select"), 0);
    assert_memory_equal(w->out, "\x00\xff\nA", 5);
}

// --- life cycle ---

static void a_change_is_waited_for(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/web", "--timeout", "7"), 0);
    assert_string_equal(w->err, "acme/web started\n");
    assert_has(requests_of(w), "GET /v1/operations/web wait=7000");
}

static void unless_told_otherwise_it_is_waited_for_longer_than_a_linux_guest_may_boot(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/web"), 0);
    assert_has(requests_of(w), "GET /v1/operations/web wait=130000");
}

static void without_waiting_no_operation_is_looked_at(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "delete", "acme/web", "--no-wait"), 0);
    assert_null(strstr(requests_of(w), "operations"));
}

static void an_operation_that_failed_is_explained(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/fails"), 1);
    assert_string_equal(w->err, "envctl: start acme/fails: the guest faulted\n  try: Look at its log\n");
}

static void an_operation_that_takes_too_long_is_a_timeout(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "stop", "acme/slow", "--timeout", "1"), 124);
    assert_has(w->err, "not done after 1 s; it goes on");
}

static void of_several_failures_each_is_told_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/missing", "acme/gone", "acme/web"), 3);
    assert_string_equal(w->err,
                        "envctl: there is no environment missing\nenvctl: there is no environment gone\n"
                        "acme/web started\n");
    assert_int_equal(run(w, "start", "acme/missing", "acme/gone"), 3);
    assert_string_equal(w->err,
                        "envctl: there is no environment missing\nenvctl: there is no environment gone\n");
}

// --- create ---

static void create_uploads_what_the_server_lacks(void **state)
{
    struct world *w = *state;
    write_file(w->file, "bar");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file), 0);
    assert_has(requests_of(w),
               "PUT /v1/images/sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9");
}

static void create_uploads_nothing_that_is_there(void **state)
{
    struct world *w = *state;
    write_file(w->file, "foo");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file), 0);
    assert_has(requests_of(w), "HEAD /v1/images/sha256:2c26b46b");
    assert_null(strstr(requests_of(w), "PUT "));
}

static void create_says_all_that_was_asked_for(void **state)
{
    struct world *w = *state;
    write_file(w->file, "foo");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file, "--memory", "64MiB", "--env", "A=b=c",
                         "--label", "role=ci", "--restart", "always", "--mailbox", "host", "--start", "--",
                         "-v", "--socket"),
                     0);
    const char *post = strstr(requests_of(w), "POST /v1/tenants/acme/environments ");
    assert_non_null(post);
    assert_has(post, "\"name\":\"web\"");
    assert_has(post, "\"labels\":{\"role\":\"ci\"}");
    assert_has(post, "\"memory_mib\":64");
    assert_has(post, "\"env\":{\"A\":\"b=c\"}");
    assert_has(post, "\"args\":[\"-v\",\"--socket\"]");
    assert_has(post, "\"restart\":\"always\"");
    assert_has(post, "\"mailbox\":\"host\"");
    assert_has(post, "\"run\":true");
    assert_has(post, "GET /v1/operations/starting");
    assert_string_equal(w->err, "acme/web started\n");
}

int main(void)
{
    unsetenv("ctl/envctl");
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(each_class_of_failure_has_its_exit_code),
        T(a_problem_is_told_with_its_remedy_on_standard_error),
        T(a_missing_socket_says_how_to_go_on),
        T(a_socket_that_nobody_serves_says_so),
        T(an_unknown_verb_offers_the_nearest),
        T(help_knows_every_verbs_usage),
        T(a_wrong_command_line_asks_the_server_nothing),
        T(output_that_cannot_be_written_is_a_failure),
        T(a_list_follows_its_pages_into_one_table),
        T(json_output_is_one_document),
        T(control_characters_of_guests_do_not_reach_the_terminal),
        T(logs_go_to_a_pipe_as_they_are),
        T(the_reply_of_a_call_is_written_byte_for_byte),
        T(a_change_is_waited_for),
        T(unless_told_otherwise_it_is_waited_for_longer_than_a_linux_guest_may_boot),
        T(without_waiting_no_operation_is_looked_at),
        T(an_operation_that_failed_is_explained),
        T(an_operation_that_takes_too_long_is_a_timeout),
        T(of_several_failures_each_is_told_once),
        T(create_uploads_what_the_server_lacks),
        T(create_uploads_nothing_that_is_there),
        T(create_says_all_that_was_asked_for),
    };
    return cmocka_run_group_tests_name("ctl/envctl", tests, NULL, NULL);
}
