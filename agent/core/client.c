// Program connections: HELLO, what each of a program's frames does, and how a connection ends. Programs are
// not trusted: one that sends what it must not, or stops in the middle of a frame, loses its connection and
// nothing else happens.
#include "state.h"

#include <string.h>

#define NS_PER_MS 1000000ull

static bool is_open(const struct agent *a, int client)
{
    return client >= 0 && client < AGENT_CLIENTS_MAX && a->clients[client].state != CLIENT_FREE &&
           !a->clients[client].doom;
}

// ---- beginning and end ----

bool agent_client_open(struct agent *a, int client)
{
    if (client < 0 || client >= AGENT_CLIENTS_MAX || a->clients[client].state != CLIENT_FREE)
        return false;
    struct client *c = &a->clients[client];
    c->state = CLIENT_NEW;
    c->read_ns = agent_monotonic(a);
    agent_wake_at(a, c->read_ns + AGENT_HELLO_TIMEOUT_MS * NS_PER_MS);
    agent_settle(a);
    return true;
}

void client_doom(struct agent *a, int client, const char *why)
{
    if (!is_open(a, client))
        return;
    a->clients[client].doom = why;
    a->busy |= 1ull << client;
}

void client_doom_ready(struct agent *a, const char *why)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        if (a->clients[i].state == CLIENT_READY)
            client_doom(a, i, why);
}

void client_end(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    // Services first: what is released must not come back to them.
    service_client_gone(a, client);
    deliver_client_gone(a, client);
    send_client_gone(a, client);
    monitor_client_gone(a, client);
    frame_in_reset(&a->memory, &c->in);
    a->clients_bytes -= c->out.bytes;
    out_clear(&a->memory, &c->out);
    c->state = CLIENT_FREE;
    c->doom = NULL;
    c->clock_asked = false;
    a->busy &= ~(1ull << client);
}

static void flush(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    const uint8_t *data;
    size_t len;
    while (!c->out.blocked && (data = out_peek(&c->out, &len)) != NULL) {
        size_t n = a->ops->write_client(a->ctx, client, data, len);
        c->out.blocked = n < len;
        a->clients_bytes -= n;
        out_written(&a->memory, &c->out, n);
        if (c->out.blocked) {
            c->written_ns = agent_monotonic(a);
            agent_wake_at(a, c->written_ns + STALL_MS * NS_PER_MS);
        }
    }
    if (!c->out.head && !c->doom)
        a->busy &= ~(1ull << client);
}

// Calls f for every busy client; f may clear the bit of the client that it is called for.
static void each_busy(struct agent *a, void (*f)(struct agent *a, int client))
{
    for (uint64_t left = a->busy; left; left &= left - 1)
        f(a, __builtin_ctzll(left));
}

void client_flush(struct agent *a)
{
    each_busy(a, flush);
}

static void end_if_doomed(struct agent *a, int client)
{
    const char *why = a->clients[client].doom;
    if (!why)
        return;
    agent_log(a, "the agent ends a program's connection", why);
    client_end(a, client);
    a->ops->close_client(a->ctx, client);
}

bool client_finish_doomed(struct agent *a)
{
    bool any = false;
    for (uint64_t left = a->busy; left; left &= left - 1)
        any |= a->clients[__builtin_ctzll(left)].doom != NULL;
    each_busy(a, end_if_doomed);
    return any;
}

void agent_client_closed(struct agent *a, int client)
{
    if (client < 0 || client >= AGENT_CLIENTS_MAX || a->clients[client].state == CLIENT_FREE)
        return;
    client_end(a, client);
    agent_settle(a);
}

void agent_client_writable(struct agent *a, int client)
{
    if (is_open(a, client))
        a->clients[client].out.blocked = false;
    agent_settle(a);
}

// A program may be slow as long as nobody waits for it.
static void expire(struct agent *a, int client, uint64_t now_ns)
{
    struct client *c = &a->clients[client];
    bool in_frame = c->in.have > 0;
    uint64_t limit_ns = (c->state == CLIENT_NEW ? AGENT_HELLO_TIMEOUT_MS : STALL_MS) * NS_PER_MS;
    if (c->state == CLIENT_NEW || in_frame) {
        if (now_ns - c->read_ns >= limit_ns && !agent_client_wants_input(a, client))
            c->read_ns = now_ns; // it is us who do not read
        if (now_ns - c->read_ns >= limit_ns)
            client_doom(a, client, in_frame ? "it stopped in the middle of a frame" : "it did not say HELLO");
        agent_wake_at(a, c->read_ns + limit_ns);
    }
    if (c->out.blocked) {
        uint64_t due_ns = c->written_ns + STALL_MS * NS_PER_MS;
        if (now_ns >= due_ns && a->clients_bytes >= DELIVER_HIGH)
            client_doom(a, client, "it does not read while others wait");
        agent_wake_at(a, now_ns < due_ns ? due_ns : now_ns + STALL_MS * NS_PER_MS);
    }
}

void client_expire(struct agent *a, uint64_t now_ns)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        if (is_open(a, i))
            expire(a, i, now_ns);
}

// ---- out ----

static void pushed(struct agent *a, int client, size_t bytes_before, bool ok)
{
    a->clients_bytes += a->clients[client].out.bytes - bytes_before;
    a->busy |= 1ull << client;
    if (!ok)
        client_doom(a, client, "no memory for a frame to it");
}

void client_push(struct agent *a, int client, const struct agent_frame *f)
{
    if (!is_open(a, client))
        return;
    size_t before = a->clients[client].out.bytes;
    pushed(a, client, before, out_push(&a->memory, &a->clients[client].out, f));
}

void client_forward(struct agent *a, int client, struct frame_in *in)
{
    if (!is_open(a, client))
        return;
    size_t before = a->clients[client].out.bytes;
    pushed(a, client, before, out_forward(&a->memory, &a->clients[client].out, in));
}

void client_push_chunk(struct agent *a, int client, struct chunk *chunk)
{
    size_t before = a->clients[client].out.bytes;
    bool ok = out_push_chunk(&a->clients[client].out, chunk);
    pushed(a, client, before, ok);
    if (!ok)
        chunk_put(&a->memory, chunk);
}

void client_result(struct agent *a, int client, uint32_t tag, enum receipt_code code, const char *detail)
{
    client_push(a, client,
                &(struct agent_frame){
                    .type = AGENT_RESULT,
                    .tag = tag,
                    .receipt = {.code = code, .detail = {(const uint8_t *)detail, strlen(detail)}}});
}

void client_broadcast(struct agent *a, struct frame_in *in)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        if (a->clients[i].state == CLIENT_READY)
            client_forward(a, i, in);
}

// ---- HELLO ----

static void reject(struct agent *a, int client, const char *reason)
{
    client_push(a, client,
                &(struct agent_frame){.type = AGENT_REJECT,
                                      .reject = {.reason = {(const uint8_t *)reason, strlen(reason)}}});
    client_doom(a, client, reason);
}

static void greet(struct agent *a, int client)
{
    a->clients[client].state = CLIENT_READY;
    client_push(a, client,
                &(struct agent_frame){.type = AGENT_HELLO_OK,
                                      .hello_ok = {.version = AGENT_VERSION,
                                                   .capabilities = a->host_can & AGENT_CAN_MONITOR,
                                                   .tenant = {(const uint8_t *)a->tenant, strlen(a->tenant)},
                                                   .name = {(const uint8_t *)a->name, strlen(a->name)},
                                                   .body_max = a->body_max,
                                                   .realtime_ns = agent_realtime(a)}});
}

void client_greet_waiting(struct agent *a)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        if (a->clients[i].state == CLIENT_WAITING && is_open(a, i))
            greet(a, i);
}

static void handle_hello(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    if (f->hello.version_min > AGENT_VERSION || f->hello.version_max < AGENT_VERSION)
        reject(a, client, "this agent speaks version 1 of the protocol, the program does not");
    else if (a->shutting_down)
        reject(a, client, "the environment is shutting down");
    else if (a->link.state == LINK_READY)
        greet(a, client);
    else
        a->clients[client].state = CLIENT_WAITING;
}

// ---- what a program may ask for ----

static void handle_credit(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    deliver_credit(a, client, f->credit);
}

// One question to the host at a time; with the link down, or when one is being asked, our own clock answers.
static void handle_clock(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    struct client *c = &a->clients[client];
    (void)in;
    if (a->link.state != LINK_READY || c->clock_asked) {
        client_push(
            a, client,
            &(struct agent_frame){.type = AGENT_CLOCK_IS, .tag = f->tag, .realtime_ns = agent_realtime(a)});
        return;
    }
    c->clock_asked = true;
    c->clock_tag = f->tag;
    c->clock_host_tag = agent_make_tag(a, REQUEST_CLOCK, (size_t)client);
    link_push(a, &(struct agent_frame){.type = AGENT_CLOCK, .tag = c->clock_host_tag});
}

void client_clock_is(struct agent *a, uint32_t host_tag, uint64_t realtime_ns)
{
    size_t slot = agent_tag_slot(host_tag);
    if (slot >= AGENT_CLIENTS_MAX || !a->clients[slot].clock_asked ||
        a->clients[slot].clock_host_tag != host_tag)
        return; // it went away meanwhile
    a->clients[slot].clock_asked = false;
    client_push(a, (int)slot,
                &(struct agent_frame){
                    .type = AGENT_CLOCK_IS, .tag = a->clients[slot].clock_tag, .realtime_ns = realtime_ns});
}

void client_clocks_lost(struct agent *a)
{
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        client_clock_is(a, a->clients[i].clock_host_tag, agent_realtime(a));
}

typedef void frame_handler(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f);

static frame_handler *const handlers[CLIENT_STATE_COUNT][AGENT_FRAME_TYPE_COUNT] = {
    [CLIENT_NEW] = {[AGENT_HELLO] = handle_hello},
    [CLIENT_READY] =
        {
            [AGENT_SEND] = send_submit,
            [AGENT_ACK] = deliver_answer,
            [AGENT_RELEASE] = deliver_answer,
            [AGENT_CREDIT] = handle_credit,
            [AGENT_REGISTER] = service_register,
            [AGENT_UNREGISTER] = service_unregister,
            [AGENT_CLOCK] = handle_clock,
            [AGENT_MONITOR] = monitor_add,
            [AGENT_UNMONITOR] = monitor_remove,
        },
};

static void check_header(struct agent *a, int client)
{
    const struct client *c = &a->clients[client];
    if (!handlers[c->state][c->in.header.type])
        client_doom(a, client, "it sent a frame that is out of place");
    else if (c->in.header.len_bytes > agent_payload_max(a))
        client_doom(a, client, "it sent a message above the limit it was told");
}

static void handle_frame(struct agent *a, int client)
{
    struct client *c = &a->clients[client];
    struct agent_frame f;
    struct wire_error error;
    if (agent_frame_read(&c->in.header, frame_in_data(&c->in) + AGENT_HEADER_LEN, &f, &error))
        handlers[c->state][f.type](a, client, &c->in, &f);
    else
        client_doom(a, client, error.what);
    frame_in_reset(&a->memory, &c->in);
}

// Nothing is accepted from a program that cannot be passed on, or whose answers it does not read.
static bool may_finish(const struct agent *a, int client)
{
    return a->link.out.bytes < OUT_HIGH && a->clients[client].out.bytes < OUT_HIGH &&
           a->n_sends < AGENT_SENDS_MAX && a->kept_bytes < KEPT_HIGH;
}

static bool reads(const struct agent *a, int client)
{
    return is_open(a, client) && a->clients[client].state != CLIENT_WAITING;
}

bool agent_client_wants_input(const struct agent *a, int client)
{
    return reads(a, client) && frame_in_wants(&a->memory, &a->clients[client].in, may_finish(a, client));
}

size_t agent_client_input(struct agent *a, int client, const void *untrusted_data, size_t n)
{
    const uint8_t *data = untrusted_data;
    size_t total = 0;
    enum intake got = INTAKE_FRAME;
    while (reads(a, client) && got != INTAKE_MORE && got != INTAKE_WAIT) {
        const char *what;
        size_t taken;
        got = frame_in_take(&a->memory, &a->clients[client].in, may_finish(a, client), data + total,
                            n - total, &taken, &what);
        total += taken;
        if (got == INTAKE_HEADER)
            check_header(a, client);
        else if (got == INTAKE_FRAME)
            handle_frame(a, client);
        else if (got == INTAKE_BAD)
            client_doom(a, client, what);
    }
    // Before HELLO the time is total: it began when the program connected.
    if (is_open(a, client) && a->clients[client].state == CLIENT_READY && a->clients[client].in.have > 0) {
        a->clients[client].read_ns = agent_monotonic(a);
        agent_wake_at(a, a->clients[client].read_ns + STALL_MS * NS_PER_MS);
    }
    if (a->memory.starved)
        agent_wake_at(a, agent_monotonic(a) + MEMORY_RETRY_MS * NS_PER_MS);
    agent_settle(a);
    return total;
}
