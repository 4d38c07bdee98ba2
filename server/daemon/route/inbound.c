// What arrives through the broker, where it differs from what environments of this host submit: whose call it
// is, and which call a reply answers.
#include <string.h>

#include "route/submission.h"

// Calls that wait for one environment's replies; and those of one tenant, or of one outside client, once half
// of them are taken: who leaves calls behind whose replies never come, or goes away, takes no place from
// others.
#define FAR_CALLS_MAX  4096
#define FAR_CALLS_EACH 256

// The caller's side of an own call is there already; without it nobody waits for the reply any more.
static enum receipt_code begin_own(struct submission *s, struct environment *callee)
{
    struct router *r = s->router;
    const struct environment *caller = directory_find(&r->directory, s->from.tenant, s->from.name);
    bool by_operator = strcmp(s->from.tenant, NAME_HOST) == 0;
    struct call *call = caller || by_operator ? calls_find_made(&r->calls, caller, &s->envelope.id) : NULL;
    if (!call)
        return RECEIPT_EXPIRED;
    if (!call->callee)
        calls_set_callee(call, callee);
    return RECEIPT_ACCEPTED;
}

static bool same_owner(const struct address *a, const struct address *b)
{
    return strcmp(a->tenant, b->tenant) == 0 &&
           (strcmp(a->tenant, NAME_CLIENTS) != 0 || strcmp(a->name, b->name) == 0);
}

static bool may_wait(const struct environment *callee, const struct address *from)
{
    const struct call *call;
    uint32_t n = 0;
    if (callee->n_calls_far < FAR_CALLS_MAX / 2)
        return true;
    LIST_FOREACH(call, &callee->calls_served, in_callee)
    n += call->far && same_owner(&call->far->address, from);
    return callee->n_calls_far < FAR_CALLS_MAX && n < FAR_CALLS_EACH;
}

enum receipt_code submission_begin_arrived_call(struct submission *s, struct environment *callee)
{
    struct router *r = s->router;
    const struct remote_arrival *a = s->what.arrival;
    if (a->own)
        return begin_own(s, callee);
    if (calls_find_served(&r->calls, callee, &s->envelope.id, &s->from))
        return RECEIPT_ACCEPTED;
    if (!may_wait(callee, &s->from))
        return RECEIPT_RATE_LIMITED;
    struct call_sides sides = {.callee = callee, .called = &s->to};
    sides.far = call_far_new(&s->from, a->host, a->reply_to, a->correlation);
    struct call *call =
        sides.far ? calls_add(r, &s->envelope.id, &sides, s->envelope.expires_ms, s->now_ms) : NULL;
    if (!call)
        return RECEIPT_MAILBOX_FULL;
    s->call_handle = call->handle;
    return RECEIPT_ACCEPTED;
}

// In the trace of the call itself.
static void trace_refusal(struct submission *s, const struct call *call, enum receipt_code code)
{
    trace_add_at(&s->router->trace,
                 &(struct trace_record){
                     .id = call->id, .at_ns = s->now_ns, .stage = TRACE_REFUSED, .code = (uint8_t)code});
}

void submission_arrived_reply(struct submission *s)
{
    struct router *r = s->router;
    bool to_operator = strcmp(s->to.tenant, NAME_HOST) == 0 && strcmp(s->to.name, ROUTER_OPERATOR) == 0;
    const struct environment *caller = directory_find(&r->directory, s->to.tenant, s->to.name);
    enum receipt_code refusal = envelope_refusal(&s->envelope);
    struct call *call = NULL;
    if (!s->to.is_service && (caller || to_operator))
        call = refusal == RECEIPT_ACCEPTED
                   ? calls_find_made_far(&r->calls, caller, &s->envelope.correlation, &s->from)
                   : calls_find_refused(&r->calls, caller, &s->envelope.correlation, &s->from);
    if (call && !call->answering && refusal != RECEIPT_ACCEPTED)
        trace_refusal(s, call, refusal);
    if (call && !call->answering)
        submission_answer(s, call);
    else
        submission_refuse(s, RECEIPT_EXPIRED, MEDIATE_REASON_NO_CALL);
}
