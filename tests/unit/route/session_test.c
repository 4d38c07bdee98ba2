// Tests of the host's side of the agent protocol: how a session begins and ends, what an agent is asked, and
// every frame in every state (session.c, session_io.c, session_frames.c).
#include "agents.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- beginning and end ----

static void hello_is_answered_with_who_one_is(void **state)
{
    (void)state;
    open_agent(&web, "acme", "web");
    write_frame(&web, &hello);
    struct agent_frame frame = expect(&web, AGENT_HELLO_OK);
    assert_int_equal(frame.tag, 7);
    assert_int_equal(frame.hello_ok.version, AGENT_VERSION);
    assert_true(wire_view_equals(frame.hello_ok.tenant, "acme"));
    assert_true(wire_view_equals(frame.hello_ok.name, "web"));
    assert_int_equal(frame.hello_ok.body_max, ENVELOPE_BODY_DEFAULT);
    assert_true(frame.hello_ok.realtime_ns / 1000000 >= f.now_ms);
    assert_true(web.ready);
    assert_string_equal(web.software, "test?");
}

static void a_version_that_is_not_spoken_is_rejected(void **state)
{
    (void)state;
    open_agent(&web, "acme", "web");
    struct agent_frame frame = hello;
    frame.hello.version_min = 2;
    write_frame(&web, &frame);
    frame = expect(&web, AGENT_REJECT);
    assert_true(frame.reject.reason.len > 0);
    assert_closed(&web, "version");
    assert_false(web.ready);
}

static void an_agent_that_says_nothing_is_closed(void **state)
{
    (void)state;
    config.hello_timeout_ms = 20;
    open_agent(&web, "acme", "web");
    assert_closed(&web, "did not say hello within 20 ms");
}

static void silence_is_asked_about_and_an_answer_is_life(void **state)
{
    (void)state;
    config.ping_interval_ms = 30;
    config.ping_timeout_ms = 60;
    connect_agent(&web, "acme", "web");
    for (int i = 0; i < 3; i++) {
        struct agent_frame ping = expect(&web, AGENT_PING);
        write_frame(&web, &(struct agent_frame){.type = AGENT_PONG, .tag = ping.tag});
    }
    assert_false(web.closed);
    expect(&web, AGENT_PING);
    assert_closed(&web, "does not answer");
}

static void an_agent_that_closes_ends_its_session(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    shutdown(web.fd, SHUT_RDWR);
    assert_closed(&web, "closed the connection");
}

static void an_environment_has_one_session(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct session *s = NULL;
    struct err err;
    assert_int_equal(session_new(f.router, f.base, "acme", "web", pair[1], NULL, &callbacks, NULL, &s, &err),
                     -EBUSY);
    assert_int_equal(
        session_new(f.router, f.base, "acme", "nobody", pair[1], NULL, &callbacks, NULL, &s, &err), -ENOENT);
    assert_null(s);
    close(pair[0]);
    assert_int_equal(close(pair[1]), 0); // it is still ours
}

static void a_session_may_be_closed_while_it_becomes_ready(void **state)
{
    (void)state;
    open_agent(&web, "acme", "web");
    web.close_when_ready = true;
    write_frame(&web, &hello);
    struct agent_frame frame;
    assert_false(read_frame(&web, &frame));
    assert_true(web.ready);
    assert_false(web.closed);
}

static void a_session_may_be_opened_while_the_one_before_ends(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    web.reopen_when_closed = true;
    write_all(&web, "garbage that is long enough", 27);
    assert_closed(&web, "malformed");
    web.reopen_when_closed = false;
    web.closed = false;
    web.in_len = web.used = 0;
    greet(&web);
}

static void a_removed_environment_ends_its_session(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    router_environment_removed(f.router, "acme", "web");
    assert_closed(&web, "removed");
}

static void shutdown_is_passed_on_once_there_was_a_hello(void **state)
{
    (void)state;
    open_agent(&web, "acme", "web");
    assert_int_equal(session_shutdown(web.session, 100, "stop"), -ENOTCONN);
    greet(&web);
    assert_int_equal(session_shutdown(web.session, 1500, "host goes down"), 0);
    struct agent_frame frame = expect(&web, AGENT_SHUTDOWN);
    assert_int_equal(frame.shutdown.grace_ms, 1500);
    assert_true(wire_view_equals(frame.shutdown.reason, "host goes down"));
}

// ---- questions ----

static void on_answer(void *arg, int rc, const char *detail)
{
    struct answer *a = arg;
    a->n++;
    a->rc = rc;
    snprintf(a->detail, sizeof a->detail, "%s", detail);
}

static void on_stats(void *arg, int rc, const struct agent_stats *stats)
{
    struct answer *a = arg;
    a->n++;
    a->rc = rc;
    if (stats)
        a->stats = *stats;
}

static void wait_for_answer(const struct answer *a)
{
    for (int i = 0; i < 2000 && a->n == 0; i++) {
        turn();
        usleep(500);
    }
    assert_int_equal(a->n, 1);
}

static const struct id token = {{1, 2, 3}};

static void an_agent_is_asked_for_figures_and_its_answer_comes_back(void **state)
{
    (void)state;
    struct answer answer = {0};
    connect_agent(&web, "acme", "web");
    assert_int_equal(session_request_stats(web.session, 1000, on_stats, &answer), 0);
    struct agent_frame asked = expect(&web, AGENT_STATS);
    assert_int_equal(answer.n, 0);
    write_frame(&web, &(struct agent_frame){.type = AGENT_STATS_IS,
                                            .tag = asked.tag,
                                            .stats = {.mem_total = 7, .processes = 3}});
    wait_for_answer(&answer);
    assert_int_equal(answer.rc, 0);
    assert_int_equal(answer.stats.mem_total, 7);
    assert_int_equal(answer.stats.processes, 3);
}

static void what_an_agent_cannot_do_it_is_not_asked(void **state)
{
    (void)state;
    struct session_network network = {.ipv4 = 1};
    open_agent(&web, "acme", "web");
    assert_int_equal(session_open_stream(web.session, &token, AGENT_SESSION_EXEC, 1000, on_answer, NULL),
                     -ENOTCONN);
    greet(&web); // it can AGENT_CAP_SESSION and AGENT_CAP_STATS
    assert_int_equal(session_capabilities(web.session), AGENT_CAP_SESSION | AGENT_CAP_STATS);
    assert_int_equal(session_configure(web.session, &network, on_answer, NULL), -EOPNOTSUPP);
    assert_int_equal(session_resumed(web.session), -EOPNOTSUPP);
}

static void a_refusal_carries_the_agents_words(void **state)
{
    (void)state;
    struct answer answer = {0};
    connect_agent(&web, "acme", "web");
    assert_int_equal(session_open_stream(web.session, &token, AGENT_SESSION_COPY, 1000, on_answer, &answer),
                     0);
    struct agent_frame asked = expect(&web, AGENT_OPEN);
    assert_memory_equal(&asked.session.token, &token, sizeof token);
    assert_int_equal(asked.session.kind, AGENT_SESSION_COPY);
    write_frame(&web, &(struct agent_frame){
                          .type = AGENT_RESULT,
                          .tag = asked.tag,
                          .receipt = {.code = RECEIPT_RATE_LIMITED, .detail = text_view("enough of them")}});
    wait_for_answer(&answer);
    assert_int_equal(answer.rc, -EREMOTEIO);
    assert_string_equal(answer.detail, "enough of them");
}

static void a_question_that_nobody_answers_ends_in_time_and_a_late_answer_is_ignored(void **state)
{
    (void)state;
    struct answer answer = {0};
    connect_agent(&web, "acme", "web");
    assert_int_equal(session_request_stats(web.session, 20, on_stats, &answer), 0);
    struct agent_frame asked = expect(&web, AGENT_STATS);
    wait_for_answer(&answer);
    assert_int_equal(answer.rc, -ETIMEDOUT);
    write_frame(&web, &(struct agent_frame){.type = AGENT_STATS_IS, .tag = asked.tag});
    assert_true(nothing_comes(&web));
    assert_int_equal(answer.n, 1);
    assert_false(web.closed);
}

static void the_end_of_a_session_ends_its_questions(void **state)
{
    (void)state;
    struct answer answer = {0};
    connect_agent(&web, "acme", "web");
    session_request_stats(web.session, 1000, on_stats, &answer);
    shutdown(web.fd, SHUT_RDWR);
    wait_for_answer(&answer);
    assert_int_equal(answer.rc, -ENOTCONN);
    connect_agent(&db, "acme", "db");
    session_request_stats(db.session, 1000, on_stats, &answer);
    session_close(db.session);
    db.session = NULL;
    assert_int_equal(answer.n, 2);
}

static void a_session_can_begin_with_bytes_that_were_read_before(void **state)
{
    (void)state;
    uint8_t bytes[128];
    struct wire_writer w;
    open_agent(&web, "acme", "web");
    wire_writer_init(&w, bytes, sizeof bytes);
    agent_frame_write(&w, &hello);
    assert_int_equal(session_begin_with(web.session, bytes, AGENT_HEADER_LEN), 0);
    write_all(&web, (const char *)bytes + AGENT_HEADER_LEN, w.pos - AGENT_HEADER_LEN);
    expect(&web, AGENT_HELLO_OK);
    assert_true(web.ready);
}

// ---- every frame in every state ----

static struct agent_frame sample_of(enum agent_frame_type type)
{
    struct agent_frame frame = {.type = type, .tag = 3};
    if (type == AGENT_HELLO)
        frame = hello;
    else if (type == AGENT_HELLO_OK)
        frame.hello_ok.tenant = frame.hello_ok.name = text_view("x"), frame.hello_ok.version = 1,
        frame.hello_ok.body_max = 1;
    else if (type == AGENT_SEND || type == AGENT_DELIVER)
        frame.envelope = message_frame(1, "acme/db", MESSAGE_SEND).envelope;
    else if (type == AGENT_REGISTER || type == AGENT_UNREGISTER)
        frame.service = text_view("s");
    else if (type == AGENT_CREDIT)
        frame.credit = 1;
    else if (type == AGENT_CONFIGURE)
        frame.configure.hostname = text_view("x");
    else if (type == AGENT_MONITOR || type == AGENT_UNMONITOR)
        frame.address = text_view("db");
    else if (type == AGENT_GONE)
        frame.gone.address = text_view("db");
    if (type == AGENT_DELIVER)
        frame.envelope.from = text_view("acme/web");
    return frame;
}

static void each_state_takes_its_frames_and_ends_on_all_others(void **state)
{
    (void)state;
    static const bool accepted[2][AGENT_FRAME_TYPE_COUNT] = {
        [0] = {[AGENT_HELLO] = true},
        [1] = {[AGENT_SEND] = true,
               [AGENT_ACK] = true,
               [AGENT_RELEASE] = true,
               [AGENT_CREDIT] = true,
               [AGENT_REGISTER] = true,
               [AGENT_UNREGISTER] = true,
               [AGENT_CLOCK] = true,
               [AGENT_PONG] = true,
               [AGENT_RESULT] = true,
               [AGENT_STATS_IS] = true,
               [AGENT_MONITOR] = true,
               [AGENT_UNMONITOR] = true,
               [AGENT_DEFER] = true},
    };
    for (int greeted = 0; greeted < 2; greeted++) {
        for (int type = 1; type < AGENT_FRAME_TYPE_COUNT; type++) {
            open_agent(&web, "acme", "web");
            if (greeted)
                greet(&web);
            struct agent_frame frame = sample_of((enum agent_frame_type)type);
            write_frame(&web, &frame);
            for (int i = 0; i < 5; i++)
                turn();
            if (web.closed == accepted[greeted][type])
                fail_msg("%s, %s: %s", greeted ? "ready" : "greeting", agent_frame_type_name(frame.type),
                         web.closed ? web.reason : "not closed");
            if (web.closed)
                assert_non_null(strstr(web.reason, "out of place"));
            close_agent(&web);
        }
    }
}

static void malformed_bytes_end_the_session(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *mentions;
    } cases[] = {
        {"\0\0\0\0\x7f\0\0\0\0\0\0\0", 12, "unknown frame type"},
        {"\xff\xff\xff\xff\x04\0\0\0\0\0\0\0", 12, "too long"},
        {"\0\0\0\0\x0e\0\1\0\0\0\0\0", 12, "reserved"},
        {"\x05\0\0\0\x0a\0\0\0\0\0\0\0\x03\0UP!", 17, "malformed REGISTER"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        connect_agent(&web, "acme", "web");
        write_all(&web, cases[i].bytes, cases[i].len);
        assert_closed(&web, cases[i].mentions);
        close_agent(&web);
    }
}

static void frames_may_come_in_any_pieces(void **state)
{
    (void)state;
    uint8_t out[512];
    open_agent(&web, "acme", "web");
    size_t len = encode(&hello, out, sizeof out);
    struct agent_frame frame = message_frame(1, "db", MESSAGE_SEND);
    len += encode(&frame, out + len, sizeof out - len);
    for (size_t i = 0; i < len; i++)
        write_all(&web, out + i, 1);
    expect(&web, AGENT_HELLO_OK);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_agent_is_asked_for_figures_and_its_answer_comes_back),
        TEST(what_an_agent_cannot_do_it_is_not_asked),
        TEST(a_refusal_carries_the_agents_words),
        TEST(a_question_that_nobody_answers_ends_in_time_and_a_late_answer_is_ignored),
        TEST(the_end_of_a_session_ends_its_questions),
        TEST(a_session_can_begin_with_bytes_that_were_read_before),
        TEST(hello_is_answered_with_who_one_is),
        TEST(a_version_that_is_not_spoken_is_rejected),
        TEST(an_agent_that_says_nothing_is_closed),
        TEST(silence_is_asked_about_and_an_answer_is_life),
        TEST(an_agent_that_closes_ends_its_session),
        TEST(an_environment_has_one_session),
        TEST(a_session_may_be_closed_while_it_becomes_ready),
        TEST(a_session_may_be_opened_while_the_one_before_ends),
        TEST(a_removed_environment_ends_its_session),
        TEST(shutdown_is_passed_on_once_there_was_a_hello),
        TEST(each_state_takes_its_frames_and_ends_on_all_others),
        TEST(malformed_bytes_end_the_session),
        TEST(frames_may_come_in_any_pieces),
    };
    return cmocka_run_group_tests_name("route/session", tests, NULL, NULL);
}
