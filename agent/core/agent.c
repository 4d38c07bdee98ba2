// The agent's life, its clock and timer, and settling: what every entry point does last. Called by the
// program around the agent; link.c and client.c hold the other entry points.
#include "state.h"

#include <string.h>

struct agent *agent_new(const struct agent_ops *ops, void *ctx, const char *software)
{
    struct agent *a = ops->allocate(ctx, sizeof *a);
    if (!a)
        return NULL;
    memset(a, 0, sizeof *a);
    a->ops = ops;
    a->ctx = ctx;
    a->memory.ops = ops;
    a->memory.ctx = ctx;
    a->timer_ns = AGENT_TIMER_OFF;
    a->timer_set_ns = AGENT_TIMER_OFF;
    a->body_max = ENVELOPE_BODY_DEFAULT;
    a->link.out.bytes_max = OUT_MAX;
    a->link.backoff_ms = BACKOFF_MIN_MS;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        a->clients[i].out.bytes_max = OUT_MAX;
    for (int i = 0; i < AGENT_CALLS_MAX; i++)
        a->calls[i].client = NO_CLIENT;
    size_t len = strlen(software);
    window_init(a);
    memcpy(a->software, software, len < AGENT_SOFTWARE_MAX ? len : AGENT_SOFTWARE_MAX);
    return a;
}

void agent_start(struct agent *a)
{
    link_event(a, LINK_START);
    agent_settle(a);
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++) {
        if (a->clients[i].state == CLIENT_FREE)
            continue;
        client_end(a, i);
        a->ops->close_client(a->ctx, i);
    }
    link_close(a);
    send_forget_all(a);
    window_done(a);
    a->ops->deallocate(a->ctx, a);
}

void agent_settle(struct agent *a)
{
    bool ended;
    do {
        deliver_grant(a);
        link_flush(a);
        client_flush(a);
        // What ended tells others: programs of the link, the link of programs.
        ended = link_finish_doomed(a);
        ended = client_finish_doomed(a) || ended;
    } while (ended);
    if (a->timer_ns != a->timer_set_ns) {
        a->timer_set_ns = a->timer_ns;
        a->ops->set_timer(a->ctx, a->timer_ns);
    }
}

void agent_timer(struct agent *a)
{
    uint64_t now_ns = agent_monotonic(a);
    a->timer_ns = a->timer_set_ns = AGENT_TIMER_OFF; // it fired: each deadline that is left asks again
    a->memory.starved = false;                       // the program around us may have freed something
    link_expire(a, now_ns);
    client_expire(a, now_ns);
    send_expire(a, now_ns);
    deliver_expire(a, now_ns);
    agent_settle(a);
}

void agent_wake_at(struct agent *a, uint64_t monotonic_ns)
{
    if (monotonic_ns < a->timer_ns)
        a->timer_ns = monotonic_ns;
}

uint64_t agent_monotonic(const struct agent *a)
{
    return a->ops->monotonic_ns(a->ctx);
}

uint64_t agent_realtime(const struct agent *a)
{
    if (a->clock_known)
        return agent_monotonic(a) + a->clock_offset_ns;
    return a->ops->realtime_ns(a->ctx);
}

void agent_set_clock(struct agent *a, uint64_t realtime_ns)
{
    a->clock_offset_ns = realtime_ns - agent_monotonic(a);
    a->clock_known = true;
    if (a->ops->capabilities & AGENT_CAP_CLOCK)
        a->ops->set_clock(a->ctx, realtime_ns);
}

uint32_t agent_payload_max(const struct agent *a)
{
    return a->body_max + ENVELOPE_OVERHEAD_MAX;
}

// Bits 0..7 the slot, 8..27 the generation, 28..31 the kind: never 0, which is what unsolicited frames have.
uint32_t agent_make_tag(struct agent *a, enum request_kind kind, size_t slot)
{
    a->generation = (a->generation + 1) & 0xfffff;
    return (uint32_t)kind << 28 | a->generation << 8 | (uint32_t)slot;
}

size_t agent_tag_slot(uint32_t tag)
{
    return tag & 0xff;
}

enum request_kind agent_tag_kind(uint32_t tag)
{
    return (enum request_kind)(tag >> 28);
}

static size_t text_add(char *text, size_t cap, size_t len, const char *more)
{
    for (; *more && len + 1 < cap; more++)
        text[len++] = (unsigned char)*more < ' ' ? ' ' : *more; // one line
    text[len] = '\0';
    return len;
}

void agent_log(struct agent *a, const char *what, const char *detail)
{
    char text[160];
    if (!a->ops->log)
        return;
    size_t len = text_add(text, sizeof text, 0, what);
    if (*detail) {
        len = text_add(text, sizeof text, len, ": ");
        text_add(text, sizeof text, len, detail);
    }
    a->ops->log(a->ctx, text);
}
