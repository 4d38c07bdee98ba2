// See agent.h. agent/core's operations must not call back into it, so what they cause here is only noted, and
// pump() acts upon it when the call into the core has returned.
#include "agent.h"

#include <linux/errno.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/random.h"
#include "base/string.h"
#include "boot/process.h"
#include "core/agent.h"
#include "drivers/vsock.h"
#include "fs/agent_socket.h"
#include "mem/heap.h"
#include "proto/agent.h"

static struct {
    struct agent *core;
    void *sockets[AGENT_CLIENTS_MAX];
    uint64_t timer_ns; // 0: none
    bool started;      // vsock_connect() was called and the core does not know yet
    bool ending;       // the program has ended
} agent;

static void *op_allocate(void *ctx, size_t n)
{
    (void)ctx;
    return heap_alloc(n);
}

static void op_deallocate(void *ctx, void *p)
{
    (void)ctx;
    heap_free(p);
}

static int op_connect_host(void *ctx)
{
    (void)ctx;
    if (agent.started) {
        agent.started = false; // agent_init()'s attempt is under way
        return 0;
    }
    return vsock_connect(AGENT_VSOCK_PORT) ? 0 : -ECONNREFUSED;
}

static void op_close_host(void *ctx)
{
    (void)ctx;
    vsock_close();
}

static size_t op_write_host(void *ctx, const void *data, size_t n)
{
    (void)ctx;
    return vsock_send(data, n);
}

static size_t op_write_client(void *ctx, int client, const void *data, size_t n)
{
    (void)ctx;
    return agent.sockets[client] ? agent_socket_deliver(agent.sockets[client], data, n) : 0;
}

static void op_close_client(void *ctx, int client)
{
    (void)ctx;
    void *socket = agent.sockets[client];
    agent.sockets[client] = NULL;
    if (socket)
        agent_socket_on_closed(socket);
}

static uint64_t op_monotonic_ns(void *ctx)
{
    (void)ctx;
    return clock_monotonic_ns();
}

static uint64_t op_realtime_ns(void *ctx)
{
    (void)ctx;
    return clock_realtime_ns();
}

static void op_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    random_bytes(out, n);
}

static void op_set_timer(void *ctx, uint64_t monotonic_ns)
{
    (void)ctx;
    agent.timer_ns = monotonic_ns == AGENT_TIMER_OFF ? 0 : monotonic_ns;
}

static void op_shutdown(void *ctx, uint32_t grace_ms, const char *reason)
{
    (void)ctx;
    kernel_log("the host asks to finish within %u ms: %s", grace_ms, reason);
    // A program that is no client of the agent cannot know: it ends as SIGTERM would end it.
    bool told = false;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        told |= agent.sockets[i] != NULL;
    process_end_by(clock_monotonic_ns() + (told ? (uint64_t)grace_ms * 1000000u : 0));
}

static void op_log(void *ctx, const char *text)
{
    (void)ctx;
    kernel_log("agent: %s", text);
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
};

// Any call into the core can make it willing to take what was held back.
static void pump(void)
{
    vsock_offer_input();
}

static bool make_core(void)
{
    if (agent.core)
        return true;
    agent.core = agent_new(&ops, NULL, "cell/" ENVD_VERSION);
    if (!agent.core)
        return false;
    agent_start(agent.core);
    return true;
}

void agent_init(void)
{
    if (vsock_init())
        agent.started = vsock_connect(AGENT_VSOCK_PORT);
}

void agent_on_host_up(void)
{
    if (!make_core()) {
        kernel_log("agent: no memory for it; the environment stays unreachable");
        vsock_close();
        return;
    }
    agent_host_up(agent.core);
}

void agent_on_host_down(void)
{
    agent.started = false;
    if (agent.core)
        agent_host_down(agent.core);
    else
        make_core(); // it connects, and goes on trying
}

void agent_on_host_writable(void)
{
    if (agent.core)
        agent_host_writable(agent.core);
}

size_t agent_on_host_data(const void *data, size_t n)
{
    return agent.core && agent_host_wants_input(agent.core) ? agent_host_input(agent.core, data, n) : 0;
}

int agent_connect_client(void *socket)
{
    if (!make_core())
        return -ENOMEM;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++) {
        if (agent.sockets[i])
            continue;
        agent.sockets[i] = socket;
        if (agent_client_open(agent.core, i)) {
            pump();
            return i;
        }
        agent.sockets[i] = NULL;
    }
    return -ECONNREFUSED;
}

size_t agent_write_from_client(int client, const void *data, size_t n)
{
    size_t taken = agent_client_input(agent.core, client, data, n);
    pump();
    return taken;
}

bool agent_client_takes_input(int client)
{
    return agent_client_wants_input(agent.core, client);
}

void agent_client_has_room(int client)
{
    agent_client_writable(agent.core, client);
    pump();
}

void agent_disconnect_client(int client)
{
    agent.sockets[client] = NULL;
    if (agent.ending)
        return; // the end of the link says it
    agent_client_closed(agent.core, client);
    pump();
}

bool agent_run_timers(uint64_t now_ns)
{
    if (!agent.timer_ns || now_ns < agent.timer_ns)
        return false;
    agent.timer_ns = 0;
    agent_timer(agent.core);
    pump();
    return true;
}

uint64_t agent_next_timer_ns(void)
{
    return agent.timer_ns ? agent.timer_ns : NEVER;
}

void agent_program_ended(void)
{
    agent.ending = true;
}

void agent_finish(uint64_t limit_ns)
{
    vsock_flush(clock_monotonic_ns() + limit_ns);
}
