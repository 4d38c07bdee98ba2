// The in-memory world around the agent (fake.h).
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static struct fake_conn *conn(struct fake *f, int who)
{
    return who == FAKE_HOST ? &f->host : &f->clients[who];
}

static void pipe_add(struct pipe *p, const void *data, size_t n)
{
    if (p->cap - p->len < n) {
        p->cap = p->len + n + 4096;
        p->data = realloc(p->data, p->cap);
        assert_non_null(p->data);
    }
    if (n > 0)
        memcpy(p->data + p->len, data, n);
    p->len += n;
}

static void pipe_done(struct pipe *p, size_t n)
{
    p->done += n;
    if (p->done == p->len)
        p->done = p->len = 0;
}

// ---- ops ----

static void *op_allocate(void *ctx, size_t size_bytes)
{
    struct fake *f = ctx;
    if (f->n_fail > 0 && f->n_fail--)
        return NULL;
    for (size_t i = 0; f->allocated < f->memory_max && i < sizeof f->blocks / sizeof f->blocks[0]; i++) {
        if (f->blocks[i])
            continue;
        f->allocated++;
        return f->blocks[i] = malloc(size_bytes);
    }
    return NULL;
}

static void op_deallocate(void *ctx, void *p)
{
    struct fake *f = ctx;
    size_t i = 0;
    while (f->blocks[i] != p)
        assert_true(++i < sizeof f->blocks / sizeof f->blocks[0]);
    f->blocks[i] = NULL;
    f->allocated--;
    free(p);
}

static int op_connect_host(void *ctx)
{
    struct fake *f = ctx;
    f->n_connects++;
    return f->connect_result;
}

static void op_close_host(void *ctx)
{
    struct fake *f = ctx;
    f->host.closed = true;
    pipe_done(&f->host.said, f->host.said.len - f->host.said.done);
}

static size_t write_conn(struct fake_conn *c, const void *data, size_t n)
{
    size_t taken = n < c->room ? n : c->room;
    c->room -= taken;
    pipe_add(&c->heard, data, taken);
    return taken;
}

static size_t op_write_host(void *ctx, const void *data, size_t n)
{
    struct fake *f = ctx;
    assert_false(f->host.closed);
    return write_conn(&f->host, data, n);
}

static size_t op_write_client(void *ctx, int client, const void *data, size_t n)
{
    struct fake *f = ctx;
    assert_false(f->clients[client].closed);
    return write_conn(&f->clients[client], data, n);
}

static void op_close_client(void *ctx, int client)
{
    struct fake *f = ctx;
    assert_false(f->clients[client].closed);
    f->clients[client].closed = true;
    pipe_done(&f->clients[client].said, f->clients[client].said.len - f->clients[client].said.done);
}

static uint64_t op_monotonic_ns(void *ctx)
{
    return ((struct fake *)ctx)->now_ns;
}

static uint64_t op_realtime_ns(void *ctx)
{
    return ((struct fake *)ctx)->now_ns + 1600000000000 * MS;
}

static void op_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 0x5a, n);
}

static void op_set_timer(void *ctx, uint64_t monotonic_ns)
{
    ((struct fake *)ctx)->timer_ns = monotonic_ns;
}

static void op_shutdown(void *ctx, uint32_t grace_ms, const char *reason)
{
    struct fake *f = ctx;
    f->shutdown_grace_ms = grace_ms;
    strncpy(f->shutdown_reason, reason, sizeof f->shutdown_reason - 1);
}

static void op_log(void *ctx, const char *text)
{
    strncpy(((struct fake *)ctx)->last_log, text, sizeof((struct fake *)ctx)->last_log - 1);
}

static enum receipt_code op_configure(void *ctx, const struct agent_configure *c, const char **ret_detail)
{
    struct fake *f = ctx;
    f->configured = *c;
    *ret_detail = "noted";
    return RECEIPT_ACCEPTED;
}

static enum receipt_code op_open_session(void *ctx, const struct id *token, enum agent_session_kind kind,
                                         const char **ret_detail)
{
    struct fake *f = ctx;
    f->opened = *token;
    f->opened_kind = kind;
    *ret_detail = "too many";
    return RECEIPT_RATE_LIMITED;
}

static void op_stats(void *ctx, struct agent_stats *ret)
{
    (void)ctx;
    *ret = (struct agent_stats){.mem_total = 1, .uptime_ns = 2};
}

static void op_set_clock(void *ctx, uint64_t realtime_ns)
{
    ((struct fake *)ctx)->clock_ns = realtime_ns;
}

#define PLAIN_OPS                                                                                            \
    .allocate = op_allocate, .deallocate = op_deallocate, .connect_host = op_connect_host,                   \
    .close_host = op_close_host, .write_host = op_write_host, .write_client = op_write_client,               \
    .close_client = op_close_client, .monotonic_ns = op_monotonic_ns, .realtime_ns = op_realtime_ns,         \
    .random = op_random, .set_timer = op_set_timer, .shutdown = op_shutdown, .log = op_log

static const struct agent_ops able_ops = {
    PLAIN_OPS,
    .capabilities = AGENT_CAP_SESSION | AGENT_CAP_CONFIGURE | AGENT_CAP_STATS | AGENT_CAP_CLOCK,
    .configure = op_configure,
    .open_session = op_open_session,
    .stats = op_stats,
    .set_clock = op_set_clock,
};

static const struct agent_ops ops = {PLAIN_OPS};

// ---- the world ----

static struct fake *new_with(const struct agent_ops *with)
{
    struct fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->now_ns = 1000000 * MS;
    f->timer_ns = AGENT_TIMER_OFF;
    f->memory_max = SIZE_MAX;
    f->host.room = SIZE_MAX;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++) {
        f->clients[i].room = SIZE_MAX;
        f->clients[i].closed = true;
    }
    f->agent = agent_new(with, f, "fake");
    assert_non_null(f->agent);
    return f;
}

struct fake *fake_new(void)
{
    return new_with(&ops);
}

struct fake *fake_new_able(void)
{
    return new_with(&able_ops);
}

static void conn_free(struct fake_conn *c)
{
    free(c->said.data);
    free(c->heard.data);
    free(c->frame);
}

void fake_free(struct fake *f)
{
    agent_free(f->agent);
    assert_int_equal(f->allocated, 0);
    conn_free(&f->host);
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        conn_free(&f->clients[i]);
    free(f);
}

void fake_link_up(struct fake *f)
{
    agent_start(f->agent);
    agent_host_up(f->agent);
    fake_expect(f, FAKE_HOST, AGENT_HELLO);
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){.type = AGENT_HELLO_OK,
                                   .hello_ok = {.version = AGENT_VERSION,
                                                .capabilities = f->host_can,
                                                .tenant = fake_view("acme"),
                                                .name = fake_view("web"),
                                                .body_max = ENVELOPE_BODY_DEFAULT,
                                                .realtime_ns = 1700000000000 * MS}});
}

void fake_program(struct fake *f, int client, uint32_t credit)
{
    f->clients[client].closed = false;
    assert_true(agent_client_open(f->agent, client));
    fake_say(f, client,
             &(struct agent_frame){.type = AGENT_HELLO, .hello = {.version_min = 1, .version_max = 1}});
    fake_expect(f, client, AGENT_HELLO_OK);
    if (credit == 0)
        return;
    fake_say(f, client, &(struct agent_frame){.type = AGENT_CREDIT, .credit = credit});
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
}

void fake_offer(struct fake *f)
{
    for (int who = FAKE_HOST; who < AGENT_CLIENTS_MAX; who++) {
        struct fake_conn *c = conn(f, who);
        while (
            c->said.len > c->said.done && !c->closed &&
            (who == FAKE_HOST ? agent_host_wants_input(f->agent) : agent_client_wants_input(f->agent, who))) {
            // An exact copy, so that ASan sees a read past what is there.
            size_t n = c->said.len - c->said.done;
            uint8_t *exact = malloc(n);
            assert_non_null(exact);
            memcpy(exact, c->said.data + c->said.done, n);
            size_t taken = who == FAKE_HOST ? agent_host_input(f->agent, exact, n)
                                            : agent_client_input(f->agent, who, exact, n);
            free(exact);
            assert_true(taken <= n);
            if (!c->closed)
                pipe_done(&c->said, taken);
            if (taken == 0) // who wants input takes some, or stops wanting it
                assert_false(who == FAKE_HOST ? agent_host_wants_input(f->agent)
                                              : agent_client_wants_input(f->agent, who));
        }
    }
}

void fake_say_bytes(struct fake *f, int who, const void *data, size_t n)
{
    pipe_add(&conn(f, who)->said, data, n);
    fake_offer(f);
}

void fake_say(struct fake *f, int who, const struct agent_frame *frame)
{
    size_t n = agent_frame_size(frame);
    uint8_t *raw = malloc(n);
    struct wire_writer w;
    assert_non_null(raw);
    wire_writer_init(&w, raw, n);
    agent_frame_write(&w, frame);
    assert_false(w.overflow);
    fake_say_bytes(f, who, raw, n);
    free(raw);
}

struct agent_frame fake_expect(struct fake *f, int who, enum agent_frame_type type)
{
    struct fake_conn *c = conn(f, who);
    struct agent_header h;
    struct agent_frame frame;
    struct wire_error error;
    if (c->heard.len - c->heard.done < AGENT_HEADER_LEN)
        fail_msg("%d got no %s", who, agent_frame_type_name(type));
    assert_null(agent_header_read(c->heard.data + c->heard.done, &h));
    size_t n = AGENT_HEADER_LEN + h.len_bytes;
    assert_true(c->heard.len - c->heard.done >= n);
    free(c->frame);
    c->frame = malloc(n);
    assert_non_null(c->frame);
    memcpy(c->frame, c->heard.data + c->heard.done, n);
    pipe_done(&c->heard, n);
    if (!agent_frame_read(&h, c->frame + AGENT_HEADER_LEN, &frame, &error))
        fail_msg("%d got a malformed %s: %s", who, agent_frame_type_name(h.type), error.what);
    if (h.type != type)
        fail_msg("%d got %s instead of %s", who, agent_frame_type_name(h.type), agent_frame_type_name(type));
    return frame;
}

void fake_expect_nothing(struct fake *f, int who)
{
    struct fake_conn *c = conn(f, who);
    struct agent_header h;
    if (c->heard.len == c->heard.done)
        return;
    agent_header_read(c->heard.data + c->heard.done, &h);
    fail_msg("%d got %s instead of nothing", who, agent_frame_type_name(h.type));
}

void fake_pass(struct fake *f, uint64_t ms)
{
    uint64_t until_ns = f->now_ns + ms * MS;
    for (int fired = 0; f->timer_ns <= until_ns; fired++) {
        assert_true(fired < 10000); // a timer that never advances
        f->now_ns = f->timer_ns > f->now_ns ? f->timer_ns : f->now_ns;
        f->timer_ns = AGENT_TIMER_OFF;
        agent_timer(f->agent);
    }
    f->now_ns = until_ns;
    fake_offer(f);
}

void fake_hang_up(struct fake *f, int who)
{
    struct fake_conn *c = conn(f, who);
    pipe_done(&c->said, c->said.len - c->said.done);
    if (who == FAKE_HOST) {
        agent_host_down(f->agent);
    } else {
        c->closed = true;
        agent_client_closed(f->agent, who);
    }
    fake_offer(f);
}

void fake_give_room(struct fake *f, int who, size_t n)
{
    conn(f, who)->room = n;
    if (who == FAKE_HOST)
        agent_host_writable(f->agent);
    else
        agent_client_writable(f->agent, who);
    fake_offer(f);
}

struct wire_view fake_view(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

struct id fake_id(uint8_t n)
{
    return (struct id){.bytes = {[0] = 0xab, [15] = n}};
}

struct agent_frame fake_message(enum agent_frame_type type, enum message_kind kind, uint8_t id,
                                const char *to)
{
    return (struct agent_frame){.type = type,
                                .envelope = {.kind = kind,
                                             .id = fake_id(id),
                                             .from = fake_view(type == AGENT_DELIVER ? "acme/db" : ""),
                                             .to = fake_view(to),
                                             .subject = fake_view("test")}};
}
