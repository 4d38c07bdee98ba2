// The world of the fuzz targets (harness.h).
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static struct peer *peer(struct harness *h, int who)
{
    return who == HOST ? &h->host : &h->programs[who];
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

struct agent_frame harness_message(enum agent_frame_type type, enum message_kind kind, const char *to,
                                   uint8_t n)
{
    return (struct agent_frame){.type = type,
                                .envelope = {.kind = kind,
                                             .id = {.bytes = {0xab, [15] = n}},
                                             .from = view(type == AGENT_DELIVER ? "acme/db" : ""),
                                             .to = view(to),
                                             .subject = view("test")}};
}

// ---- what the agent writes ----

static void answer(struct harness *h, const struct asked *asked, enum receipt_code code)
{
    struct agent_frame f = {.type = AGENT_RESULT, .tag = asked->tag, .receipt = {.code = code}};
    switch (asked->type) {
    case AGENT_SEND:
        f.type = AGENT_RECEIPT;
        f.receipt.id = asked->id;
        break;
    case AGENT_REGISTER:
    case AGENT_UNREGISTER:
    case AGENT_MONITOR:
    case AGENT_UNMONITOR:
        break;
    case AGENT_CLOCK:
        f = (struct agent_frame){.type = AGENT_CLOCK_IS, .tag = asked->tag, .realtime_ns = 5};
        break;
    default:
        return;
    }
    harness_say(h, HOST, &f);
}

static void ask(struct harness *h, const struct agent_frame *f)
{
    struct asked *asked = &h->asked[h->n_asked++ % ASKED_MAX];
    *asked = (struct asked){.type = f->type, .tag = f->tag};
    if (f->type == AGENT_SEND)
        asked->id = f->envelope.id;
    if (h->polite_host)
        answer(h, asked, RECEIPT_ACCEPTED);
}

const struct asked *harness_asked(const struct harness *h, size_t ago)
{
    return &h->asked[(h->n_asked - 1 - ago) % ASKED_MAX];
}

void harness_answer(struct harness *h, size_t ago, enum receipt_code code)
{
    answer(h, harness_asked(h, ago), code);
}

// Beyond what was asked for: replies to calls, and messages as far as there is credit for them. Not for ever:
// what nobody takes comes back, and credit with it.
static void serve_as_host(struct harness *h, const struct agent_frame *f)
{
    struct agent_frame reply = harness_message(AGENT_DELIVER, MESSAGE_REPLY, "acme/web", 200);
    if (f->type == AGENT_SEND && f->envelope.kind == MESSAGE_CALL) {
        reply.envelope.correlation = f->envelope.id;
        harness_say(h, HOST, &reply);
    }
    for (uint8_t i = 0; f->type == AGENT_CREDIT && i < 4 && i < f->credit && h->n_deliveries < 64; i++) {
        h->n_deliveries++;
        struct agent_frame m = harness_message(AGENT_DELIVER, MESSAGE_SEND, i % 2 ? "web" : ":db", i);
        harness_say(h, HOST, &m);
    }
}

static bool for_host(enum agent_frame_type type)
{
    static const bool allowed[AGENT_FRAME_TYPE_COUNT] = {
        [AGENT_HELLO] = true,  [AGENT_SEND] = true,     [AGENT_ACK] = true,        [AGENT_RELEASE] = true,
        [AGENT_CREDIT] = true, [AGENT_REGISTER] = true, [AGENT_UNREGISTER] = true, [AGENT_CLOCK] = true,
        [AGENT_PONG] = true,   [AGENT_MONITOR] = true,  [AGENT_UNMONITOR] = true,  [AGENT_DEFER] = true,
        [AGENT_RESULT] = true, [AGENT_STATS_IS] = true,
    };
    return allowed[type];
}

static bool for_program(enum agent_frame_type type)
{
    return type == AGENT_RESULT || !for_host(type);
}

static void hear_as_host(struct harness *h, const struct agent_frame *f)
{
    static const bool is_question[AGENT_FRAME_TYPE_COUNT] = {
        [AGENT_SEND] = true,    [AGENT_REGISTER] = true,  [AGENT_UNREGISTER] = true,
        [AGENT_MONITOR] = true, [AGENT_UNMONITOR] = true, [AGENT_CLOCK] = true,
    };
    EXPECT(for_host(f->type));
    if (f->type == AGENT_RESULT || f->type == AGENT_STATS_IS) // nobody but the guest itself answers the host
        EXPECT(--h->owed[f->type] >= 0);
    EXPECT(f->type != AGENT_CREDIT || (f->credit > 0 && f->credit <= AGENT_DELIVERIES_MAX));
    if (is_question[f->type])
        ask(h, f);
    if (h->polite_host)
        serve_as_host(h, f);
}

static void hear_as_program(struct harness *h, int who, const struct agent_frame *f)
{
    EXPECT(for_program(f->type));
    if (h->polite_programs && f->type == AGENT_DELIVER)
        harness_say(h, who, &(struct agent_frame){.type = AGENT_ACK, .id = f->envelope.id});
}

static void on_frame(struct harness *h, int who, const struct agent_header *header)
{
    struct peer *p = peer(h, who);
    struct agent_frame f;
    struct wire_error error;
    EXPECT(agent_frame_read(header, p->heard + AGENT_HEADER_LEN, &f, &error));
    if (who == HOST)
        hear_as_host(h, &f);
    else
        hear_as_program(h, who, &f);
}

static size_t hear(struct harness *h, int who, const uint8_t *data, size_t n)
{
    struct peer *p = peer(h, who);
    EXPECT(p->connected && n > 0);
    size_t taken = n < p->room ? n : p->room;
    p->room -= taken;
    for (size_t left = taken; left > 0;) {
        struct agent_header header = {0};
        size_t need = AGENT_HEADER_LEN;
        if (p->heard_len >= AGENT_HEADER_LEN) {
            EXPECT(!agent_header_read(p->heard, &header));
            need += header.len_bytes;
        }
        size_t take = left < need - p->heard_len ? left : need - p->heard_len;
        memcpy(p->heard + p->heard_len, data, take);
        p->heard_len += take;
        data += take;
        left -= take;
        if (p->heard_len < AGENT_HEADER_LEN)
            continue;
        EXPECT(!agent_header_read(p->heard, &header));
        if (p->heard_len < AGENT_HEADER_LEN + header.len_bytes)
            continue;
        on_frame(h, who, &header);
        p->heard_len = 0;
    }
    return taken;
}

// ---- ops ----

static void *op_allocate(void *ctx, size_t size_bytes)
{
    struct harness *h = ctx;
    if (h->n_blocks >= h->blocks_max)
        return NULL;
    h->n_blocks++;
    return malloc(size_bytes);
}

static void op_deallocate(void *ctx, void *p)
{
    EXPECT(p);
    ((struct harness *)ctx)->n_blocks--;
    free(p);
}

static int op_connect_host(void *ctx)
{
    struct harness *h = ctx;
    EXPECT(!h->host.connected && !h->connect_wanted);
    h->connect_wanted = true;
    return 0;
}

static void peer_reset(struct peer *p)
{
    p->connected = false;
    p->said_len = p->heard_len = 0;
}

// Answers that were on their way are lost.
static void host_reset(struct harness *h)
{
    peer_reset(&h->host);
    memset(h->owed, 0, sizeof h->owed);
}

static void op_close_host(void *ctx)
{
    struct harness *h = ctx;
    EXPECT(h->host.connected || h->connect_wanted);
    h->connect_wanted = false;
    host_reset(h);
}

static size_t op_write_host(void *ctx, const void *data, size_t n)
{
    return hear(ctx, HOST, data, n);
}

static size_t op_write_client(void *ctx, int client, const void *data, size_t n)
{
    return hear(ctx, client, data, n);
}

static void op_close_client(void *ctx, int client)
{
    struct harness *h = ctx;
    EXPECT(h->programs[client].connected);
    peer_reset(&h->programs[client]);
}

static uint64_t op_monotonic_ns(void *ctx)
{
    return ((struct harness *)ctx)->now_ns;
}

static uint64_t op_realtime_ns(void *ctx)
{
    return ((struct harness *)ctx)->now_ns + 1600000000000 * MS;
}

static void op_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    memset(out, 0x5a, n);
}

static void op_set_timer(void *ctx, uint64_t monotonic_ns)
{
    ((struct harness *)ctx)->timer_ns = monotonic_ns;
}

static void op_shutdown(void *ctx, uint32_t grace_ms, const char *reason)
{
    (void)ctx;
    (void)grace_ms;
    EXPECT(strlen(reason) <= AGENT_DETAIL_MAX);
}

static void op_log(void *ctx, const char *text)
{
    (void)ctx;
    EXPECT(!strchr(text, '\n'));
}

static bool can(const struct harness *h, uint32_t capability)
{
    return h->ops.capabilities & capability;
}

static enum receipt_code op_configure(void *ctx, const struct agent_configure *c, const char **ret_detail)
{
    struct harness *h = ctx;
    EXPECT(can(h, AGENT_CAP_CONFIGURE));
    EXPECT(c->prefix <= 32 && name_valid((const char *)c->hostname.data, c->hostname.len));
    *ret_detail = c->ipv4 == 0 ? "there is no address" : "";
    h->owed[AGENT_RESULT]++;
    return c->ipv4 == 0 ? RECEIPT_INVALID : RECEIPT_ACCEPTED;
}

static enum receipt_code op_open_session(void *ctx, const struct id *token, enum agent_session_kind kind,
                                         const char **ret_detail)
{
    static char longer_than_fits[AGENT_DETAIL_MAX + 100];
    struct harness *h = ctx;
    EXPECT(can(h, AGENT_CAP_SESSION) && kind < AGENT_SESSION_KIND_COUNT);
    memset(longer_than_fits, 'x', sizeof longer_than_fits - 1);
    *ret_detail = token->bytes[0] & 1 ? longer_than_fits : "";
    h->owed[AGENT_RESULT]++;
    return token->bytes[0] & 1 ? RECEIPT_RATE_LIMITED : RECEIPT_ACCEPTED;
}

static void op_stats(void *ctx, struct agent_stats *ret)
{
    struct harness *h = ctx;
    EXPECT(can(h, AGENT_CAP_STATS));
    *ret = (struct agent_stats){.mem_total = UINT64_MAX, .uptime_ns = h->now_ns};
    h->owed[AGENT_STATS_IS]++;
}

static void op_set_clock(void *ctx, uint64_t realtime_ns)
{
    struct harness *h = ctx;
    (void)realtime_ns;
    EXPECT(can(h, AGENT_CAP_CLOCK) && h->host.connected);
}

static const struct agent_ops ops = {
    .allocate = op_allocate,
    .deallocate = op_deallocate,
    .connect_host = op_connect_host,
    .close_host = op_close_host,
    .write_host = op_write_host,
    .write_client = op_write_client,
    .close_client = op_close_client,
    .monotonic_ns = op_monotonic_ns,
    .realtime_ns = op_realtime_ns,
    .random = op_random,
    .set_timer = op_set_timer,
    .shutdown = op_shutdown,
    .log = op_log,
    .configure = op_configure,
    .open_session = op_open_session,
    .stats = op_stats,
    .set_clock = op_set_clock,
};

// ---- the world ----

void harness_init(struct harness *h, uint32_t capabilities)
{
    for (int who = HOST; who < PROGRAMS; who++) {
        struct peer *p = peer(h, who);
        uint8_t *heard = p->heard ? p->heard : malloc(HEARD_CAP); // kept from input to input: it is large
        EXPECT(heard);
        p->connected = false;
        p->room = SIZE_MAX;
        p->said_len = p->heard_len = 0;
        p->heard = heard;
    }
    h->connect_wanted = h->polite_host = h->polite_programs = false;
    memset(h->asked, 0, sizeof h->asked);
    memset(h->owed, 0, sizeof h->owed);
    h->n_asked = 0;
    h->n_deliveries = 0;
    h->n_blocks = 0;
    h->blocks_max = 10000;
    h->now_ns = 1000000 * MS;
    h->timer_ns = AGENT_TIMER_OFF;
    h->ops = ops;
    h->ops.capabilities = capabilities;
    h->agent = agent_new(&h->ops, h, "fuzz");
    agent_start(h->agent);
}

void harness_done(struct harness *h)
{
    agent_free(h->agent);
    EXPECT(h->n_blocks == 0);
    EXPECT(!h->host.connected);
    for (int i = 0; i < PROGRAMS; i++)
        EXPECT(!h->programs[i].connected);
}

bool harness_say_bytes(struct harness *h, int who, const void *data, size_t n)
{
    struct peer *p = peer(h, who);
    if (!p->connected || n > SAID_CAP - p->said_len)
        return false;
    if (n > 0)
        memcpy(p->said + p->said_len, data, n);
    p->said_len += n;
    return true;
}

void harness_say(struct harness *h, int who, const struct agent_frame *f)
{
    uint8_t raw[1024];
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    agent_frame_write(&w, f);
    if (!w.overflow)
        harness_say_bytes(h, who, raw, w.pos);
}

static bool wants(struct harness *h, int who)
{
    return who == HOST ? agent_host_wants_input(h->agent) : agent_client_wants_input(h->agent, who);
}

// Offers one peer's bytes in a buffer of exactly their size. True when some were taken.
static bool offer(struct harness *h, int who)
{
    struct peer *p = peer(h, who);
    if (!p->connected || p->said_len == 0 || !wants(h, who))
        return false;
    size_t n = p->said_len;
    uint8_t *exact = malloc(n);
    EXPECT(exact);
    memcpy(exact, p->said, n);
    size_t taken =
        who == HOST ? agent_host_input(h->agent, exact, n) : agent_client_input(h->agent, who, exact, n);
    free(exact);
    if (!p->connected)
        return true;
    EXPECT(taken <= n && (taken > 0 || !wants(h, who)));
    p->said_len -= taken; // more may have been said meanwhile
    memmove(p->said, p->said + taken, p->said_len);
    return taken > 0;
}

void harness_pump(struct harness *h)
{
    bool any;
    int rounds = 0;
    do {
        any = false;
        for (int who = HOST; who < PROGRAMS; who++)
            any |= offer(h, who);
    } while (any && ++rounds < 1000);
}

struct agent_frame harness_hello_ok(void)
{
    return (struct agent_frame){.type = AGENT_HELLO_OK,
                                .hello_ok = {1, AGENT_CAN_MONITOR | AGENT_CAN_DEFER, view("acme"),
                                             view("web"), 4096, 1700000000000 * MS}};
}

void harness_greet(struct harness *h, const struct agent_frame *greeting)
{
    if (!h->connect_wanted)
        return;
    h->connect_wanted = false;
    h->host.connected = true;
    h->host.room = SIZE_MAX;
    agent_host_up(h->agent);
    harness_say(h, HOST, greeting);
    harness_pump(h);
}

void harness_link_up(struct harness *h)
{
    struct agent_frame hello_ok = harness_hello_ok();
    harness_greet(h, &hello_ok);
}

void harness_program(struct harness *h, int program)
{
    if (h->programs[program].connected || !agent_client_open(h->agent, program))
        return;
    h->programs[program].connected = true;
    h->programs[program].room = SIZE_MAX;
    harness_say(h, program, &(struct agent_frame){.type = AGENT_HELLO, .hello = {1, 1, 0, {0}}});
    harness_pump(h);
}

void harness_hang_up(struct harness *h, int who)
{
    if (!peer(h, who)->connected)
        return;
    if (who == HOST) {
        host_reset(h);
        agent_host_down(h->agent);
    } else {
        peer_reset(&h->programs[who]);
        agent_client_closed(h->agent, who);
    }
}

void harness_pass(struct harness *h, uint64_t ms)
{
    uint64_t until_ns = h->now_ns + ms * MS;
    for (int fired = 0; h->timer_ns <= until_ns; fired++) {
        EXPECT(fired < 100000); // a timer that never advances
        h->now_ns = h->timer_ns > h->now_ns ? h->timer_ns : h->now_ns;
        h->timer_ns = AGENT_TIMER_OFF;
        agent_timer(h->agent);
    }
    h->now_ns = until_ns;
}
