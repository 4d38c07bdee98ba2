// The way in: a message's fields become ours, the sender's limits are kept, replies use their capability, and
// everything else goes to choose.c. Called through endpoint.h by sessions and through router.h for operators.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "mediate/gcra.h"
#include "route/submission.h"

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

struct id router_new_id(uint64_t realtime_ms)
{
    uint8_t random[10];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort(); // see siphash_key_random()
    return id_make(realtime_ms, random);
}

static uint64_t make_dedup_key(const struct submission *s)
{
    char text[ADDRESS_CAP + ID_LEN] = {0};
    memcpy(text, s->envelope.id.bytes, ID_LEN);
    memcpy(text + ID_LEN, s->from_text, strlen(s->from_text));
    return siphash(&s->router->key, text, sizeof text);
}

// True when the fields that the host looks at are what they should be; s then owns them.
static bool take_fields(struct submission *s)
{
    struct envelope *e = &s->envelope;
    if (!wire_view_to_cstr(e->subject, s->subject, sizeof s->subject) ||
        address_parse((const char *)e->to.data, e->to.len, &s->to) != NULL)
        return false;
    if (s->to.tenant[0] == '\0')
        memcpy(s->to.tenant, s->from.tenant, sizeof s->to.tenant);
    address_format(&s->to, s->to_text);
    e->from = view_of(s->from_text);
    e->to = view_of(s->to_text);
    return true;
}

// A call has a deadline, and not one so late that its capability would be kept for ever.
static void set_deadline(struct submission *s)
{
    const struct router_config *c = &s->router->config;
    uint64_t latest_ms = s->now_ms + c->call_timeout_max_ms;
    if (s->envelope.expires_ms == 0)
        s->envelope.expires_ms = s->now_ms + c->call_timeout_ms;
    if (s->envelope.expires_ms > latest_ms)
        s->envelope.expires_ms = latest_ms;
}

static bool within_rate(struct submission *s)
{
    const struct router_config *c = &s->router->config;
    return !s->sender || c->rate_per_s == 0 ||
           gcra_take(&s->sender->rate_bucket, s->now_ns, c->rate_per_s, c->rate_burst);
}

void submission_answer(struct submission *s, struct call *call)
{
    int rc = 0;
    if (s->envelope.expires_ms == 0 || s->envelope.expires_ms > call->deadline_ms)
        s->envelope.expires_ms = call->deadline_ms;
    s->reply_to = call->handle;
    call->answering = true;
    call->answering_key = s->dedup_key;
    const struct mediate_decision d = {.reason = MEDIATE_REASON_REPLY, .rule = POLICY_RULE_NONE};
    submission_record(s, NULL, &d, RECEIPT_ACCEPTED);
    if (call->far)
        rc = submission_send_reply(s, call);
    else if (call->caller)
        rc = submission_put(s, call->caller);
    else
        rc = submission_keep_reply(s, call);
    if (rc == -EMSGSIZE)
        submission_refuse(s, RECEIPT_TOO_LARGE, MEDIATE_REASON_LINK);
    else if (rc < 0)
        submission_refuse(s, call->far ? RECEIPT_HOST_UNREACHABLE : RECEIPT_MAILBOX_FULL,
                          call->far ? MEDIATE_REASON_LINK : MEDIATE_REASON_MAILBOX);
    else
        submission_close(s);
}

static void submit_reply(struct submission *s)
{
    struct router *r = s->router;
    if (envelope_refusal(&s->envelope) != RECEIPT_ACCEPTED) { // not theirs to say
        submission_refuse(s, RECEIPT_INVALID, MEDIATE_REASON_ADDRESS);
        return;
    }
    struct call *call =
        s->sender ? calls_find_served(&r->calls, s->sender, &s->envelope.correlation, &s->to) : NULL;
    if (!call && s->sender && s->sender->replies_sent && seen_has(s->sender->replies_sent, s->dedup_key)) {
        s->duplicate = true;
        submission_close(s);
        return;
    }
    // The same reply again, while the first is still being stored: the mailbox lets it share the outcome.
    bool again = call && call->answering && call->answering_key == s->dedup_key && call->caller;
    if (!call || (call->answering && !again)) {
        submission_refuse(s, RECEIPT_EXPIRED, MEDIATE_REASON_NO_CALL);
        return;
    }
    if (!s->sender->replies_sent && !(s->sender->replies_sent = seen_new(s->router->config.dedup_window))) {
        submission_refuse(s, RECEIPT_MAILBOX_FULL, MEDIATE_REASON_MAILBOX);
        return;
    }
    durable_keep_reply(r->durable, s->from.tenant, s->from.name, s->dedup_key);
    submission_answer(s, call);
}

static void check_and_route(struct submission *s)
{
    if (!within_rate(s)) {
        submission_refuse(s, RECEIPT_RATE_LIMITED, MEDIATE_REASON_RATE_LIMIT);
        return;
    }
    if (s->envelope.body.len > s->router->config.body_max_bytes) {
        submission_refuse(s, RECEIPT_TOO_LARGE, MEDIATE_REASON_BODY_LIMIT);
        return;
    }
    if (s->envelope.kind == MESSAGE_CALL)
        set_deadline(s);
    if (s->envelope.expires_ms != 0 && s->envelope.expires_ms <= s->now_ms) {
        submission_refuse(s, RECEIPT_EXPIRED, MEDIATE_REASON_EXPIRED);
        return;
    }
    if (s->envelope.kind == MESSAGE_REPLY && s->arrived)
        submission_arrived_reply(s);
    else if (s->envelope.kind == MESSAGE_REPLY)
        submit_reply(s);
    else
        submission_route(s);
}

// An operator's envelope was put together by hand. What no decoder has seen must not reach an agent: it would
// end its session over it, again and again.
static bool decodes(const struct envelope *e)
{
    struct envelope unused;
    struct message *m = e->n_headers <= ENVELOPE_HEADERS_MAX ? message_new(e, 0) : NULL;
    bool ok = m && message_envelope(m, &unused);
    message_unref(m);
    return ok;
}

static void set_far_sender(struct submission *s)
{
    const struct remote_arrival *a = s->what.arrival;
    s->arrived = true;
    address_parse((const char *)a->envelope->from.data, a->envelope->from.len, &s->from);
    address_format(&s->from, s->from_text);
    s->source = (struct mediate_party){
        .tenant = s->from.tenant, .name = s->from.name, .labels = a->labels, .n_labels = a->n_labels};
    s->image = a->image;
}

static void set_sender(struct submission *s)
{
    const struct environment *e = s->what.sender;
    if (s->what.arrival) {
        set_far_sender(s);
        return;
    }
    snprintf(s->from.tenant, sizeof s->from.tenant, "%s", e ? e->tenant : NAME_HOST);
    snprintf(s->from.name, sizeof s->from.name, "%s", e ? e->name : ROUTER_OPERATOR);
    address_format(&s->from, s->from_text);
    s->source = (struct mediate_party){.tenant = s->from.tenant, .name = s->from.name};
    if (e)
        router_describe(s->router, s->from.tenant, s->from.name, &s->source, &s->image);
}

int router_submit(struct router *r, const struct submit *what)
{
    struct submission *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->router = r;
    s->what = *what;
    s->sender = what->sender;
    s->envelope = *what->untrusted_envelope;
    s->envelope.from = (struct wire_view){0};
    s->now_ms = r->ops->realtime_ms(r->ops_arg);
    s->now_ns = r->ops->monotonic_ns(r->ops_arg);
    s->n_pending = 1;
    set_sender(s);
    if (id_is_zero(&s->envelope.id))
        s->envelope.id = router_new_id(s->now_ms);
    s->receipt.id = s->envelope.id;
    submission_trace_begun(s, s->arrived ? TRACE_ARRIVED : TRACE_SUBMITTED,
                           s->sender ? s->sender->serial : 0);
    if ((what->sender || decodes(&s->envelope)) && take_fields(s)) {
        s->dedup_key = make_dedup_key(s);
        check_and_route(s);
    } else {
        submission_refuse(s, RECEIPT_INVALID, MEDIATE_REASON_ADDRESS);
    }
    return 0;
}

int router_submit_operator(struct router *r, const struct envelope *untrusted_envelope,
                           const struct router_operator_cb *cb, void *arg, uint64_t *ret_handle)
{
    *ret_handle = 0;
    const struct submit what = {.untrusted_envelope = untrusted_envelope,
                                .done = cb->on_receipt,
                                .on_reply = cb->on_reply,
                                .arg = arg,
                                .ret_handle = ret_handle};
    return router_submit(r, &what);
}

void router_operator_cancel(struct router *r, uint64_t handle)
{
    struct call *call = calls_find_handle(&r->calls, handle);
    if (call && !call->caller)
        call->on_reply = NULL;
}

int router_deliver(struct router *r, const struct remote_arrival *a, remote_decided_cb *done, void *arg)
{
    const struct submit what = {.arrival = a, .untrusted_envelope = a->envelope, .decided = done, .arg = arg};
    return router_submit(r, &what);
}
