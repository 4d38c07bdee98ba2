// Into the mailboxes and out with the receipt. A put may finish later, so everything that is needed then is
// in the submission; the receipt goes out, once, when the last put is done.
#include <errno.h>
#include <stdlib.h>

#include "route/refusal.h"
#include "route/submission.h"

// One receiver's put. The environment outlives it: closing a mailbox first finishes what is pending.
struct put {
    struct submission *submission;
    struct environment *target;
};

void submission_record(struct submission *s, const struct mediate_question *q,
                       const struct mediate_decision *d, enum receipt_code told)
{
    struct mediate_question as_addressed;
    if (s->n_recorded++ >= RECORDS_PER_MESSAGE)
        return;
    if (!q) {
        submission_question(s, NULL, &as_addressed);
        q = &as_addressed;
    }
    mediator_record(s->router->mediator, &s->receipt.id, s->now_ms, q, d, told);
    if (told == RECEIPT_ACCEPTED)
        submission_trace_begun(s, TRACE_ALLOWED, 0);
}

// Although its message was not accepted: as the one before made it, or as one that may have gone out, whose
// reply is welcome.
static bool goes_on(const struct submission *s, const struct call *made, enum receipt_code told)
{
    return s->call_again || ((made->caller || made->far) && told == RECEIPT_UNKNOWN_OUTCOME);
}

// A capability that was not used up goes on waiting for its reply; one that was made for a message that did
// not go out must not let anybody reply.
static void settle_calls(struct submission *s, enum receipt_code told)
{
    struct router *r = s->router;
    struct call *made = calls_find_handle(&r->calls, s->call_handle);
    if (made && !s->call_again)
        made->owed = false;
    if (made && told != RECEIPT_ACCEPTED && !goes_on(s, made, told)) {
        made->on_reply = NULL;
        calls_remove(made);
    } else if (made && told == RECEIPT_ACCEPTED && !made->caller && !made->far) {
        if (made->on_reply) // two wait for one reply: the later one gets it
            made->on_reply(made->arg, NULL);
        made->on_reply = s->what.on_reply;
        made->arg = s->what.arg;
        *s->what.ret_handle = made->handle;
    }
    struct call *answered = calls_find_handle(&r->calls, s->reply_to);
    if (answered && told != RECEIPT_ACCEPTED) {
        answered->answering = false;
        answered->reply_seq = 0;
    }
}

// Once. It may be asked for again, by who sends the call again.
static void tell_reply(struct call *call)
{
    void (*on_reply)(void *arg, const struct envelope *reply) = call->on_reply;
    struct message *m = message_ref(call->reply);
    struct envelope reply;
    call->on_reply = NULL;
    if (on_reply)
        on_reply(call->arg, message_envelope(m, &reply) ? &reply : NULL);
    message_unref(m);
}

// The reply is where it should be: nobody may reply again. An operator gets it now.
static void finish_reply(struct submission *s)
{
    struct call *call = calls_find_handle(&s->router->calls, s->reply_to);
    if (!call)
        return;
    if (s->what.sender && call->callee && !seen_has(call->callee->replies_sent, s->dedup_key))
        seen_add(call->callee->replies_sent, s->dedup_key);
    if (call->caller || call->far) {
        calls_remove(call);
        return;
    }
    calls_answer(call, s->message);
    if (!call->owed)
        tell_reply(call);
}

// An operator has its receipt now, and perhaps the reply came before it, or the deadline did.
static void finish_call(struct submission *s)
{
    struct call *made = calls_find_handle(&s->router->calls, s->call_handle);
    if (!s->what.on_reply || !s->call_handle)
        return;
    if (!made)
        s->what.on_reply(s->what.arg, NULL);
    else if (made->reply)
        tell_reply(made);
}

static void trace_end(const struct submission *s, const struct mediate_decision *d, enum receipt_code told)
{
    struct trace *t = &s->router->trace;
    enum trace_stage stage = told != RECEIPT_ACCEPTED     ? TRACE_REFUSED
                             : s->duplicate && !s->stored ? TRACE_DUPLICATE
                                                          : TRACE_ACCEPTED;
    trace_add_at(t, &(struct trace_record){.id = s->receipt.id,
                                           .at_ns = t->monotonic_ns(t->arg),
                                           .stage = (uint8_t)stage,
                                           .code = (uint8_t)d->code});
}

// What came from the broker: its sender has heard already that it was accepted.
static void finish_arrived(struct submission *s, const struct mediate_decision *d, enum receipt_code told,
                           const struct remote_refusal *refusal)
{
    router_count_arrived(s->router, told);
    router_fill_receipt(s->router, true, d, told, &s->receipt);
    s->what.decided(s->what.arg, &s->receipt, refusal);
}

static void finish(struct submission *s, const struct mediate_decision *d, enum receipt_code told)
{
    struct router *r = s->router;
    struct remote_refusal refusal;
    bool by_environment = s->what.sender != NULL, refused = s->arrived && told != RECEIPT_ACCEPTED;
    if (refused)
        refusal_of_submission(s, d, &refusal); // before its call is gone
    settle_calls(s, told);
    trace_end(s, d, told);
    r->stats.duplicates += told == RECEIPT_ACCEPTED && s->duplicate && !s->stored;
    if (s->arrived) {
        finish_arrived(s, d, told, refused ? &refusal : NULL);
    } else {
        router_count(r, by_environment ? directory_find(&r->directory, s->from.tenant, s->from.name) : NULL,
                     told);
        router_fill_receipt(r, !by_environment, d, told, &s->receipt);
        s->what.done(s->what.arg, &s->receipt);
    }
    if (told == RECEIPT_ACCEPTED) {
        finish_call(s);
        finish_reply(s);
    }
    message_unref(s->message);
    free(s);
}

void submission_refuse_by(struct submission *s, const struct mediate_question *q,
                          const struct mediate_decision *d)
{
    struct mediate_question as_addressed;
    if (!q) {
        submission_question(s, NULL, &as_addressed);
        q = &as_addressed;
    }
    enum receipt_code may_know = router_may_tell(s->router, q, d), told = s->arrived ? d->code : may_know;
    s->may_know = may_know;
    submission_record(s, q, d, told);
    finish(s, d, told);
}

void submission_refuse(struct submission *s, enum receipt_code code, enum mediate_reason reason)
{
    const struct mediate_decision d = {.code = code, .reason = reason, .rule = POLICY_RULE_NONE};
    s->may_know = code;
    submission_record(s, NULL, &d, code);
    finish(s, &d, code);
}

static enum mediate_reason link_reason(enum receipt_code refusal)
{
    return refusal == RECEIPT_NO_SUCH_ENVIRONMENT ? MEDIATE_REASON_NO_TARGET
           : refusal == RECEIPT_MAILBOX_FULL      ? MEDIATE_REASON_MAILBOX
                                                  : MEDIATE_REASON_LINK;
}

static void put_is_done(struct submission *s)
{
    if (--s->n_pending > 0)
        return;
    const struct mediate_decision accepted = {.code = RECEIPT_ACCEPTED, .rule = POLICY_RULE_NONE};
    if (s->stored || s->duplicate)
        finish(s, &accepted, RECEIPT_ACCEPTED);
    else if (s->link_refusal != RECEIPT_ACCEPTED)
        submission_refuse(s, s->link_refusal, link_reason(s->link_refusal));
    else if (s->unknown)
        submission_refuse(s, RECEIPT_UNKNOWN_OUTCOME, MEDIATE_REASON_MAILBOX);
    else
        submission_refuse(s, RECEIPT_MAILBOX_FULL, MEDIATE_REASON_MAILBOX);
}

static void on_put_done(void *arg, enum mailbox_outcome outcome)
{
    struct put *p = arg;
    struct submission *s = p->submission;
    struct endpoint *ep = p->target->endpoint;
    free(p);
    s->stored = s->stored || outcome == MAILBOX_STORED;
    s->duplicate = s->duplicate || outcome == MAILBOX_DUPLICATE;
    s->unknown = s->unknown || outcome == MAILBOX_UNKNOWN;
    if (outcome == MAILBOX_STORED && ep)
        ep->cb->on_mail(ep->arg);
    put_is_done(s);
}

int submission_put(struct submission *s, struct environment *target)
{
    if (!s->message && !(s->message = message_new(&s->envelope, s->dedup_key)))
        return -ENOMEM;
    struct put *p = malloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    *p = (struct put){.submission = s, .target = target};
    s->n_pending++;
    target->mailbox->ops->put(target->mailbox, s->message, s->now_ms, on_put_done, p);
    return 0;
}

static void on_reply_kept(void *arg, int rc)
{
    struct submission *s = arg;
    s->stored = rc == 0;
    s->unknown = rc == -EIO;
    put_is_done(s);
}

int submission_keep_reply(struct submission *s, struct call *call)
{
    if (!s->message && !(s->message = message_new(&s->envelope, s->dedup_key)))
        return -ENOMEM;
    int rc = durable_keep_answer(s->router->durable, call, s->message, on_reply_kept, s);
    s->n_pending += rc == 0;
    return rc;
}

static void on_sent(void *arg, enum remote_outcome outcome)
{
    static const enum receipt_code refusals[] = {
        [REMOTE_STORED] = RECEIPT_ACCEPTED,         [REMOTE_NOBODY] = RECEIPT_NO_SUCH_ENVIRONMENT,
        [REMOTE_FULL] = RECEIPT_MAILBOX_FULL,       [REMOTE_UNREACHABLE] = RECEIPT_HOST_UNREACHABLE,
        [REMOTE_UNKNOWN] = RECEIPT_UNKNOWN_OUTCOME,
    };
    struct submission *s = arg;
    if (outcome == REMOTE_STORED)
        trace_add(&s->router->trace, &s->receipt.id, TRACE_CONFIRMED, 0);
    const struct call *made = calls_find_handle(&s->router->calls, s->call_handle);
    s->stored = outcome == REMOTE_STORED || (made && made->reply); // what was answered has arrived
    s->link_refusal = refusals[outcome];
    // One that is here and was not found has a queue that is not declared yet.
    if (outcome == REMOTE_NOBODY && !s->to.is_service && !s->reply_to &&
        directory_find(&s->router->directory, s->to.tenant, s->to.name))
        s->link_refusal = RECEIPT_HOST_UNREACHABLE;
    put_is_done(s);
}

int submission_send(struct submission *s, const struct remote_message *m)
{
    struct router *r = s->router;
    s->n_pending++;
    trace_add(&r->trace, &s->receipt.id, TRACE_SENT, 0); // the outcome may come before this returns
    int rc = r->remote->send(r->remote_arg, m, on_sent, s);
    if (rc < 0)
        s->n_pending--;
    return rc;
}

void submission_close(struct submission *s)
{
    if (s->n_pending > 1) { // what others own may be gone when the last put is done
        s->sender = NULL;
        s->source.labels = NULL;
        s->source.n_labels = 0;
        s->image = NULL;
        s->what.arrival = NULL;
    }
    put_is_done(s);
}
