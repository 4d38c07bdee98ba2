// Monitors: programs that want to hear when another environment goes away. Asked of the host, asked for again
// when the link is back, given up with their program. Called by client.c and link.c.
#include "state.h"

#include <string.h>

static const uint8_t rank_of[AGENT_CERTAINTY_COUNT] = {[AGENT_GONE_UNKNOWN] = 1, [AGENT_GONE_CERTAIN] = 2};

static bool stands_for(const struct monitor *m, struct wire_view address)
{
    return m->state != MONITOR_FREE && m->state != MONITOR_LEAVING && wire_view_equals(address, m->address);
}

static struct monitor *find(struct agent *a, int client, struct wire_view address)
{
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++)
        if (stands_for(&a->monitors[i], address) && a->monitors[i].client == client)
            return &a->monitors[i];
    return NULL;
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void ask_host(struct agent *a, struct monitor *m, enum agent_frame_type type)
{
    m->host_tag = agent_make_tag(a, REQUEST_MONITOR, (size_t)(m - a->monitors));
    link_push(a, &(struct agent_frame){.type = type, .tag = m->host_tag, .address = view(m->address)});
}

void monitor_add(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct monitor *m = find(a, client, f->address);
    if (m) {
        bool held = m->state != MONITOR_ASKED;
        client_result(a, client, f->tag, held ? RECEIPT_ACCEPTED : RECEIPT_INVALID,
                      held ? "" : "the first request for it is not answered yet");
        return;
    }
    if (a->link.state == LINK_READY && !(a->host_can & AGENT_CAN_MONITOR)) {
        client_result(a, client, f->tag, RECEIPT_INVALID, "this host cannot monitor");
        return;
    }
    for (size_t i = 0; i < AGENT_MONITORS_MAX && !m; i++)
        if (a->monitors[i].state == MONITOR_FREE)
            m = &a->monitors[i];
    if (!m) {
        client_result(a, client, f->tag, RECEIPT_RATE_LIMITED,
                      "the programs of an environment have at most 64 monitors");
        return;
    }
    *m = (struct monitor){.state = MONITOR_ASKED, .client = client, .tag = f->tag};
    wire_view_to_cstr(f->address, m->address, sizeof m->address);
    if (a->link.state == LINK_READY)
        ask_host(a, m, AGENT_MONITOR);
}

// The host has one monitor for an address, however many programs want it.
static bool is_shared(const struct agent *a, const struct monitor *m)
{
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++)
        if (&a->monitors[i] != m && stands_for(&a->monitors[i], view(m->address)))
            return true;
    return false;
}

// True when the host has been asked, and its answer is to come.
static bool leave(struct agent *a, struct monitor *m)
{
    if (a->link.state != LINK_READY || is_shared(a, m)) {
        m->state = MONITOR_FREE;
        return false;
    }
    m->state = MONITOR_LEAVING;
    ask_host(a, m, AGENT_UNMONITOR);
    return true;
}

void monitor_remove(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    struct monitor *m = find(a, client, f->address);
    if (!m || m->state == MONITOR_ASKED) {
        client_result(a, client, f->tag, RECEIPT_INVALID, "this program does not monitor it");
        return;
    }
    m->tag = f->tag;
    if (!leave(a, m))
        client_result(a, client, f->tag, RECEIPT_ACCEPTED, "");
}

static void tell_gone(struct agent *a, const struct monitor *m, const char *reason)
{
    client_push(
        a, m->client,
        &(struct agent_frame){
            .type = AGENT_GONE,
            .gone = {.address = view(m->address), .certainty = AGENT_GONE_UNKNOWN, .reason = view(reason)}});
}

static void on_asked(struct agent *a, struct monitor *m, struct frame_in *in, bool accepted)
{
    frame_in_set_tag(in, m->tag);
    client_forward(a, m->client, in);
    m->state = accepted ? MONITOR_HELD : MONITOR_FREE;
}

static void on_renewed(struct agent *a, struct monitor *m, struct frame_in *in, bool accepted)
{
    (void)in;
    m->state = accepted ? MONITOR_HELD : MONITOR_FREE;
    if (!accepted)
        tell_gone(a, m, "the host no longer lets this environment monitor it");
}

static void on_left(struct agent *a, struct monitor *m, struct frame_in *in, bool accepted)
{
    (void)accepted;
    frame_in_set_tag(in, m->tag);
    client_forward(a, m->client, in);
    m->state = MONITOR_FREE;
}

void monitor_result(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    static void (*const on_result[])(struct agent * a, struct monitor * m, struct frame_in * in,
                                     bool accepted) = {
        [MONITOR_FREE] = NULL,           [MONITOR_ASKED] = on_asked,  [MONITOR_HELD] = NULL,
        [MONITOR_RENEWING] = on_renewed, [MONITOR_LEAVING] = on_left,
    };
    size_t slot = agent_tag_slot(f->tag);
    if (slot >= AGENT_MONITORS_MAX || a->monitors[slot].host_tag != f->tag)
        return; // its program went away before
    struct monitor *m = &a->monitors[slot];
    if (on_result[m->state]) // the tag stays: GONE may come with it
        on_result[m->state](a, m, in, f->receipt.code == RECEIPT_ACCEPTED);
}

// An answer to the question of one program is for that one, and no news to it when it has been told before.
static bool concerns(const struct monitor *m, const struct agent_frame *f)
{
    if (m->state != MONITOR_HELD || !stands_for(m, f->gone.address))
        return false;
    return f->tag == 0 || (f->tag == m->host_tag && rank_of[f->gone.certainty] > m->told);
}

void monitor_gone(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    frame_in_set_tag(in, 0);
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++) {
        struct monitor *m = &a->monitors[i];
        if (!concerns(m, f))
            continue;
        m->told = rank_of[f->gone.certainty];
        client_forward(a, m->client, in);
    }
}

void monitor_link_ready(struct agent *a)
{
    bool can = a->host_can & AGENT_CAN_MONITOR;
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++) {
        struct monitor *m = &a->monitors[i];
        if (m->state != MONITOR_ASKED && m->state != MONITOR_RENEWING)
            continue;
        if (can) {
            ask_host(a, m, AGENT_MONITOR);
            continue;
        }
        if (m->state == MONITOR_ASKED)
            client_result(a, m->client, m->tag, RECEIPT_INVALID, "this host cannot monitor");
        else
            tell_gone(a, m, "this host cannot monitor");
        m->state = MONITOR_FREE;
    }
}

void monitor_link_lost(struct agent *a)
{
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++) {
        struct monitor *m = &a->monitors[i];
        m->host_tag = 0;
        if (m->state == MONITOR_HELD) {
            m->state = MONITOR_RENEWING;
        } else if (m->state == MONITOR_LEAVING) {
            client_result(a, m->client, m->tag, RECEIPT_ACCEPTED, "");
            m->state = MONITOR_FREE;
        }
    }
}

void monitor_client_gone(struct agent *a, int client)
{
    for (size_t i = 0; i < AGENT_MONITORS_MAX; i++) {
        struct monitor *m = &a->monitors[i];
        if (m->state == MONITOR_FREE || m->client != client)
            continue;
        m->client = NO_CLIENT;
        if (m->state != MONITOR_LEAVING)
            leave(a, m);
    }
}
