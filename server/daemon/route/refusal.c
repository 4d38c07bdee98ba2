// Owns what a caller hears whose call was refused after it was accepted: a reply with the code in a header
// and a sentence as its body, which goes where the reply would have gone. Called by store.c, calls.c and,
// through remote.h, by the link; decides nothing.
#include "route/refusal.h"

#include <stdio.h>
#include <string.h>

#include "route/submission.h"

#define SUBJECT "refused"
#define WORTH_MS                                                                                             \
    60000 // how long a refusal is worth something at most; the call's deadline is kept by its host

static void set_far(struct remote_refusal *ret, const char *host, const char *reply_to,
                    const char *correlation)
{
    snprintf(ret->host, sizeof ret->host, "%s", host ? host : "");
    snprintf(ret->reply_to, sizeof ret->reply_to, "%s", reply_to ? reply_to : "");
    snprintf(ret->correlation, sizeof ret->correlation, "%s", correlation ? correlation : "");
}

// The arrival itself may be gone: then the call that it made knows.
void refusal_of_submission(const struct submission *s, const struct mediate_decision *d,
                           struct remote_refusal *ret)
{
    const struct remote_arrival *a = s->what.arrival;
    const struct call *made = calls_find_handle(&s->router->calls, s->call_handle);
    struct router_receipt receipt = {.id = s->receipt.id};
    *ret = (struct remote_refusal){.sender = s->from,
                                   .receiver = s->to,
                                   .id = s->receipt.id,
                                   .kind = s->envelope.kind,
                                   .code = s->may_know,
                                   .own = a ? a->own : !(made && made->far)};
    router_fill_receipt(s->router, strcmp(s->from.tenant, NAME_HOST) == 0, d, s->may_know, &receipt);
    memcpy(ret->text, receipt.detail, sizeof ret->text);
    if (a && !a->own)
        set_far(ret, a->host, a->reply_to, a->correlation);
    else if (!a && made && made->far)
        set_far(ret, made->far->host, made->far->reply_to, made->far->correlation);
}

void refusal_of_call(const struct call *call, enum receipt_code code, struct remote_refusal *ret)
{
    *ret = (struct remote_refusal){
        .receiver = call->called, .id = call->id, .kind = MESSAGE_CALL, .code = code, .own = !call->far};
    if (call->far) {
        ret->sender = call->far->address;
        set_far(ret, call->far->host, call->far->reply_to, call->far->correlation);
    } else {
        snprintf(ret->sender.tenant, NAME_CAP, "%s", call->caller ? call->caller->tenant : NAME_HOST);
        snprintf(ret->sender.name, NAME_CAP, "%s", call->caller ? call->caller->name : ROUTER_OPERATOR);
    }
    snprintf(ret->text, sizeof ret->text, "it was deleted before it answered");
}

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void ignore_decision(void *arg, const struct router_receipt *receipt,
                            const struct remote_refusal *refusal)
{
    (void)arg;
    (void)receipt;
    (void)refusal;
}

static void ignore_outcome(void *arg, enum remote_outcome outcome)
{
    (void)arg;
    (void)outcome;
}

// Nobody waits for what becomes of it: when it does not arrive, the call ends at its deadline. An outside
// client may look at nothing but the body: that says it all.
static void send_away(struct router *r, const struct envelope *refused, const struct remote_refusal *refusal)
{
    struct envelope e = *refused;
    char text[ROUTER_DETAIL_CAP + 32];
    const struct mediate_party source = {.tenant = refusal->receiver.tenant, .name = refusal->receiver.name};
    const struct remote_message m = {.way = refusal->host[0] ? REMOTE_TO_HOST : REMOTE_TO_CLIENT,
                                     .envelope = &e,
                                     .to = &refusal->sender,
                                     .source = &source,
                                     .host = refusal->host,
                                     .reply_to = refusal->reply_to,
                                     .correlation = refusal->correlation};
    snprintf(text, sizeof text, "%s: %s", receipt_code_name(refusal->code), refusal->text);
    if (m.way == REMOTE_TO_CLIENT)
        e.body = view_of(text);
    if (r->remote && (refusal->host[0] || refusal->reply_to[0]))
        (void)r->remote->send(r->remote_arg, &m, ignore_outcome, NULL);
}

void router_tell_caller(struct router *r, const struct remote_refusal *refusal)
{
    char from[ADDRESS_CAP], to[ADDRESS_CAP];
    uint64_t now_ms = r->ops->realtime_ms(r->ops_arg);
    if (refusal->kind != MESSAGE_CALL)
        return;
    address_format(&refusal->receiver, from);
    address_format(&refusal->sender, to);
    struct envelope e = {
        .kind = MESSAGE_REPLY,
        .id = router_new_id(now_ms),
        .correlation = refusal->id,
        .expires_ms = now_ms + WORTH_MS,
        .from = view_of(from),
        .to = view_of(to),
        .subject = view_of(SUBJECT),
        .content_type = view_of("text/plain"),
        .n_headers = 1,
        .headers = {{view_of(ENVELOPE_REFUSED), view_of(receipt_code_name(refusal->code))}},
        .body = view_of(refusal->text),
    };
    const struct remote_arrival here = {.envelope = &e, .own = true};
    if (refusal->own)
        (void)router_deliver(r, &here, ignore_decision, NULL);
    else
        send_away(r, &e, refusal);
}
