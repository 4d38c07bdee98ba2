// Tests of the static envctl for environments (client/guest): the real binary against a real agent.
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

extern char **environ;

#define OUT_CAP (3u << 20)

static struct world *world;
static const char *stdout_path; // instead of the pipe

struct run {
    pid_t pid;
    int in, out, err;
    int exit_code;
    char *stdout_text, *stderr_text;
    size_t stdout_len;
};

static struct run result; // of the last run(), freed by the next

static int setup(void **state)
{
    (void)state;
    world = world_start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(result.stdout_text);
    free(result.stderr_text);
    result = (struct run){0};
    world_stop(world);
    return 0;
}

static struct run start(const char *const argv[])
{
    int in[2], out[2], err[2];
    struct run r = {0};
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    if (stdout_path)
        posix_spawn_file_actions_addopen(&actions, 1, stdout_path, O_WRONLY, 0);
    else
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    assert_int_equal(posix_spawn(&r.pid, GUEST_ENVCTL, &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    r.in = in[1];
    r.out = out[0];
    r.err = err[0];
    return r;
}

static char *slurp(int fd, size_t *ret_len)
{
    char *text = malloc(OUT_CAP + 1);
    assert_non_null(text);
    *ret_len = 0;
    for (ssize_t n; (n = read(fd, text + *ret_len, OUT_CAP - *ret_len)) > 0;)
        *ret_len += (size_t)n;
    text[*ret_len] = '\0';
    close(fd);
    return text;
}

static void finish(struct run *r)
{
    int status;
    size_t ignored;
    r->stdout_text = slurp(r->out, &r->stdout_len);
    r->stderr_text = slurp(r->err, &ignored);
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    r->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_with_input(const void *input, size_t n, const char *const argv[])
{
    free(result.stdout_text);
    free(result.stderr_text);
    result = start(argv);
    const char *at = input;
    for (ssize_t written; n > 0 && (written = write(result.in, at, n)) > 0; n -= (size_t)written)
        at += written;
    close(result.in);
    finish(&result);
}

#define run(...) run_with_input(NULL, 0, (const char *const[]){"envctl", __VA_ARGS__, NULL})

static void assert_exit(int exit_code)
{
    if (result.exit_code != exit_code)
        fail_msg("exit code %d instead of %d: %s", result.exit_code, exit_code, result.stderr_text);
}

static void assert_says(const char *text)
{
    if (!strstr(result.stderr_text, text))
        fail_msg("\"%s\" is not in: %s", text, result.stderr_text);
}

// Starts a server and waits until it says that it serves.
static struct run start_server(const char *const argv[])
{
    struct run r = start(argv);
    char text[64] = "";
    size_t len = 0;
    while (!strchr(text, '\n')) {
        struct pollfd p = {.fd = r.err, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        ssize_t n = read(r.err, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    assert_string_equal(text, "serving as acme/web\n");
    close(r.in);
    return r;
}

static void stop_server(struct run *r)
{
    kill(r->pid, SIGTERM);
    finish(r);
    free(r->stdout_text);
    free(r->stderr_text);
}

static void whoami_prints_the_address(void **state)
{
    (void)state;
    run("whoami");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "acme/web\n");
}

static void clock_prints_the_hosts_time(void **state)
{
    (void)state;
    run("clock");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "2023-11-14T22:13:21.000000005Z\n");
}

static void send_prints_the_id_and_recv_the_body(void **state)
{
    (void)state;
    run("send", "web", "hello", "world");
    assert_exit(0);
    assert_int_equal(result.stdout_len, 37);
    assert_string_equal(result.stderr_text, "");
    run("recv");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "hello world\n");
    assert_says("send from acme/web to web, message, 11 bytes\n");
    run("recv", "--timeout", "50ms"); // it was acknowledged
    assert_exit(124);
}

static void recv_json_has_everything(void **state)
{
    (void)state;
    run("send", "web", "a \"b\"\n", "--subject", "x.y", "--content-type", "text/plain", "--header", "k=v=w",
        "--header", "l=", "--priority", "3", "--event", "--id", "01234567-89ab-7cde-8f01-23456789abcd");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "01234567-89ab-7cde-8f01-23456789abcd\n");
    run("recv", "--json");
    assert_exit(0);
    assert_string_equal(
        result.stdout_text,
        "{\"id\":\"01234567-89ab-7cde-8f01-23456789abcd\",\"kind\":\"event\",\"from\":\"acme/web\","
        "\"to\":\"web\",\"subject\":\"x.y\",\"content_type\":\"text/plain\",\"priority\":3,"
        "\"expires_ms\":0,\"headers\":{\"k\":\"v=w\",\"l\":\"\"},\"body\":\"a \\\"b\\\"\\u000a\"}\n");
    assert_string_equal(result.stderr_text, "");
}

static void recv_json_shows_binary_as_base64(void **state)
{
    (void)state;
    const struct {
        const char *body;
        size_t len;
        const char *base64;
    } rows[] = {{"\xff", 1, "/w=="}, {"\xff\x00", 2, "/wA="}, {"\xff\x00\x10", 3, "/wAQ"}};
    for (size_t i = 0; i < 3; i++) {
        char expected[32];
        run_with_input(rows[i].body, rows[i].len, (const char *const[]){"envctl", "send", "web", "-", NULL});
        assert_exit(0);
        run("recv", "--json");
        snprintf(expected, sizeof expected, "\"body_base64\":\"%s\"}", rows[i].base64);
        assert_non_null(strstr(result.stdout_text, expected));
    }
}

static void recv_takes_as_many_as_asked(void **state)
{
    (void)state;
    run("send", "web", "1");
    run("send", "web", "2");
    run("send", "web", "3");
    run("recv", "-n", "2");
    assert_string_equal(result.stdout_text, "1\n2\n");
    run("recv", "-n", "0", "--timeout", "100ms");
    assert_string_equal(result.stdout_text, "3\n");
    assert_exit(124);
}

static void what_recv_cannot_print_stays_in_the_mailbox(void **state)
{
    (void)state;
    run("send", "web", "precious");
    stdout_path = "/dev/full";
    run("recv");
    stdout_path = NULL;
    assert_exit(1);
    assert_says("write to standard output: No space left on device");
    run("recv", "--timeout", "5s");
    assert_string_equal(result.stdout_text, "precious\n");
}

static void call_prints_the_reply_byte_for_byte(void **state)
{
    (void)state;
    static uint8_t big[1 << 20];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i ^ i >> 8);
    struct run server =
        start_server((const char *const[]){"envctl", "serve", "--echo", "--service", ":echo", NULL});
    run("call", ":echo", "ping");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "ping");
    run_with_input(big, sizeof big, (const char *const[]){"envctl", "call", ":echo", "-", NULL});
    assert_exit(0);
    assert_int_equal(result.stdout_len, sizeof big);
    assert_memory_equal(result.stdout_text, big, sizeof big);
    run("call", ":echo");
    assert_exit(0);
    assert_int_equal(result.stdout_len, 0);
    stop_server(&server);
}

static void serve_says_who_asked_and_ends_after_n(void **state)
{
    (void)state;
    struct run server = start_server((const char *const[]){"envctl", "serve", "--reply", "yes",
                                                           "--subject-prefix", "db.", "-n", "3", NULL});
    run("call", "web", "q", "--subject", "db.query");
    assert_string_equal(result.stdout_text, "yes");
    run("send", "web", "note", "--subject", "db.note");
    run("call", "web", "q", "--subject", "other", "--timeout", "100ms");
    assert_exit(124);
    finish(&server);
    assert_int_equal(server.exit_code, 0);
    assert_string_equal(server.stderr_text,
                        "call from acme/web, db.query, 1 bytes: answered\n"
                        "send from acme/web, db.note, 4 bytes: received\n"
                        "call from acme/web, other, 1 bytes: not one of our subjects, ignored\n");
    free(server.stdout_text);
    free(server.stderr_text);
}

static void serve_ends_well_at_shutdown(void **state)
{
    (void)state;
    struct run server = start_server((const char *const[]){"envctl", "serve", "--echo", NULL});
    run("send", "web", "--subject", "host.shutdown");
    finish(&server);
    assert_int_equal(server.exit_code, 0);
    assert_string_equal(server.stderr_text, "the environment is to end: the test is over\n");
    free(server.stdout_text);
    free(server.stderr_text);
    run("whoami");
    assert_exit(1);
    assert_says("the environment is shutting down");
}

static void refusals_have_exit_codes_reasons_and_hints(void **state)
{
    (void)state;
    run("send", "forbidden", "x");
    assert_exit(21);
    assert_string_equal(result.stdout_text, "");
    assert_says("envctl send: forbidden: denied: rule 3\n  The policy does not allow it");
    run("call", "nobody", "x");
    assert_exit(22);
    run("serve", "--echo", "--service", "taken");
    assert_exit(21);
    assert_says("envctl serve: taken: denied");
}

static void a_body_above_the_limit_is_refused(void **state)
{
    (void)state;
    char *big = calloc(1, (1 << 20) + 1);
    assert_non_null(big);
    run_with_input(big, (1 << 20) + 1, (const char *const[]){"envctl", "send", "web", "-", NULL});
    assert_exit(24);
    assert_says("1048577 bytes, the limit of this environment is 1048576");
    free(big);
}

static void an_unknown_outcome_says_how_to_send_again(void **state)
{
    (void)state;
    run("send", "web", "--subject", "host.vanish", "--expires", "300ms");
    assert_exit(28);
    assert_says("To send it again: --id 0");
}

static void a_body_can_come_from_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/envctl-body-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "\0\xff\n", 3), 3);
    close(fd);
    run("send", "web", "-f", path);
    assert_exit(0);
    run("recv", "--format", "json", "--count", "1");
    assert_non_null(strstr(result.stdout_text, "\"body_base64\":\"AP8K\"}"));
    run_with_input("piped", 5, (const char *const[]){"envctl", "send", "web", "--file", "-", NULL});
    assert_exit(0);
    run("recv");
    assert_string_equal(result.stdout_text, "piped\n");
    unlink(path);
    run("send", "web", "--file", path);
    assert_exit(1);
    assert_says("No such file");
}

static void serve_exec_answers_with_what_a_command_says(void **state)
{
    (void)state;
    struct run server = start_server((const char *const[]){
        "envctl", "serve", "--exec", "printf '%s %s ' \"$ENV_SUBJECT\" \"$ENV_HEADER_X_Y\"; tr a-z A-Z", "-n",
        "2", NULL});
    run("call", "web", "hello", "--subject", "a.b", "--header", "x-y=z");
    assert_exit(0);
    assert_string_equal(result.stdout_text, "a.b z HELLO");
    run("call", "web");
    assert_string_equal(result.stdout_text, "message  ");
    finish(&server);
    assert_int_equal(server.exit_code, 0);
    free(server.stdout_text);
    free(server.stderr_text);
}

static void serve_exec_is_binary_safe_and_bounded(void **state)
{
    (void)state;
    static uint8_t big[1 << 20];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i ^ i >> 8);
    struct run server = start_server((const char *const[]){
        "envctl", "serve", "--exec", "cat; [ \"$ENV_SUBJECT\" != more ] || echo more || exit 100", NULL});
    run_with_input(big, sizeof big, (const char *const[]){"envctl", "call", "web", "-", NULL});
    assert_exit(0);
    assert_int_equal(result.stdout_len, sizeof big);
    assert_memory_equal(result.stdout_text, big, sizeof big);
    run_with_input(
        big, sizeof big,
        (const char *const[]){"envctl", "call", "web", "-", "--subject", "more", "--timeout", "300ms", NULL});
    assert_exit(124); // more than fits
    stop_server(&server);
}

static void what_a_command_fails_on_comes_again_and_what_it_gives_up_does_not(void **state)
{
    (void)state;
    char path[] = "/tmp/envctl-exec-XXXXXX", command[256];
    close(mkstemp(path));
    snprintf(command, sizeof command,
             "read x; echo $x >> %s; [ $x = bad ] && exit 100; [ $(grep -c $x %s) = 2 ]", path, path);
    struct run server =
        start_server((const char *const[]){"envctl", "serve", "--exec", command, "-n", "3", NULL});
    run("send", "web", "good");
    run("send", "web", "bad");
    finish(&server); // good, bad, good again, in this order or another
    assert_int_equal(server.exit_code, 0);
    assert_non_null(strstr(server.stderr_text, "failed with status 1, comes again later"));
    assert_non_null(strstr(server.stderr_text, "processed"));
    assert_non_null(strstr(server.stderr_text, "given up"));
    free(server.stdout_text);
    free(server.stderr_text);
    run("recv", "--timeout", "50ms");
    assert_exit(124);
    unlink(path);
}

static void serve_exec_runs_as_many_commands_at_once_as_it_may(void **state)
{
    (void)state;
    char folder[] = "/tmp/envctl-jobs-XXXXXX", command[256];
    assert_non_null(mkdtemp(folder));
    // Each waits for the other: one at a time would never end.
    snprintf(command, sizeof command,
             "cd %s; touch $ENV_SUBJECT; until [ -e a ] && [ -e b ]; do sleep 0.01; done", folder);
    struct run server = start_server(
        (const char *const[]){"envctl", "serve", "--exec", command, "--jobs", "2", "-n", "2", NULL});
    run("send", "web", "--subject", "a");
    run("send", "web", "--subject", "b");
    finish(&server);
    assert_int_equal(server.exit_code, 0);
    free(server.stdout_text);
    free(server.stderr_text);
    snprintf(command, sizeof command, "%s/a", folder);
    unlink(command);
    snprintf(command, sizeof command, "%s/b", folder);
    unlink(command);
    assert_int_equal(rmdir(folder), 0);
}

static void monitor_says_what_went_and_how_sure_that_is(void **state)
{
    (void)state;
    struct run m = start((const char *const[]){"envctl", "monitor", "away", "db", "-n", "2", NULL});
    char text[64] = "";
    assert_true(read(m.out, text, sizeof text - 1) > 0);
    assert_string_equal(text, "away gone certain stopped: \"by hand\"\n");
    run("send", "db", "--subject", "host.gone", "--priority", "1");
    finish(&m);
    assert_int_equal(m.exit_code, 0);
    assert_string_equal(m.stdout_text, "db gone unknown stopped: \"by hand\"\n");
    free(m.stdout_text);
    free(m.stderr_text);
    run("monitor", "away", "-n", "1", "--format", "json");
    assert_string_equal(result.stdout_text,
                        "{\"address\":\"away\",\"event\":\"gone\",\"certainty\":\"certain\","
                        "\"reason\":\"stopped: \\\"by hand\\\"\"}\n");
    run("monitor", "forbidden");
    assert_exit(21);
    run("monitor", "db", "--timeout", "50ms");
    assert_exit(124);
}

static void a_call_without_answer_ends_with_124(void **state)
{
    (void)state;
    run("call", "silent", "--timeout", "100ms");
    assert_exit(124);
    assert_says("envctl call: silent: no reply within 100 ms");
}

static void a_call_that_is_refused_far_away_ends_at_once_with_its_code(void **state)
{
    (void)state;
    run("call", "full-far-away", "--timeout", "60s");
    assert_exit(23);
    assert_says("envctl call: full-far-away: mailbox-full: ask an operator\n  The receiver is behind");
}

static void wrong_usage_ends_with_2_and_says_what_is_right(void **state)
{
    (void)state;
    const char *const lines[][7] = {
        {"envctl", NULL},
        {"envctl", "dance", NULL},
        {"envctl", "send", NULL},
        {"envctl", "send", "web", "--colour", "red", NULL},
        {"envctl", "send", "web", "--priority", "10", NULL},
        {"envctl", "send", "web", "--id", "7", NULL},
        {"envctl", "send", "web", "--header", "novalue", NULL},
        {"envctl", "send", "web", "--header", "=v", NULL},
        {"envctl", "send", "web", "--expires", "soon", NULL},
        {"envctl", "send", "web", "--timeout", "3", NULL},
        {"envctl", "send", "Not A Name", NULL},
        {"envctl", "send", "web", "--subject", "a b", NULL},
        {"envctl", "call", "web", "--timeout", "0", NULL},
        {"envctl", "call", "web", "--timeout", "25h", NULL},
        {"envctl", "call", "web", "--timeout", "99999999999999999999", NULL},
        {"envctl", "call", "web", "--event", NULL},
        {"envctl", "recv", "-n", "-1", NULL},
        {"envctl", "recv", "now", NULL},
        {"envctl", "serve", NULL},
        {"envctl", "serve", "--echo", "--reply", "x", NULL},
        {"envctl", "serve", "--echo", "--exec", "x", NULL},
        {"envctl", "serve", "--echo", "--service", "a b", NULL},
        {"envctl", "serve", "--echo", "--jobs", "0", NULL},
        {"envctl", "send", "web", "x", "-f", "/dev/null", NULL},
        {"envctl", "recv", "--format", "xml", NULL},
        {"envctl", "monitor", NULL},
        {"envctl", "monitor", ":db", NULL},
        {"envctl", "monitor", "web", "--count", "x", NULL},
        {"envctl", "whoami", "really", NULL},
        {"envctl", "help", "dance", NULL},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        run_with_input(NULL, 0, lines[i]);
        if (result.exit_code != 2 || (i > 0 && strlen(result.stderr_text) == 0))
            fail_msg("line %zu: exit %d, %s", i, result.exit_code, result.stderr_text);
    }
}

static void help_knows_every_verb(void **state)
{
    (void)state;
    run("help");
    assert_exit(0);
    const char *const names[] = {"send", "call", "recv", "serve", "monitor", "whoami", "clock", "help"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        run("help", names[i]);
        assert_exit(0);
        assert_non_null(strstr(result.stdout_text, names[i]));
    }
    run("--help");
    assert_exit(0);
}

static void without_an_agent_every_verb_says_where_it_looked(void **state)
{
    (void)state;
    setenv("ENV_AGENT_SOCKET", "/nonexistent/agent.sock", 1);
    run("whoami");
    assert_exit(1);
    assert_says("no agent at /nonexistent/agent.sock");
    run("send", "db", "hello");
    assert_exit(1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(whoami_prints_the_address),
        T(clock_prints_the_hosts_time),
        T(send_prints_the_id_and_recv_the_body),
        T(recv_json_has_everything),
        T(recv_json_shows_binary_as_base64),
        T(recv_takes_as_many_as_asked),
        T(what_recv_cannot_print_stays_in_the_mailbox),
        T(call_prints_the_reply_byte_for_byte),
        T(serve_says_who_asked_and_ends_after_n),
        T(serve_ends_well_at_shutdown),
        T(refusals_have_exit_codes_reasons_and_hints),
        T(a_body_above_the_limit_is_refused),
        T(an_unknown_outcome_says_how_to_send_again),
        T(a_body_can_come_from_a_file),
        T(serve_exec_answers_with_what_a_command_says),
        T(serve_exec_is_binary_safe_and_bounded),
        T(what_a_command_fails_on_comes_again_and_what_it_gives_up_does_not),
        T(serve_exec_runs_as_many_commands_at_once_as_it_may),
        T(monitor_says_what_went_and_how_sure_that_is),
        T(a_call_without_answer_ends_with_124),
        T(a_call_that_is_refused_far_away_ends_at_once_with_its_code),
        T(wrong_usage_ends_with_2_and_says_what_is_right),
        T(help_knows_every_verb),
        T(without_an_agent_every_verb_says_where_it_looked),
    };
    return cmocka_run_group_tests_name("client/guest_envctl", tests, NULL, NULL);
}
