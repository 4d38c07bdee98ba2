// Commands run by a real envagent (agent/linux/exec.c).
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct host *h;

static int setup(void **state)
{
    (void)state;
    h = host_start();
    host_greet(h);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_stop(h);
    return 0;
}

static void assert_exit(const struct outcome *o, int value)
{
    if (o->error)
        fail_msg("%s", o->text);
    assert_int_equal(o->kind, SESSION_EXITED);
    assert_int_equal(o->value, value);
}

static void stdout_and_stderr_stay_apart_and_the_status_is_the_commands(void **state)
{
    (void)state;
    struct outcome o = run_shell(h, "echo out; echo err >&2; exit 37");
    assert_exit(&o, 37);
    assert_string_equal(o.out, "out\n");
    assert_string_equal(o.err, "err\n");
    outcome_free(&o);
}

static void a_signal_that_ended_it_is_told(void **state)
{
    (void)state;
    struct outcome o = run_shell(h, "kill -USR1 $$");
    assert_int_equal(o.kind, SESSION_SIGNALLED);
    assert_int_equal(o.value, SIGUSR1);
    outcome_free(&o);
}

static void every_byte_passes_both_ways(void **state)
{
    (void)state;
    const size_t n = 3 << 20;
    uint8_t *input = malloc(n);
    const char *const argv[] = {"cat", NULL};
    struct session_exec e = {0};
    assert_non_null(input);
    for (size_t i = 0; i < n; i++)
        input[i] = (uint8_t)(i * 2654435761u >> 13);
    struct outcome o = run_with(h, &e, argv, input, n);
    assert_exit(&o, 0);
    assert_int_equal(o.out_len, n);
    assert_memory_equal(o.out, input, n);
    outcome_free(&o);
    free(input);
}

static void a_command_that_does_not_read_holds_nothing_up(void **state)
{
    (void)state;
    const size_t n = 1 << 20;
    uint8_t *input = calloc(1, n);
    const char *const argv[] = {"sh", "-c", "exec <&-; sleep 0.2; echo done", NULL};
    struct session_exec e = {0};
    struct outcome o = run_with(h, &e, argv, input, n);
    assert_exit(&o, 0);
    assert_string_equal(o.out, "done\n");
    outcome_free(&o);
    free(input);
}

static void without_stdin_it_reads_nothing(void **state)
{
    (void)state;
    struct outcome o = run_shell(h, "cat; readlink /proc/self/fd/0");
    assert_exit(&o, 0);
    assert_string_equal(o.out, "/dev/null\n");
    outcome_free(&o);
}

static void user_groups_folder_and_variables_are_as_asked(void **state)
{
    (void)state;
    const char *const argv[] = {"sh", "-c", "id -u; id -g; pwd; echo $X; echo $HOME; echo $USER", NULL};
    struct session_exec e = {
        .user = text_view("daemon"), .cwd = text_view("/usr/share"), .n_env = 1, .env = {text_view("X=a b")}};
    struct outcome o = run_with(h, &e, argv, NULL, 0);
    assert_exit(&o, 0);
    assert_string_equal(o.out, "1\n1\n/usr/share\na b\n/usr/sbin\ndaemon\n");
    outcome_free(&o);
    e = (struct session_exec){.user = text_view("4711:4712"), .cwd = text_view("/")};
    o = run_with(h, &e, argv, NULL, 0);
    assert_exit(&o, 0);
    assert_string_equal(o.out, "4711\n4712\n/\n\n/\n4711\n");
    outcome_free(&o);
}

static void a_user_is_in_its_groups_and_no_others(void **state)
{
    (void)state;
    const char *const argv[] = {"id", "-G", NULL};
    struct session_exec e = {.user = text_view("nobody")};
    struct outcome o = run_with(h, &e, argv, NULL, 0);
    assert_exit(&o, 0);
    assert_string_equal(o.out, "65534\n");
    outcome_free(&o);
}

static void each_way_not_to_start_has_its_own_error(void **state)
{
    (void)state;
    static const struct {
        const char *command, *user, *cwd;
        enum session_error error;
        const char *mentions;
    } cases[] = {
        {"no-such-command", "", "", SESSION_ERROR_NOT_FOUND, "no-such-command: No such file"},
        {"/etc/passwd", "", "", SESSION_ERROR_NOT_EXECUTABLE, "Permission denied"},
        {"/", "", "", SESSION_ERROR_NOT_EXECUTABLE, "Permission denied"},
        {"true", "no-such-user", "", SESSION_ERROR_NO_USER, "no user \"no-such-user\""},
        {"true", "12x", "", SESSION_ERROR_NO_USER, "neither a user's name nor a uid"},
        {"true", "", "/no/such/folder", SESSION_ERROR_NO_CWD, "No such file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const argv[] = {cases[i].command, NULL};
        struct session_exec e = {.user = text_view(cases[i].user), .cwd = text_view(cases[i].cwd)};
        struct outcome o = run_with(h, &e, argv, NULL, 0);
        assert_int_equal(o.error, cases[i].error);
        if (!strstr(o.text, cases[i].mentions))
            fail_msg("%s", o.text);
        outcome_free(&o);
    }
}

static void a_script_without_interpreter_line_is_not_run_by_guessing(void **state)
{
    (void)state;
    struct outcome o =
        run_shell(h, "cd /tmp && f=$(mktemp ./envagent-test-script-XXXXXX) && echo echo hi > $f && "
                     "chmod 755 $f && echo /tmp/$f");
    assert_exit(&o, 0);
    o.out[o.out_len - 1] = '\0';
    const char *const argv[] = {o.out, NULL};
    struct session_exec e = {0};
    struct outcome run = run_with(h, &e, argv, NULL, 0);
    unlink(o.out);
    assert_int_equal(run.error, SESSION_ERROR_NOT_EXECUTABLE);
    assert_non_null(strstr(run.text, "#!"));
    outcome_free(&run);
    outcome_free(&o);
}

static void a_background_process_that_holds_the_output_does_not_hold_the_end(void **state)
{
    (void)state;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    struct outcome o = run_shell(h, "sleep 30 & echo $!; seq 1 5000 | tail -n 1");
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_exit(&o, 0);
    assert_non_null(strstr(o.out, "\n5000\n"));
    assert_true(b.tv_sec - a.tv_sec < 5);
    kill(atoi(o.out), SIGKILL);
    outcome_free(&o);
}

static bool is_running(int pid)
{
    return kill(pid, 0) == 0;
}

static int read_pid(int fd)
{
    char text[32] = "";
    struct session_frame f = session_expect(fd, SESSION_STDOUT);
    assert_true(wire_view_to_cstr(f.data, text, sizeof text));
    return atoi(text);
}

static void closing_the_stream_ends_the_command_and_its_group(void **state)
{
    (void)state;
    const char *const argv[] = {"sh", "-c", "trap '' HUP; sleep 60 & echo $!; wait", NULL};
    struct session_exec e = {0};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    int leader = (int)session_expect(fd, SESSION_STARTED).pid;
    int sleeper = read_pid(fd);
    close(fd);
    for (int i = 0; i < 40 && (is_running(leader) || is_running(sleeper)); i++)
        pause_ms(100);
    // The harness is nobody's parent here: what ended is reaped by the agent, or by this machine's PID 1.
    struct outcome o = run_shell(h, "true");
    assert_exit(&o, 0);
    assert_false(is_running(leader));
    outcome_free(&o);
}

static void a_signal_reaches_the_whole_group(void **state)
{
    (void)state;
    const char *const argv[] = {"sh", "-c", "sleep 60 | sleep 60", NULL};
    struct session_exec e = {0};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    pause_ms(200);
    session_say(fd, &(struct session_frame){.type = SESSION_SIGNAL, .signal = SIGTERM});
    struct session_frame f = session_expect(fd, SESSION_EXIT);
    assert_int_equal(f.exit.kind, SESSION_SIGNALLED);
    assert_int_equal(f.exit.value, SIGTERM);
    close(fd);
}

// Everything until EXIT, as text.
static void read_terminal(int fd, char *text, size_t cap)
{
    struct session_frame f;
    size_t len = 0;
    while (session_next(fd, &f) && f.type != SESSION_EXIT) {
        if (f.type == SESSION_STDERR)
            fail_msg("STDERR with a terminal");
        if (f.type != SESSION_STDOUT || len + f.data.len >= cap)
            continue;
        memcpy(text + len, f.data.data, f.data.len);
        len += f.data.len;
    }
    text[len] = '\0';
}

static void a_terminal_has_the_size_it_is_given_and_is_told_of_a_new_one(void **state)
{
    (void)state;
    char text[1024];
    const char *const argv[] = {"sh", "-c", "tty; stty size; read line; stty size; echo got $line $TERM",
                                NULL};
    struct session_exec e = {.flags = SESSION_EXEC_TTY, .cols = 90, .rows = 33};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    session_expect(fd, SESSION_CREDIT);
    pause_ms(300);
    session_say(fd, &(struct session_frame){.type = SESSION_RESIZE, .size = {132, 50}});
    session_say_data(fd, SESSION_STDIN, "hello\n", 6);
    read_terminal(fd, text, sizeof text);
    if (!strstr(text, "/dev/pts/") || !strstr(text, "33 90") || !strstr(text, "50 132") ||
        !strstr(text, "got hello xterm"))
        fail_msg("%s", text);
    close(fd);
}

static void the_end_of_input_is_control_d_on_a_terminal(void **state)
{
    (void)state;
    char text[256];
    const char *const argv[] = {"cat", NULL};
    struct session_exec e = {.flags = SESSION_EXEC_TTY};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    session_say_data(fd, SESSION_STDIN, "line\n", 5);
    session_say(fd, &(struct session_frame){.type = SESSION_STDIN_EOF});
    read_terminal(fd, text, sizeof text);
    assert_string_equal(text, "line\r\nline\r\n");
    close(fd);
}

static void a_client_that_does_not_read_stops_the_command_and_nobody_else(void **state)
{
    (void)state;
    const char *const argv[] = {"yes", NULL};
    struct session_exec e = {0};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    pause_ms(300);
    struct outcome o = run_shell(h, "echo fine");
    assert_exit(&o, 0);
    assert_string_equal(o.out, "fine\n");
    outcome_free(&o);
    close(fd);
}

static void input_beyond_the_credit_ends_the_stream(void **state)
{
    (void)state;
    static uint8_t zeros[SESSION_PAYLOAD_MAX];
    const char *const argv[] = {"sleep", "60", NULL};
    struct session_exec e = {.flags = SESSION_EXEC_STDIN};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    assert_int_equal(session_expect(fd, SESSION_CREDIT).credit, sizeof zeros);
    for (int i = 0; i < 4; i++) // a pipe's worth passes
        session_say_data(fd, SESSION_STDIN, zeros, sizeof zeros);
    struct session_frame f;
    while (session_next(fd, &f) && f.type == SESSION_CREDIT)
        ;
    assert_int_equal(f.type, SESSION_ERROR);
    assert_int_equal(f.error.code, SESSION_ERROR_PROTOCOL);
    close(fd);
}

static void nonsense_ends_its_stream_and_nothing_else(void **state)
{
    (void)state;
    int fd = session_open(h, AGENT_SESSION_EXEC);
    session_say_data(fd, SESSION_DATA, "x", 1);
    assert_int_equal(session_expect(fd, SESSION_ERROR).error.code, SESSION_ERROR_PROTOCOL);
    close(fd);
    fd = session_open(h, AGENT_SESSION_EXEC);
    assert_int_equal(write(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), 8);
    assert_int_equal(session_expect(fd, SESSION_ERROR).error.code, SESSION_ERROR_PROTOCOL);
    close(fd);
    struct outcome o = run_shell(h, "true");
    assert_exit(&o, 0);
    outcome_free(&o);
}

static void sessions_are_bounded_and_said_to_be(void **state)
{
    (void)state;
    int fds[64];
    for (size_t i = 0; i < 64; i++)
        fds[i] = session_open(h, AGENT_SESSION_EXEC);
    struct agent_frame f = {.type = AGENT_OPEN};
    assert_int_equal(host_ask(h, &f), RECEIPT_RATE_LIMITED);
    for (size_t i = 0; i < 64; i++)
        close(fds[i]);
    pause_ms(100);
    struct outcome o = run_shell(h, "true");
    assert_exit(&o, 0);
    outcome_free(&o);
}

static void nothing_of_the_agents_is_open_in_a_command(void **state)
{
    (void)state;
    // The shell reads its own mask: a child could look while the shell, that blocks all signals to fork, has not opened them again.
    struct outcome o = run_shell(h, "ls /proc/$$/fd; "
                                    "while read -r field value; do [ $field = SigBlk: ] && echo $value; done </proc/$$/status; "
                                    "cat /proc/$$/oom_score_adj");
    assert_exit(&o, 0);
    assert_string_equal(o.out, "0\n1\n2\n0000000000000000\n0\n");
    outcome_free(&o);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(stdout_and_stderr_stay_apart_and_the_status_is_the_commands),
        T(a_signal_that_ended_it_is_told),
        T(every_byte_passes_both_ways),
        T(a_command_that_does_not_read_holds_nothing_up),
        T(without_stdin_it_reads_nothing),
        T(user_groups_folder_and_variables_are_as_asked),
        T(a_user_is_in_its_groups_and_no_others),
        T(each_way_not_to_start_has_its_own_error),
        T(a_script_without_interpreter_line_is_not_run_by_guessing),
        T(a_background_process_that_holds_the_output_does_not_hold_the_end),
        T(closing_the_stream_ends_the_command_and_its_group),
        T(a_signal_reaches_the_whole_group),
        T(a_terminal_has_the_size_it_is_given_and_is_told_of_a_new_one),
        T(the_end_of_input_is_control_d_on_a_terminal),
        T(a_client_that_does_not_read_stops_the_command_and_nobody_else),
        T(input_beyond_the_credit_ends_the_stream),
        T(nonsense_ends_its_stream_and_nothing_else),
        T(sessions_are_bounded_and_said_to_be),
        T(nothing_of_the_agents_is_open_in_a_command),
    };
    int rc = harness_enter();
    return rc ? rc : cmocka_run_group_tests_name("envagent/exec", tests, NULL, NULL);
}
