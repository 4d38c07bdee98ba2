// Agents that a test plays on real socket pairs: what tests of sessions write and read as one. Called by
// session_*_test.c.
#include "agents.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"

#define FRAME_CAP (2u << 20)

struct fixture f;
struct session_config config;
struct agent web, db;

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

const struct session_cb callbacks = {.on_ready = on_ready, .on_closed = on_closed};

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

void open_agent(struct agent *a, const char *tenant, const char *name)
{
    uint8_t *in = a->in;
    *a = (struct agent){.tenant = tenant, .name = name, .in = in ? in : malloc(FRAME_CAP)};
    assert_non_null(a->in);
    open_session(a);
}

void close_agent(struct agent *a)
{
    if (a->session)
        session_close(a->session);
    a->session = NULL;
    if (a->fd > 0)
        close(a->fd);
    free(a->in);
    *a = (struct agent){0};
}

void start(const struct router_config *router_config)
{
    fixture_init(&f, router_config);
    f.now_ms = io_realtime_ms();
    session_config_default(&config);
}

int setup(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    close_agent(&web);
    close_agent(&db);
    fixture_done(&f);
    return 0;
}

void turn(void)
{
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    router_flush(f.router);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
}

void write_all(struct agent *a, const void *data, size_t len)
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

size_t encode(const struct agent_frame *frame, uint8_t *out, size_t cap)
{
    struct wire_writer w;
    wire_writer_init(&w, out, cap);
    agent_frame_write(&w, frame);
    assert_false(w.overflow);
    return w.pos;
}

void write_frame(struct agent *a, const struct agent_frame *frame)
{
    static uint8_t out[FRAME_CAP];
    write_all(a, out, encode(frame, out, sizeof out));
}

bool read_frame(struct agent *a, struct agent_frame *ret)
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

struct agent_frame expect(struct agent *a, enum agent_frame_type type)
{
    struct agent_frame frame = {0};
    if (!read_frame(a, &frame))
        fail_msg("no frame, %s expected; closed: %s", agent_frame_type_name(type), a->reason);
    assert_string_equal(agent_frame_type_name(frame.type), agent_frame_type_name(type));
    return frame;
}

bool nothing_comes(struct agent *a)
{
    for (int i = 0; i < 10; i++)
        turn();
    uint8_t byte;
    return a->in_len == a->used && recv(a->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

void assert_closed(struct agent *a, const char *mentions)
{
    for (int i = 0; i < 2000 && !a->closed; i++) {
        turn();
        usleep(500);
    }
    assert_true(a->closed);
    if (!strstr(a->reason, mentions))
        fail_msg("closed: %s; expected: %s", a->reason, mentions);
}

const struct agent_frame hello = {
    .type = AGENT_HELLO,
    .tag = 7,
    .hello = {
        .version_min = 1, .version_max = 9, .capabilities = 5, .software = {(const uint8_t *)"test\x01", 5}}};

void greet(struct agent *a)
{
    write_frame(a, &hello);
    expect(a, AGENT_HELLO_OK);
}

void connect_agent(struct agent *a, const char *tenant, const char *name)
{
    open_agent(a, tenant, name);
    greet(a);
}

void connect_both(void)
{
    connect_agent(&web, "acme", "web");
    connect_agent(&db, "acme", "db");
}

struct agent_frame message_frame(unsigned n, const char *to, enum message_kind kind)
{
    return (struct agent_frame){.type = AGENT_SEND,
                                .tag = n,
                                .envelope = {.kind = kind,
                                             .id = numbered_id(n),
                                             .to = text_view(to),
                                             .subject = text_view("q"),
                                             .body = text_view("hello")}};
}

void send_to(struct agent *a, unsigned n, const char *to, enum message_kind kind)
{
    struct agent_frame frame = message_frame(n, to, kind);
    write_frame(a, &frame);
}

void assert_receipt(struct agent *a, unsigned tag, enum receipt_code code)
{
    struct agent_frame frame = expect(a, AGENT_RECEIPT);
    assert_int_equal(frame.tag, tag);
    assert_int_equal(frame.receipt.code, code);
}

void give_credit(struct agent *a, uint32_t n)
{
    write_frame(a, &(struct agent_frame){.type = AGENT_CREDIT, .credit = n});
}
