// Tests of libenv against a real agent on real sockets (client/libenv, agent/core).
#include "testing.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "env/env.h"
#include "world.h"

static struct world *world;
static struct env *env;

static int setup(void **state)
{
    (void)state;
    world = world_start();
    return env_open(&env);
}

static int teardown(void **state)
{
    (void)state;
    env_close(env);
    world_stop(world);
    return 0;
}

static struct env_outgoing text_to(const char *to, const char *body)
{
    return (struct env_outgoing){.to = to, .subject = "test", .body = body, .body_len = strlen(body)};
}

static void assert_sent(const char *to, const char *body)
{
    struct env_outgoing m = text_to(to, body);
    if (env_send(env, &m, NULL) != 0)
        fail_msg("%s", env_error(env));
}

static struct env_message *assert_received(struct env *from, const char *body)
{
    struct env_message *m;
    if (env_recv(from, 5000, &m) != 0)
        fail_msg("instead of %s: %s", body, env_error(from));
    assert_string_equal(m->body, body);
    return m;
}

static void assert_received_and_acked(struct env *from, const char *body)
{
    struct env_message *m = assert_received(from, body);
    assert_int_equal(env_ack(from, m), 0);
    env_message_free(m);
}

static void open_says_who_we_are(void **state)
{
    (void)state;
    assert_string_equal(env_identity(env)->tenant, "acme");
    assert_string_equal(env_identity(env)->name, "web");
    assert_int_equal(env_identity(env)->body_max, 1 << 20);
}

static void a_sent_message_arrives_with_all_it_had(void **state)
{
    (void)state;
    const struct env_header headers[] = {{"trace", "42"}, {"empty", ""}};
    struct env_outgoing out = {.to = "acme/web",
                               .subject = "a.b",
                               .content_type = "application/octet-stream",
                               .body = "x\0y",
                               .body_len = 3,
                               .priority = 7,
                               .expires_ms = 1900000000000,
                               .headers = headers,
                               .n_headers = 2};
    struct id id;
    struct env_message *m;
    assert_int_equal(env_send(env, &out, &id), 0);
    assert_int_equal(env_recv(env, 5000, &m), 0);
    assert_int_equal(m->kind, MESSAGE_SEND);
    assert_true(id_equals(&m->id, &id));
    assert_string_equal(m->from, "acme/web");
    assert_string_equal(m->to, "acme/web");
    assert_string_equal(m->subject, "a.b");
    assert_string_equal(m->content_type, "application/octet-stream");
    assert_int_equal(m->priority, 7);
    assert_int_equal(m->expires_ms, 1900000000000);
    assert_int_equal(m->n_headers, 2);
    assert_string_equal(m->headers[0].name, "trace");
    assert_string_equal(m->headers[1].value, "");
    assert_int_equal(m->body_len, 3);
    assert_memory_equal(m->body, "x\0y", 4);
    env_message_free(m);
}

static void an_id_carries_the_hosts_time(void **state)
{
    (void)state;
    struct env_outgoing out = text_to("silent", "");
    struct id id;
    uint64_t ms = 0;
    assert_int_equal(env_send(env, &out, &id), 0);
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    assert_true(ms >= 1700000000000 && ms < 1700000100000);
}

static void events_are_events(void **state)
{
    (void)state;
    struct env_outgoing out = text_to("web", "e");
    out.event = true;
    assert_int_equal(env_send(env, &out, NULL), 0);
    struct env_message *m = assert_received(env, "e");
    assert_int_equal(m->kind, MESSAGE_EVENT);
    env_message_free(m);
}

static void a_refusal_is_a_code_and_a_sentence(void **state)
{
    (void)state;
    struct env_outgoing out = text_to("forbidden", "");
    assert_int_equal(env_send(env, &out, NULL), RECEIPT_DENIED);
    assert_string_equal(env_error(env), "denied: rule 3");
    out.to = "nobody";
    assert_int_equal(env_send(env, &out, NULL), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_string_equal(env_error(env), "no-such-environment");
}

static void what_cannot_be_sent_is_refused_here_and_the_connection_goes_on(void **state)
{
    (void)state;
    const struct env_header nameless = {"", "x"};
    static const struct env_header many[ENVELOPE_HEADERS_MAX + 1];
    static char big[(1 << 20) + 1], long_name[70000];
    memset(long_name, 'x', sizeof long_name - 1);
    struct env_outgoing out = text_to("No Such Name", "");
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out = text_to(long_name, "");
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out = (struct env_outgoing){0};
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out = text_to("db", "");
    out.subject = "two words";
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out = text_to("db", "");
    out.headers = &nameless;
    out.n_headers = 1;
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out.headers = many;
    out.n_headers = ENVELOPE_HEADERS_MAX + 1;
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    out = (struct env_outgoing){.to = "db", .body = big, .body_len = sizeof big};
    assert_int_equal(env_send(env, &out, NULL), RECEIPT_TOO_LARGE);
    out = text_to("db", "");
    out.priority = 10;
    assert_int_equal(env_send(env, &out, NULL), -EINVAL);
    assert_sent("silent", "still here");
}

static void the_largest_body_passes(void **state)
{
    (void)state;
    static uint8_t big[1 << 20];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7 + i / 256);
    struct env_outgoing out = {.to = "web", .body = big, .body_len = sizeof big};
    struct env_message *m;
    assert_int_equal(env_send(env, &out, NULL), 0);
    assert_int_equal(env_recv(env, 5000, &m), 0);
    assert_string_equal(m->subject, "message");
    assert_int_equal(m->body_len, sizeof big);
    assert_memory_equal(m->body, big, sizeof big);
    env_message_free(m);
}

static void messages_arrive_in_order_through_any_window(void **state)
{
    (void)state;
    const unsigned windows[] = {1, 7, 256, 100000};
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
        env_set_window(env, windows[w]);
        for (int i = 0; i < 100; i++) {
            char body[16];
            snprintf(body, sizeof body, "%d", i);
            assert_sent("web", body);
        }
        for (int i = 0; i < 100; i++) {
            char body[16];
            snprintf(body, sizeof body, "%d", i);
            assert_received_and_acked(env, body);
        }
    }
}

static void a_program_that_floods_itself_does_not_lock_up(void **state)
{
    (void)state;
    static char body[256 << 10];
    struct env_message *m;
    struct env_outgoing out = {.to = "web", .body = body, .body_len = sizeof body};
    env_set_window(env, 64);
    assert_int_equal(env_recv(env, 0, &m), -ETIMEDOUT); // the credit is given, the messages will come
    for (int i = 0; i < 64; i++)
        assert_int_equal(env_send(env, &out, NULL), 0);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(env_recv(env, 5000, &m), 0);
        assert_int_equal(env_ack(env, m), 0);
        env_message_free(m);
    }
}

static void receiving_times_out(void **state)
{
    (void)state;
    struct env_message *m;
    assert_int_equal(env_recv(env, 0, &m), -ETIMEDOUT);
    assert_int_equal(env_recv(env, 30, &m), -ETIMEDOUT);
    assert_string_equal(env_error(env), "no message came in time");
}

static void the_descriptor_is_readable_when_a_message_came(void **state)
{
    (void)state;
    struct env *other;
    struct env_message *m;
    struct env_outgoing out = text_to("web", "ding");
    assert_int_equal(env_open(&other), 0);
    assert_int_equal(env_recv(env, 0, &m), -ETIMEDOUT);
    struct pollfd p = {.fd = env_fd(env), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(env_send(other, &out, NULL), 0);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(env_recv(env, 0, &m), 0);
    env_message_free(m);
    env_close(other);
}

static void a_released_message_comes_again(void **state)
{
    (void)state;
    assert_sent("web", "again");
    struct env_message *m = assert_received(env, "again");
    assert_int_equal(env_release(env, m), 0);
    env_message_free(m);
    assert_received_and_acked(env, "again");
}

static void what_was_not_acknowledged_goes_to_the_next_program(void **state)
{
    (void)state;
    struct env *other;
    assert_sent("web", "left over");
    env_message_free(assert_received(env, "left over"));
    env_close(env);
    assert_int_equal(env_open(&env), 0);
    assert_received_and_acked(env, "left over");
    assert_int_equal(env_open(&other), 0);
    struct env_message *m;
    assert_int_equal(env_recv(other, 50, &m), -ETIMEDOUT); // and only once
    env_close(other);
}

// A server of its own: answers `n` calls with their body.
static void *serve(void *arg)
{
    long n = (long)arg;
    struct env *server;
    struct env_message *m;
    if (env_open(&server) != 0)
        return strdup("open");
    if (env_register(server, "echo") != 0)
        return strdup("register");
    for (long i = 0; i < n && env_recv(server, 5000, &m) == 0; i++) {
        struct env_outgoing reply = {.body = m->body, .body_len = m->body_len, .content_type = "text/x-echo"};
        if (env_reply(server, m, &reply) != 0 || env_ack(server, m) != 0)
            return strdup("reply");
        env_message_free(m);
    }
    env_close(server);
    return NULL;
}

static int call_echo(const char *body, struct env_message **ret)
{
    struct env_outgoing out = text_to(":echo", body);
    int rc = RECEIPT_NO_SUCH_ENVIRONMENT; // until the server has registered
    for (int i = 0; i < 500 && rc == RECEIPT_NO_SUCH_ENVIRONMENT; i++) {
        rc = env_call(env, &out, 5000, ret);
        if (rc == RECEIPT_NO_SUCH_ENVIRONMENT)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return rc;
}

static void calls_to_a_service_are_answered(void **state)
{
    (void)state;
    pthread_t thread;
    void *result; // what went wrong
    pthread_create(&thread, NULL, serve, (void *)20L);
    for (int i = 0; i < 20; i++) {
        char body[16];
        struct env_message *reply;
        snprintf(body, sizeof body, "call %d", i);
        if (call_echo(body, &reply) != 0)
            fail_msg("%s", env_error(env));
        assert_string_equal(reply->body, body);
        assert_string_equal(reply->content_type, "text/x-echo");
        assert_string_equal(reply->subject, "");
        env_message_free(reply);
    }
    pthread_join(thread, &result);
    assert_null(result);
}

static void a_call_that_nobody_answers_times_out(void **state)
{
    (void)state;
    struct env_outgoing out = text_to("silent", "");
    struct env_message *reply;
    assert_int_equal(env_call(env, &out, 50, &reply), -ETIMEDOUT);
    assert_string_equal(env_error(env), "no reply within 50 ms");
    assert_int_equal(env_call(env, &out, 0, &reply), -EINVAL);
    out.to = "forbidden";
    assert_int_equal(env_call(env, &out, 50, &reply), RECEIPT_DENIED);
}

static void a_call_that_is_refused_far_away_ends_with_that_code(void **state)
{
    (void)state;
    struct env_outgoing out = text_to("full-far-away", "");
    struct env_message *reply = NULL;
    assert_int_equal(env_call(env, &out, 60000, &reply), RECEIPT_MAILBOX_FULL);
    assert_string_equal(env_error(env), "mailbox-full: ask an operator");
    out.to = "full-at-once"; // before the receipt, which is nobody's then
    assert_int_equal(env_call(env, &out, 60000, &reply), RECEIPT_MAILBOX_FULL);
    assert_null(reply);
    assert_sent("silent", "still here");
}

static void a_late_reply_is_not_taken_for_another_calls(void **state)
{
    (void)state;
    struct env *server;
    struct env_message *late, *reply, *request;
    struct env_outgoing out = text_to("web", "first");
    assert_int_equal(env_open(&server), 0);
    assert_int_equal(env_recv(server, 0, &late),
                     -ETIMEDOUT); // credit: the call goes to the server, not to us
    assert_int_equal(env_call(env, &out, 50, &reply), -ETIMEDOUT);
    late = assert_received(server, "first");
    struct env_outgoing answer = {.body = "too late", .body_len = 8};
    assert_int_equal(env_reply(server, late, &answer), 0);
    env_message_free(late);
    out.body = "other";
    assert_int_equal(env_call(env, &out, 50, &reply), -ETIMEDOUT);
    request = assert_received(server, "other");
    env_message_free(request);
    env_close(server);
}

static void only_calls_can_be_answered(void **state)
{
    (void)state;
    assert_sent("web", "no call");
    struct env_message *m = assert_received(env, "no call");
    struct env_outgoing reply = {0};
    assert_int_equal(env_reply(env, m, &reply), -EINVAL);
    env_message_free(m);
}

static void services_come_and_go(void **state)
{
    (void)state;
    assert_int_equal(env_register(env, "db"), 0);
    assert_sent(":db", "for the service");
    assert_received_and_acked(env, "for the service");
    assert_int_equal(env_unregister(env, "db"), 0);
    struct env_outgoing out = text_to(":db", "");
    assert_int_equal(env_send(env, &out, NULL), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(env_unregister(env, "db"), RECEIPT_INVALID);
    assert_int_equal(env_register(env, "taken"), RECEIPT_DENIED);
    assert_int_equal(env_register(env, ":db"), -EINVAL);
}

static void what_is_monitored_is_told_of_while_messages_wait(void **state)
{
    (void)state;
    struct env_gone gone;
    assert_int_equal(env_monitor(env, "forbidden"), RECEIPT_DENIED);
    assert_int_equal(env_monitor(env, ":db"), -EINVAL);
    assert_int_equal(env_monitor(env, "away"), 0);
    assert_int_equal(env_wait_gone(env, 5000, &gone), 0);
    assert_string_equal(gone.address, "away");
    assert_true(gone.certain);
    assert_int_equal(env_wait_gone(env, 0, &gone), -ETIMEDOUT);
    assert_int_equal(env_monitor(env, "db"), 0);
    struct env_outgoing out = text_to("db", "");
    out.subject = "host.gone";
    assert_int_equal(env_send(env, &out, NULL), 0);
    out.priority = 1;
    assert_int_equal(env_send(env, &out, NULL), 0);
    out = text_to("web", "meanwhile");
    assert_int_equal(env_send(env, &out, NULL), 0);
    assert_received_and_acked(env, "meanwhile");
    assert_int_equal(env_wait_gone(env, 5000, &gone), 0); // the last word
    assert_string_equal(gone.address, "db");
    assert_false(gone.certain);
    assert_int_equal(env_wait_gone(env, 0, &gone), -ETIMEDOUT);
    assert_int_equal(env_unmonitor(env, "db"), 0);
    assert_int_equal(env_unmonitor(env, "db"), RECEIPT_INVALID);
}

static void the_clock_is_the_hosts(void **state)
{
    (void)state;
    uint64_t now_ns;
    assert_int_equal(env_clock(env, &now_ns), 0);
    assert_int_equal(now_ns, 1700000001ull * 1000000000 + 5);
}

static void a_lost_link_is_an_unknown_outcome_and_heals(void **state)
{
    (void)state;
    assert_int_equal(env_register(env, "db"), 0);
    struct env_outgoing out = text_to("web", "lost");
    out.subject = "host.vanish";
    out.expires_ms = env_now_ms(env) + 300;
    assert_int_equal(env_send(env, &out, NULL), RECEIPT_UNKNOWN_OUTCOME);
    out = text_to(":db", "back");
    int rc = RECEIPT_HOST_UNREACHABLE;
    for (int i = 0; i < 500 && rc == RECEIPT_HOST_UNREACHABLE; i++) {
        rc = env_send(env, &out, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(rc, 0); // and the service was registered again
    assert_received_and_acked(env, "back");
}

static void shutdown_ends_receiving_after_what_is_there(void **state)
{
    (void)state;
    struct env_message *m;
    assert_sent("web", "last words");
    env_message_free(assert_received(env, "last words"));
    struct env_outgoing out = text_to("web", "");
    out.subject = "host.shutdown";
    assert_int_equal(env_send(env, &out, NULL), 0);
    assert_int_equal(env_recv(env, 5000, &m), -ESHUTDOWN);
    assert_string_equal(env_error(env), "the environment is to end: the test is over");
    assert_sent("silent", "sending still works");
}

static void an_agent_that_goes_away_is_reported(void **state)
{
    (void)state;
    struct env_message *m;
    world_stop(world);
    assert_int_equal(env_recv(env, 5000, &m), -ECONNRESET);
    struct env_outgoing out = text_to("web", "");
    assert_int_equal(env_send(env, &out, NULL), -ECONNRESET);
    assert_int_equal(env_open(&(struct env *){NULL}), -ENOENT);
    assert_non_null(strstr(env_error(NULL), "no agent at /tmp/"));
    world = world_start();
}

// ---- what is no agent ----

static int open_against(const void *says, size_t n)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct env *e;
    char dir[] = "/tmp/envd-libenv-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/s", dir);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(listener, 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = accept(listener, NULL, NULL);
        char hello[64];
        if (read(fd, hello, sizeof hello) < 0 || write(fd, says, n) < 0)
            _exit(1);
        _exit(0);
    }
    setenv("ENV_AGENT_SOCKET", addr.sun_path, 1);
    int rc = env_open(&e);
    int status;
    waitpid(pid, &status, 0);
    close(listener);
    unlink(addr.sun_path);
    rmdir(dir);
    return rc;
}

static void what_is_no_agent_is_recognized(void **state)
{
    (void)state;
    assert_int_equal(open_against("220 mail ESMTP\r\n", 16), -EPROTO);
    assert_non_null(strstr(env_error(NULL), "does not speak the agent protocol"));
    assert_int_equal(open_against("", 0), -ECONNRESET);
    const char ping_before_hello[] = "\0\0\0\0\x10\0\0\0\0\0\0";
    assert_int_equal(open_against(ping_before_hello, sizeof ping_before_hello), -EPROTO);
    const char reject[] = "\x06\0\0\0\x03\0\0\0\0\0\0\0\x04\0nope";
    assert_int_equal(open_against(reject, sizeof reject - 1), -EPROTO);
    assert_string_equal(env_error(NULL), "the agent refuses: nope");
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char path[200];
    struct env *e;
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    setenv("ENV_AGENT_SOCKET", path, 1);
    assert_int_equal(env_open(&e), -ENAMETOOLONG);
    unsetenv("ENV_AGENT_SOCKET");
    assert_int_equal(env_open(&e), -ENOENT);
    assert_non_null(strstr(env_error(NULL), "/run/env/agent.sock"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(open_says_who_we_are),
        T(a_sent_message_arrives_with_all_it_had),
        T(an_id_carries_the_hosts_time),
        T(events_are_events),
        T(a_refusal_is_a_code_and_a_sentence),
        T(what_cannot_be_sent_is_refused_here_and_the_connection_goes_on),
        T(the_largest_body_passes),
        T(messages_arrive_in_order_through_any_window),
        T(a_program_that_floods_itself_does_not_lock_up),
        T(receiving_times_out),
        T(the_descriptor_is_readable_when_a_message_came),
        T(a_released_message_comes_again),
        T(what_was_not_acknowledged_goes_to_the_next_program),
        T(calls_to_a_service_are_answered),
        T(a_call_that_nobody_answers_times_out),
        T(a_call_that_is_refused_far_away_ends_with_that_code),
        T(a_late_reply_is_not_taken_for_another_calls),
        T(only_calls_can_be_answered),
        T(services_come_and_go),
        T(what_is_monitored_is_told_of_while_messages_wait),
        T(the_clock_is_the_hosts),
        T(a_lost_link_is_an_unknown_outcome_and_heals),
        T(shutdown_ends_receiving_after_what_is_there),
        T(an_agent_that_goes_away_is_reported),
        cmocka_unit_test(what_is_no_agent_is_recognized),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("client/libenv", tests, NULL, NULL);
}
