// Tests of the host's side of the agent protocol on real socket pairs: the test is the agent (session.c,
// session_io.c, session_frames.c).
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/agent.h"
#include "route/session.h"

#define FRAME_CAP (2u << 20)

static struct fixture f;
static struct session_config config;

// An agent: its end of the connection, what it has read, and what the host's callbacks said of it.
struct agent {
    const char *tenant, *name;
    struct session *session;
    int fd;
    uint8_t *in;
    size_t in_len, used; // used: the frame that was read last
    bool ready, closed, close_when_ready, reopen_when_closed;
    char reason[256], software[64];
};

static struct agent web, db;

static void open_session(struct agent *a);

static void on_ready(void *arg, const char *software, uint32_t capabilities)
{
    struct agent *a = arg;
    assert_int_equal(capabilities, 5);
    a->ready = true;
    snprintf(a->software, sizeof a->software, "%s", software);
    if (a->close_when_ready) {
        session_close(a->session);
        a->session = NULL;
    }
}

static void on_closed(void *arg, const char *reason)
{
    struct agent *a = arg;
    a->closed = true;
    a->session = NULL;
    snprintf(a->reason, sizeof a->reason, "%s", reason);
    if (a->reopen_when_closed) {
        close(a->fd);
        open_session(a);
    }
}

static const struct session_cb callbacks = {.on_ready = on_ready, .on_closed = on_closed};

static void open_session(struct agent *a)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    a->fd = pair[0];
    struct err err = {""};
    if (session_new(f.router, f.base, a->tenant, a->name, pair[1], &config, &callbacks, a, &a->session,
                    &err) < 0)
        fail_msg("%s", err.text);
}

static void open_agent(struct agent *a, const char *tenant, const char *name)
{
    uint8_t *in = a->in;
    *a = (struct agent){.tenant = tenant, .name = name, .in = in ? in : malloc(FRAME_CAP)};
    assert_non_null(a->in);
    open_session(a);
}

static void close_agent(struct agent *a)
{
    if (a->session)
        session_close(a->session);
    a->session = NULL;
    if (a->fd > 0)
        close(a->fd);
    free(a->in);
    *a = (struct agent){0};
}

static void start(const struct router_config *router_config)
{
    fixture_init(&f, router_config);
    f.now_ms = io_realtime_ms();
    session_config_default(&config);
}

static int setup(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close_agent(&web);
    close_agent(&db);
    fixture_done(&f);
    return 0;
}

// What the journal is asked for in a turn is done in it.
static void turn(void)
{
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    router_flush(f.router);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static void write_all(struct agent *a, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0 && !a->closed) {
        ssize_t n = send(a->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
        turn();
    }
}

static size_t encode(const struct agent_frame *frame, uint8_t *out, size_t cap)
{
    struct wire_writer w;
    wire_writer_init(&w, out, cap);
    agent_frame_write(&w, frame);
    assert_false(w.overflow);
    return w.pos;
}

static void write_frame(struct agent *a, const struct agent_frame *frame)
{
    static uint8_t out[FRAME_CAP];
    write_all(a, out, encode(frame, out, sizeof out));
}

// Reads the next frame; its views hold until the next one is read. False after about a second, or at the end.
static bool read_frame(struct agent *a, struct agent_frame *ret)
{
    memmove(a->in, a->in + a->used, a->in_len - a->used);
    a->in_len -= a->used;
    a->used = 0;
    for (int i = 0; i < 1000; i++) {
        struct agent_header h;
        struct wire_error error;
        if (a->in_len >= AGENT_HEADER_LEN && !agent_header_read(a->in, &h) &&
            a->in_len >= AGENT_HEADER_LEN + h.len_bytes) {
            a->used = AGENT_HEADER_LEN + h.len_bytes;
            assert_true(agent_frame_read(&h, a->in + AGENT_HEADER_LEN, ret, &error));
            return true;
        }
        turn();
        ssize_t n = recv(a->fd, a->in + a->in_len, FRAME_CAP - a->in_len, MSG_DONTWAIT);
        if (n == 0)
            return false;
        if (n > 0)
            a->in_len += (size_t)n;
        else
            usleep(1000);
    }
    return false;
}

static struct agent_frame expect(struct agent *a, enum agent_frame_type type)
{
    struct agent_frame frame = {0};
    if (!read_frame(a, &frame))
        fail_msg("no frame, %s expected; closed: %s", agent_frame_type_name(type), a->reason);
    assert_string_equal(agent_frame_type_name(frame.type), agent_frame_type_name(type));
    return frame;
}

static bool nothing_comes(struct agent *a)
{
    for (int i = 0; i < 10; i++)
        turn();
    uint8_t byte;
    return a->in_len == a->used && recv(a->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static void assert_closed(struct agent *a, const char *mentions)
{
    for (int i = 0; i < 2000 && !a->closed; i++) {
        turn();
        usleep(500);
    }
    assert_true(a->closed);
    if (!strstr(a->reason, mentions))
        fail_msg("closed: %s; expected: %s", a->reason, mentions);
}

static const struct agent_frame hello = {
    .type = AGENT_HELLO,
    .tag = 7,
    .hello = {
        .version_min = 1, .version_max = 9, .capabilities = 5, .software = {(const uint8_t *)"test\x01", 5}}};

static void greet(struct agent *a)
{
    write_frame(a, &hello);
    expect(a, AGENT_HELLO_OK);
}

static void connect_agent(struct agent *a, const char *tenant, const char *name)
{
    open_agent(a, tenant, name);
    greet(a);
}

static void connect_both(void)
{
    connect_agent(&web, "acme", "web");
    connect_agent(&db, "acme", "db");
}

static struct agent_frame message_frame(unsigned n, const char *to, enum message_kind kind)
{
    return (struct agent_frame){.type = AGENT_SEND,
                                .tag = n,
                                .envelope = {.kind = kind,
                                             .id = numbered_id(n),
                                             .to = text_view(to),
                                             .subject = text_view("q"),
                                             .body = text_view("hello")}};
}

static void send_to(struct agent *a, unsigned n, const char *to, enum message_kind kind)
{
    struct agent_frame frame = message_frame(n, to, kind);
    write_frame(a, &frame);
}

static void assert_receipt(struct agent *a, unsigned tag, enum receipt_code code)
{
    struct agent_frame frame = expect(a, AGENT_RECEIPT);
    assert_int_equal(frame.tag, tag);
    assert_int_equal(frame.receipt.code, code);
}

static void give_credit(struct agent *a, uint32_t n)
{
    write_frame(a, &(struct agent_frame){.type = AGENT_CREDIT, .credit = n});
}

static void answer(struct agent *a, enum agent_frame_type type, unsigned n)
{
    write_frame(a, &(struct agent_frame){.type = type, .id = numbered_id(n)});
}

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

struct answer {
    int n, rc;
    char detail[64];
    struct agent_stats stats;
};

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

// ---- messages ----

static void a_message_goes_from_one_agent_to_the_other(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    struct agent_frame frame = expect(&db, AGENT_DELIVER);
    assert_int_equal(frame.tag, 0);
    assert_true(wire_view_equals(frame.envelope.from, "acme/web"));
    assert_true(wire_view_equals(frame.envelope.body, "hello"));
}

static void deliveries_never_exceed_the_credit(void **state)
{
    (void)state;
    connect_both();
    for (unsigned i = 1; i <= 5; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        assert_receipt(&web, i, RECEIPT_ACCEPTED);
    }
    assert_true(nothing_comes(&db));
    give_credit(&db, 2);
    expect(&db, AGENT_DELIVER);
    expect(&db, AGENT_DELIVER);
    assert_true(nothing_comes(&db));
    give_credit(&db, 2);
    expect(&db, AGENT_DELIVER);
    expect(&db, AGENT_DELIVER);
    assert_true(nothing_comes(&db));
}

static void a_reply_needs_no_credit(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    send_to(&web, 1, "db", MESSAGE_CALL);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    expect(&db, AGENT_DELIVER);
    struct agent_frame reply = message_frame(2, "acme/web", MESSAGE_REPLY);
    reply.envelope.correlation = numbered_id(1);
    write_frame(&db, &reply);
    assert_receipt(&db, 2, RECEIPT_ACCEPTED);
    struct agent_frame frame = expect(&web, AGENT_DELIVER);
    assert_int_equal(frame.envelope.kind, MESSAGE_REPLY);
    assert_true(wire_view_equals(frame.envelope.from, "acme/db"));
}

static void more_credit_than_the_protocol_allows_ends_the_session(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    give_credit(&web, AGENT_CREDIT_MAX);
    assert_true(nothing_comes(&web));
    assert_false(web.closed);
    give_credit(&web, 1);
    assert_closed(&web, "credit");
}

static void defer(struct agent *a, unsigned n, uint32_t delay_ms)
{
    write_frame(a, &(struct agent_frame){.type = AGENT_DEFER, .defer = {numbered_id(n), delay_ms, false}});
}

static void assert_delivered(struct agent *a, unsigned n)
{
    struct id want = numbered_id(n), got = expect(a, AGENT_DELIVER).envelope.id;
    assert_true(id_equals(&got, &want));
}

static void what_is_deferred_comes_later_and_keeps_nothing_waiting(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 4);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    defer(&db, 1, 100);
    send_to(&web, 2, "db", MESSAGE_SEND);
    assert_delivered(&db, 2);
    assert_true(nothing_comes(&db));
    usleep(110000);
    assert_delivered(&db, 1);
    defer(&db, 1, 0);
    assert_delivered(&db, 1);
}

static void who_registers_a_service_gets_what_was_deferred_in_order(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 6);
    for (unsigned n = 1; n <= 3; n++) {
        send_to(&web, n, "db", MESSAGE_SEND);
        assert_delivered(&db, n);
        defer(&db, n, 60000 - n);
    }
    assert_true(nothing_comes(&db));
    write_frame(&db, &(struct agent_frame){.type = AGENT_REGISTER, .tag = 3, .service = text_view("s")});
    expect(&db, AGENT_RESULT);
    for (unsigned n = 1; n <= 3; n++)
        assert_delivered(&db, n);
}

static void only_what_was_tried_counts_towards_the_dead_letters(void **state)
{
    (void)state;
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.attempts_max = 2;
    start(&router_config);
    connect_both();
    give_credit(&db, 10);
    send_to(&web, 1, "db", MESSAGE_SEND);
    struct agent_frame d = {.type = AGENT_DEFER, .defer = {numbered_id(1), 1, false}};
    for (int i = 0; i < 4; i++) {
        assert_delivered(&db, 1);
        write_frame(&db, &d);
    }
    assert_delivered(&db, 1);
    d.defer.tried = true;
    write_frame(&db, &d);
    assert_delivered(&db, 1);
    write_frame(&db, &d);
    usleep(5000);
    assert_true(nothing_comes(&db));
}

static uint64_t dead_letters(void)
{
    struct router_stats s;
    router_get_stats(f.router, &s);
    return s.dead;
}

// The agent of acme/db with one message in hand, of two tries.
static void take_one_of_two(void)
{
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.attempts_max = 2;
    start(&router_config);
    connect_both();
    give_credit(&db, 2);
    send_to(&web, 1, "db", MESSAGE_SEND);
    send_to(&web, 2, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    assert_delivered(&db, 2);
}

static void come_again(void)
{
    close_agent(&db);
    connect_agent(&db, "acme", "db");
    give_credit(&db, 2);
}

static void a_message_that_ends_its_guest_is_a_dead_letter_and_the_next_one_comes(void **state)
{
    (void)state;
    take_one_of_two();
    shutdown(db.fd, SHUT_RDWR);
    assert_closed(&db, "closed the connection");
    come_again();
    assert_delivered(&db, 1); // alone
    assert_true(nothing_comes(&db));
    session_lost(db.session);
    db.session = NULL;
    assert_int_equal(dead_letters(), 1);
    come_again();
    assert_delivered(&db, 2);
}

static void who_is_told_to_end_and_what_envd_closes_does_not_count(void **state)
{
    (void)state;
    take_one_of_two();
    for (int i = 0; i < 3; i++) {
        session_excuse(db.session);
        shutdown(db.fd, SHUT_RDWR);
        assert_closed(&db, "closed the connection");
        come_again();
        assert_delivered(&db, 1);
        assert_delivered(&db, 2);
        come_again(); // session_close()
        assert_delivered(&db, 1);
        assert_delivered(&db, 2);
    }
    assert_int_equal(dead_letters(), 0);
}

// Both ways of counting at once: what was put off by its program, and not in hand, when the guest ended.
static void what_was_put_off_after_a_try_counts_when_the_session_ends(void **state)
{
    (void)state;
    take_one_of_two();
    write_frame(&db, &(struct agent_frame){.type = AGENT_DEFER, .defer = {numbered_id(1), 60000, true}});
    answer(&db, AGENT_ACK, 2);
    assert_true(nothing_comes(&db));
    session_lost(db.session);
    db.session = NULL;
    come_again();
    assert_delivered(&db, 1);
    answer(&db, AGENT_RELEASE, 1);
    assert_true(nothing_comes(&db));
    assert_int_equal(dead_letters(), 1);
}

static void what_is_deferred_can_be_acknowledged_all_the_same(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 2);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    defer(&db, 1, 20);
    answer(&db, AGENT_ACK, 1);
    defer(&db, 77, 20); // of nothing
    usleep(30000);
    assert_true(nothing_comes(&db));
    assert_false(db.closed);
}

static void a_monitored_environment_that_goes_is_told_of(void **state)
{
    (void)state;
    connect_both();
    write_frame(&web, &(struct agent_frame){.type = AGENT_MONITOR, .tag = 5, .address = text_view("db")});
    struct agent_frame r = expect(&web, AGENT_RESULT);
    assert_int_equal(r.tag, 5);
    assert_int_equal(r.receipt.code, RECEIPT_ACCEPTED);
    router_environment_went(f.router, "acme", "db", AGENT_GONE_CERTAIN, "stopped: \xc3");
    r = expect(&web, AGENT_GONE);
    assert_int_equal(r.tag, 0);
    assert_true(wire_view_equals(r.gone.address, "db"));
    assert_true(wire_view_equals(r.gone.reason, "stopped: ?"));
    write_frame(&web, &(struct agent_frame){.type = AGENT_UNMONITOR, .tag = 6, .address = text_view("db")});
    assert_int_equal(expect(&web, AGENT_RESULT).receipt.code, RECEIPT_ACCEPTED);
    router_environment_went(f.router, "acme", "db", AGENT_GONE_CERTAIN, "stopped");
    assert_true(nothing_comes(&web));
}

static void what_is_released_is_delivered_again(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 3);
    send_to(&web, 1, "db", MESSAGE_SEND);
    expect(&db, AGENT_DELIVER);
    answer(&db, AGENT_RELEASE, 1);
    expect(&db, AGENT_DELIVER);
    answer(&db, AGENT_ACK, 1);
    answer(&db, AGENT_RELEASE, 1); // of nothing: ignored
    assert_true(nothing_comes(&db));
    assert_false(db.closed);
}

static void what_was_not_acknowledged_comes_again_on_the_next_session(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 10);
    for (unsigned i = 1; i <= 3; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        expect(&db, AGENT_DELIVER);
    }
    answer(&db, AGENT_ACK, 2);
    close_agent(&db);
    connect_agent(&db, "acme", "db");
    assert_true(nothing_comes(&db)); // the credit went with the session
    give_credit(&db, 10);
    struct agent_frame frame = expect(&db, AGENT_DELIVER);
    const struct id one = numbered_id(1), three = numbered_id(3);
    assert_true(id_equals(&frame.envelope.id, &one));
    frame = expect(&db, AGENT_DELIVER);
    assert_true(id_equals(&frame.envelope.id, &three));
}

static void a_large_message_arrives_whole(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    uint8_t *body = malloc(ENVELOPE_BODY_DEFAULT);
    assert_non_null(body);
    for (size_t i = 0; i < ENVELOPE_BODY_DEFAULT; i++)
        body[i] = (uint8_t)(i * 31 >> 3);
    struct agent_frame frame = message_frame(1, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, ENVELOPE_BODY_DEFAULT};
    write_frame(&web, &frame);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    frame = expect(&db, AGENT_DELIVER);
    assert_int_equal(frame.envelope.body.len, ENVELOPE_BODY_DEFAULT);
    assert_memory_equal(frame.envelope.body.data, body, ENVELOPE_BODY_DEFAULT);
    free(body);
}

static void a_message_over_the_limit_is_refused_and_the_session_goes_on(void **state)
{
    (void)state;
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.body_max_bytes = 1000;
    start(&router_config);
    connect_agent(&web, "acme", "web");
    uint8_t *body = calloc(1, 300000);
    assert_non_null(body);
    struct agent_frame frame = message_frame(1, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, 300000}; // more than is ever taken in
    write_frame(&web, &frame);
    const struct id one = numbered_id(1);
    frame = expect(&web, AGENT_RECEIPT);
    assert_int_equal(frame.tag, 1);
    assert_int_equal(frame.receipt.code, RECEIPT_TOO_LARGE);
    assert_true(id_equals(&frame.receipt.id, &one));
    frame = message_frame(2, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, 1001}; // taken in, and refused
    write_frame(&web, &frame);
    assert_receipt(&web, 2, RECEIPT_TOO_LARGE);
    send_to(&web, 3, "db", MESSAGE_SEND);
    assert_receipt(&web, 3, RECEIPT_ACCEPTED);
    free(body);
}

static void services_are_registered_and_end_with_the_session(void **state)
{
    (void)state;
    connect_both();
    write_frame(&db, &(struct agent_frame){.type = AGENT_REGISTER, .tag = 4, .service = text_view("query")});
    struct agent_frame frame = expect(&db, AGENT_RESULT);
    assert_int_equal(frame.tag, 4);
    assert_int_equal(frame.receipt.code, RECEIPT_ACCEPTED);
    send_to(&web, 1, ":query", MESSAGE_SEND);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    write_frame(&db,
                &(struct agent_frame){.type = AGENT_UNREGISTER, .tag = 5, .service = text_view("nothing")});
    assert_int_equal(expect(&db, AGENT_RESULT).receipt.code, RECEIPT_NO_SUCH_ENVIRONMENT);
    close_agent(&db);
    send_to(&web, 2, ":query", MESSAGE_SEND);
    assert_receipt(&web, 2, RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void the_clock_is_told(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    write_frame(&web, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 6});
    struct agent_frame frame = expect(&web, AGENT_CLOCK_IS);
    assert_int_equal(frame.tag, 6);
    assert_true(frame.realtime_ns / 1000000 >= f.now_ms);
}

// ---- floods ----

// Writes frames until the socket takes no more. How many whole ones went in; a partial one is finished by
// *rest.
static unsigned flood(struct agent *a, unsigned first, uint8_t *rest, size_t *rest_len)
{
    uint8_t out[256];
    unsigned n = 0;
    for (*rest_len = 0; *rest_len == 0; n++) {
        struct agent_frame frame = message_frame(first + n, "db", MESSAGE_SEND);
        size_t len = encode(&frame, out, sizeof out);
        ssize_t written = send(a->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0)
            return n;
        if ((size_t)written < len) {
            *rest_len = len - (size_t)written;
            memcpy(rest, out + written, *rest_len);
        }
    }
    return n;
}

static void an_agent_that_does_not_read_is_not_read_from_either(void **state)
{
    (void)state;
    config.out_max_bytes = 8192;
    connect_agent(&web, "acme", "web");
    uint8_t rest[256];
    size_t rest_len = 0;
    unsigned sent = 0;
    for (int stalled = 0; stalled < 50;) {
        unsigned n = rest_len == 0 ? flood(&web, sent + 1, rest, &rest_len) : 0;
        if (rest_len > 0 && send(web.fd, rest, rest_len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)rest_len)
            rest_len = 0;
        sent += n;
        stalled = n ? 0 : stalled + 1;
        turn();
        struct session_stats stats;
        session_get_stats(web.session, &stats);
        assert_true(stats.out_queued_bytes < 8192 + 600);
    }
    assert_true(sent > 100);
    struct session_stats stats;
    session_get_stats(web.session, &stats);
    assert_true(stats.frames_in < sent); // it has stopped reading
    write_all(&web, "", 0);
    // A refusal needs no disk, and may overtake the receipts of what is stored.
    static bool seen[1u << 16];
    memset(seen, 0, sizeof seen);
    for (unsigned receipts = 0; receipts < sent - (rest_len > 0); receipts++) {
        struct agent_frame frame = expect(&web, AGENT_RECEIPT);
        assert_in_range(frame.tag, 1, sent);
        assert_true(sent < sizeof seen && !seen[frame.tag]);
        seen[frame.tag] = true;
    }
}

static void a_flooding_agent_leaves_others_their_turn(void **state)
{
    (void)state;
    config.frames_per_round = 4;
    connect_both();
    uint8_t rest[256];
    size_t rest_len;
    unsigned sent = flood(&web, 1, rest, &rest_len);
    assert_true(sent > 100);
    uint8_t out[256];
    struct agent_frame frame = message_frame(1, "web", MESSAGE_SEND);
    size_t len = encode(&frame, out, sizeof out);
    assert_int_equal(send(db.fd, out, len, 0), len);
    for (int rounds = 0; rounds < 3; rounds++) // of the loop: look at the sockets, serve who is ready
        event_base_loop(f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    struct session_stats stats;
    session_get_stats(db.session, &stats);
    assert_int_equal(stats.frames_in, 2); // HELLO, and its message is served; the receipt waits for the disk
    session_get_stats(web.session, &stats);
    assert_true(stats.frames_in <= 1 + 3 * 4); // while most of the flood still waits
}

static void a_receiver_that_does_not_read_costs_no_more_than_its_cap(void **state)
{
    (void)state;
    config.out_max_bytes = 8192;
    connect_both();
    give_credit(&db, 1000);
    for (unsigned i = 1; i <= 1000; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        assert_receipt(&web, i, RECEIPT_ACCEPTED);
        struct session_stats stats;
        session_get_stats(db.session, &stats);
        assert_true(stats.out_queued_bytes < 8192 + 600);
    }
    for (unsigned i = 1; i <= 1000; i++) {
        const struct id id = numbered_id(i);
        struct agent_frame frame = expect(&db, AGENT_DELIVER);
        assert_true(id_equals(&frame.envelope.id, &id));
    }
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
        TEST(a_message_goes_from_one_agent_to_the_other),
        TEST(deliveries_never_exceed_the_credit),
        TEST(a_reply_needs_no_credit),
        TEST(more_credit_than_the_protocol_allows_ends_the_session),
        TEST(what_is_deferred_comes_later_and_keeps_nothing_waiting),
        TEST(who_registers_a_service_gets_what_was_deferred_in_order),
        TEST(only_what_was_tried_counts_towards_the_dead_letters),
        TEST(a_message_that_ends_its_guest_is_a_dead_letter_and_the_next_one_comes),
        TEST(who_is_told_to_end_and_what_envd_closes_does_not_count),
        TEST(what_was_put_off_after_a_try_counts_when_the_session_ends),
        TEST(what_is_deferred_can_be_acknowledged_all_the_same),
        TEST(a_monitored_environment_that_goes_is_told_of),
        TEST(what_is_released_is_delivered_again),
        TEST(what_was_not_acknowledged_comes_again_on_the_next_session),
        TEST(a_large_message_arrives_whole),
        TEST(a_message_over_the_limit_is_refused_and_the_session_goes_on),
        TEST(services_are_registered_and_end_with_the_session),
        TEST(the_clock_is_told),
        TEST(an_agent_that_does_not_read_is_not_read_from_either),
        TEST(a_flooding_agent_leaves_others_their_turn),
        TEST(a_receiver_that_does_not_read_costs_no_more_than_its_cap),
    };
    return cmocka_run_group_tests_name("route/session", tests, NULL, NULL);
}
