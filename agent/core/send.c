// Messages from programs on their way to the host: which program waits for which receipt, and for which
// reply. A message without receipt is kept, to be sent again when the link was lost.
#include "state.h"

#include <string.h>

#define NS_PER_MS          1000000ull
#define ENVELOPE_ID_OFFSET 4 // in the payload: see proto/envelope.h
#define FAR_MS             (365ull * 24 * 3600 * 1000)

static void refuse(struct agent *a, int client, uint32_t tag, const struct id *id, enum receipt_code code,
                   const char *detail)
{
    client_push(
        a, client,
        &(struct agent_frame){
            .type = AGENT_RECEIPT,
            .tag = tag,
            .receipt = {.code = code, .id = *id, .detail = {(const uint8_t *)detail, strlen(detail)}}});
}

// ---- calls ----

static struct call *call_find(struct agent *a, const struct id *id)
{
    for (size_t i = 0; i < AGENT_CALLS_MAX; i++)
        if (a->calls[i].client != NO_CLIENT && id_equals(&a->calls[i].id, id))
            return &a->calls[i];
    return NULL;
}

static void call_forget(struct agent *a, const struct id *id)
{
    struct call *call = call_find(a, id);
    if (call)
        call->client = NO_CLIENT;
}

static uint64_t call_deadline(struct agent *a, uint64_t expires_ms)
{
    if (expires_ms == 0)
        return AGENT_TIMER_OFF; // the host decides whether it takes such a call
    uint64_t now_ms = agent_realtime(a) / NS_PER_MS;
    uint64_t left_ms = expires_ms > now_ms ? expires_ms - now_ms : 0;
    if (left_ms > FAR_MS)
        left_ms = FAR_MS;
    return agent_monotonic(a) + (left_ms + CALL_GRACE_MS) * NS_PER_MS;
}

// Remembers who made the call. A call that is sent again, by the same program, keeps its slot.
static const char *call_remember(struct agent *a, int client, const struct envelope *e,
                                 enum receipt_code *ret_code)
{
    struct call *call = call_find(a, &e->id);
    if (call && call->client != client) {
        *ret_code = RECEIPT_INVALID;
        return "another program's call has this id";
    }
    for (size_t i = 0; i < AGENT_CALLS_MAX && !call; i++)
        if (a->calls[i].client == NO_CLIENT)
            call = &a->calls[i];
    if (!call) {
        *ret_code = RECEIPT_RATE_LIMITED;
        return "256 calls of this environment wait for their reply";
    }
    *call = (struct call){.client = client, .id = e->id, .deadline_ns = call_deadline(a, e->expires_ms)};
    agent_wake_at(a, call->deadline_ns);
    return NULL;
}

void send_reply(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    // Whether or not the caller still waits: nobody else ever will.
    link_push(a, &(struct agent_frame){.type = AGENT_ACK, .id = f->envelope.id});
    struct call *call = call_find(a, &f->envelope.correlation);
    if (!call)
        return;
    int client = call->client;
    call->client = NO_CLIENT;
    frame_in_set_tag(in, 0);
    client_forward(a, client, in);
}

// ---- receipts ----

static struct send *send_reserve(struct agent *a)
{
    for (size_t i = 0; i < AGENT_SENDS_MAX; i++) {
        struct send *s = &a->sends[i];
        if (s->host_tag != 0)
            continue;
        s->host_tag = agent_make_tag(a, REQUEST_SEND, i);
        a->n_sends++;
        return s;
    }
    return NULL;
}

static void send_done(struct agent *a, struct send *s)
{
    if (s->kept)
        a->kept_bytes -= s->kept->len;
    chunk_put(&a->memory, s->kept);
    s->kept = NULL;
    s->host_tag = 0;
    a->n_sends--;
}

static void give_up_if_due(struct agent *a, struct send *s, uint64_t now_ns)
{
    if (s->host_tag == 0)
        return;
    if (now_ns < s->give_up_ns) {
        agent_wake_at(a, s->give_up_ns);
        return;
    }
    refuse(a, s->client, s->tag, &s->id, RECEIPT_UNKNOWN_OUTCOME, "the link to the host was lost");
    send_done(a, s);
}

void send_expire(struct agent *a, uint64_t now_ns)
{
    for (size_t i = 0; i < AGENT_CALLS_MAX; i++) {
        struct call *call = &a->calls[i];
        if (call->client == NO_CLIENT)
            continue;
        if (now_ns >= call->deadline_ns)
            call->client = NO_CLIENT;
        else
            agent_wake_at(a, call->deadline_ns);
    }
    for (size_t i = 0; i < AGENT_SENDS_MAX && a->link.state != LINK_READY; i++)
        give_up_if_due(a, &a->sends[i], now_ns);
}

static void fill_id(struct agent *a, struct frame_in *in, struct id *id)
{
    uint8_t random[10];
    a->ops->random(a->ctx, random, sizeof random);
    *id = id_make(agent_realtime(a) / NS_PER_MS, random);
    memcpy(frame_in_data(in) + AGENT_HEADER_LEN + ENVELOPE_ID_OFFSET, id->bytes, ID_LEN);
}

void send_submit(struct agent *a, int client, struct frame_in *in, const struct agent_frame *f)
{
    struct id id = f->envelope.id;
    bool is_call = f->envelope.kind == MESSAGE_CALL;
    if (a->link.state != LINK_READY) {
        refuse(a, client, f->tag, &id, RECEIPT_HOST_UNREACHABLE, "the link to the host is down");
        return;
    }
    if (id_is_zero(&id))
        fill_id(a, in, &id);
    if (is_call) {
        enum receipt_code code;
        struct envelope call = {.id = id, .expires_ms = f->envelope.expires_ms};
        const char *what = call_remember(a, client, &call, &code);
        if (what) {
            refuse(a, client, f->tag, &id, code, what);
            return;
        }
    }
    struct send *s = send_reserve(a);
    if (!s) { // not while client.c's may_finish() holds, but nothing may depend on that
        refuse(a, client, f->tag, &id, RECEIPT_RATE_LIMITED,
               "256 messages of this environment wait for their receipt");
        return;
    }
    s->tag = f->tag;
    s->client = client;
    s->id = id;
    s->is_call = is_call;
    s->order = a->n_submitted++;
    s->expires_ms = f->envelope.expires_ms;
    s->give_up_ns = 0;
    frame_in_set_tag(in, s->host_tag);
    s->kept = frame_in_share(&a->memory, in);
    if (s->kept)
        a->kept_bytes += s->kept->len;
    link_forward(a, in);
}

void send_receipt(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    struct send *s = &a->sends[agent_tag_slot(f->tag)];
    if (f->tag == 0 || s->host_tag != f->tag) {
        link_doom(a, "the host sent a receipt for nothing");
        return;
    }
    bool reply_may_come = f->receipt.code == RECEIPT_ACCEPTED || f->receipt.code == RECEIPT_UNKNOWN_OUTCOME;
    if (s->is_call && !reply_may_come)
        call_forget(a, &s->id);
    frame_in_set_tag(in, s->tag);
    send_done(a, s); // first: the receipt may need the memory
    client_forward(a, s->client, in);
}

// The first without receipt from that place on, in order of submission.
static struct send *next_send(struct agent *a, uint64_t from_order)
{
    struct send *first = NULL;
    for (size_t i = 0; i < AGENT_SENDS_MAX; i++) {
        struct send *s = &a->sends[i];
        if (s->host_tag != 0 && s->order >= from_order && (!first || s->order < first->order))
            first = s;
    }
    return first;
}

// The host may have them already: then it knows their ids.
void send_link_ready(struct agent *a)
{
    struct send *s;
    for (uint64_t order = 0; a->n_sends > 0 && (s = next_send(a, order)) != NULL; order = s->order + 1)
        link_push_again(a, s->kept);
}

void send_link_lost(struct agent *a)
{
    uint64_t now_ns = agent_monotonic(a), now_ms = agent_realtime(a) / NS_PER_MS;
    for (size_t i = 0; i < AGENT_SENDS_MAX; i++) {
        struct send *s = &a->sends[i];
        if (s->host_tag == 0)
            continue;
        uint64_t left_ms = s->expires_ms == 0       ? RESEND_MS
                           : s->expires_ms > now_ms ? s->expires_ms - now_ms
                                                    : 0;
        left_ms = !s->kept ? 0 : left_ms < RESEND_MS ? left_ms : RESEND_MS;
        if (s->give_up_ns == 0)
            s->give_up_ns = now_ns + left_ms * NS_PER_MS;
        give_up_if_due(a, s, now_ns);
    }
}

void send_forget_all(struct agent *a)
{
    for (size_t i = 0; i < AGENT_SENDS_MAX; i++)
        if (a->sends[i].host_tag != 0)
            send_done(a, &a->sends[i]);
}

void send_client_gone(struct agent *a, int client)
{
    for (size_t i = 0; i < AGENT_SENDS_MAX; i++)
        if (a->sends[i].client == client)
            a->sends[i].client = NO_CLIENT;
    for (size_t i = 0; i < AGENT_CALLS_MAX; i++)
        if (a->calls[i].client == client)
            a->calls[i].client = NO_CLIENT;
}
