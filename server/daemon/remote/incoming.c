// Deliveries on their way in: read, believed or not, decided on by the router, stored, and settled after
// that. What is refused goes the way of refuse.c; what came before is acknowledged.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "remote/bundle.h"
#include "remote/remote_internal.h"

#define SAID_MS 1000

// A delivery until it is settled.
struct delivery {
    struct remote *remote;
    uint64_t handle, consumer;
    const struct broker_delivery *now; // while its bytes are there; NULL afterwards
};

static void settle_stored(struct remote *r, struct intake *in, uint64_t handle)
{
    enum broker_settlement how = BROKER_ACK;
    if (!incoming_bundle_settled(r, handle, &how) || !r->broker)
        return;
    if (in && how == BROKER_ACK)
        intake_stored(in, handle);
    else
        broker_settle(r->broker, handle, how);
}

// The record of what never reached the router: with what could be read of it.
static void record(struct remote *r, const struct amqp_incoming *in, enum mediate_reason reason)
{
    char subject[SUBJECT_CAP];
    if (!wire_view_to_cstr(in->envelope.subject, subject, sizeof subject))
        subject[0] = '\0';
    const struct mediate_question q = {
        .source = {.tenant = in->from.tenant[0] ? in->from.tenant : NAME_CLIENTS, .name = in->from.name},
        .target = {.tenant = in->to.tenant, .name = in->to.is_service ? "" : in->to.name},
        .service = in->to.is_service ? in->to.name : NULL,
        .subject = subject,
        .kind = in->envelope.kind,
        .body_bytes = in->envelope.body.len};
    const struct mediate_decision d = {.code = reason == MEDIATE_REASON_MALFORMED ? RECEIPT_INVALID
                                                                                  : RECEIPT_DENIED,
                                       .reason = reason,
                                       .rule = POLICY_RULE_NONE};
    mediator_record(r->mediator, &in->envelope.id, io_realtime_ms(), &q, &d, d.code);
}

// One line a second: the metrics count them all, and who floods is not to fill the log.
static bool may_say(struct remote *r)
{
    uint64_t now_ms = io_realtime_ms();
    if (now_ms - r->said_ms < SAID_MS)
        return false;
    r->said_ms = now_ms;
    return true;
}

static void refuse_unread(struct remote *r, const struct broker_delivery *d, enum amqp_fault fault,
                          const char *what)
{
    const struct amqp_incoming *in = &r->incoming;
    bool lies = fault == AMQP_SENDER || fault == AMQP_REPLY_TO;
    struct remote_refusal refusal = {.code = lies ? RECEIPT_DENIED : RECEIPT_INVALID};
    r->stats.malformed[fault]++;
    record(r, &r->incoming, lies ? MEDIATE_REASON_SENDER : MEDIATE_REASON_MALFORMED);
    if (may_say(r))
        log_warn(NULL, "refused a message of exchange %.*s: %s: %s", (int)d->exchange.len, d->exchange.data,
                 amqp_fault_name(fault), what);
    if (amqp_read_way_back(d, &r->incoming)) { // of itself it may know everything
        refusal.kind = MESSAGE_CALL;
        refusal.sender = in->from;
        memcpy(refusal.receiver.tenant, NAME_HOST, sizeof NAME_HOST);
        memcpy(refusal.receiver.name, r->host, sizeof r->host);
        refusal.id = in->envelope.id;
        memcpy(refusal.reply_to, in->reply_to, sizeof in->reply_to);
        memcpy(refusal.correlation, in->correlation, sizeof in->correlation);
        snprintf(refusal.text, sizeof refusal.text, "%s: %s", amqp_fault_name(fault), what);
    }
    refuse_delivery(r, d, amqp_fault_name(fault), what, &refusal);
}

static void refuse_stale(struct remote *r, const struct broker_delivery *d)
{
    const struct amqp_incoming *in = &r->incoming;
    struct remote_refusal refusal = {.sender = in->from,
                                     .receiver = in->to,
                                     .id = in->envelope.id,
                                     .kind = in->envelope.kind,
                                     .code = RECEIPT_DENIED};
    memcpy(refusal.host, in->host, sizeof in->host);
    snprintf(refusal.text, sizeof refusal.text, "%s", mediate_reason_text(MEDIATE_REASON_STALE));
    r->stats.stale++;
    record(r, &r->incoming, MEDIATE_REASON_STALE);
    if (may_say(r))
        log_warn(NULL, "refused a message of an earlier life of host %s", r->incoming.host);
    refuse_delivery(r, d, "stale", mediate_reason_text(MEDIATE_REASON_STALE), &refusal);
}

void incoming_put_back(struct remote *r, uint64_t handle, struct intake *in)
{
    r->stats.put_back++;
    remote_settle(r, handle, BROKER_REQUEUE);
    if (in)
        intake_pause(in);
}

static void say_refused(struct remote *r, const struct router_receipt *receipt,
                        const struct remote_refusal *refusal)
{
    char sender[ADDRESS_CAP], receiver[ADDRESS_CAP], id[ID_TEXT_CAP];
    if (!may_say(r))
        return;
    address_format(&refusal->sender, sender);
    address_format(&refusal->receiver, receiver);
    id_format(&refusal->id, id);
    log_warn(receiver, "refused message %s of %s, sent by %s%s: %s: %s", id, sender,
             refusal->own       ? "this host"
             : refusal->host[0] ? "host "
                                : "a client",
             refusal->own ? "" : refusal->host, receipt_code_name(receipt->code), receipt->detail);
}

// Whether it may go another way later. What is full refuses its own queue's messages, which wait there; in
// the host's inbox they would be in others' way. What the journal could not store, after all, waits anywhere:
// everybody's mail is in that way.
static bool is_to_wait(const struct delivery *del, const struct intake *in, enum receipt_code code)
{
    bool own_queue = !in || in->kind != INTAKE_INBOX;
    bool gone = code == RECEIPT_NO_SUCH_ENVIRONMENT && in && in->kind == INTAKE_SERVICE;
    return code == RECEIPT_UNKNOWN_OUTCOME || gone || (code == RECEIPT_MAILBOX_FULL && own_queue) ||
           !del->now;
}

// A reply that nobody waits for any more is nothing that went wrong.
static void settle_refused(struct delivery *del, struct intake *in, const struct router_receipt *receipt,
                           const struct remote_refusal *refusal)
{
    struct remote *r = del->remote;
    if (receipt->code == RECEIPT_EXPIRED && refusal->kind == MESSAGE_REPLY) {
        r->stats.late++;
        remote_settle(r, del->handle, BROKER_ACK);
    } else if (is_to_wait(del, in, receipt->code)) {
        incoming_put_back(r, del->handle, in);
    } else {
        r->stats.refused[receipt->code]++;
        say_refused(r, receipt, refusal);
        refuse_delivery(r, del->now, receipt_code_name(receipt->code), receipt->detail, refusal);
    }
}

static void on_decided(void *arg, const struct router_receipt *receipt, const struct remote_refusal *refusal)
{
    struct delivery *del = arg;
    struct intake *in = intake_find(del->remote, del->consumer);
    if (receipt->code != RECEIPT_ACCEPTED)
        settle_refused(del, in, receipt, refusal);
    else
        settle_stored(del->remote, in, del->handle);
    if (del->now)
        del->handle = 0; // hand_over() frees it
    else
        free(del);
}

static void hand_over(struct remote *r, struct intake *in, const struct broker_delivery *d)
{
    const struct amqp_incoming *m = &r->incoming;
    const struct remote_arrival a = {.envelope = &m->envelope,
                                     .labels = m->labels,
                                     .n_labels = m->n_labels,
                                     .image = m->image,
                                     .own = !m->outside && !m->replayed && strcmp(m->host, r->host) == 0,
                                     .host = m->outside ? NULL : m->host,
                                     .reply_to = m->outside ? m->reply_to : NULL,
                                     .correlation = m->outside ? m->correlation : NULL};
    struct delivery *del = malloc(sizeof *del);
    if (!del) {
        incoming_put_back(r, d->handle, in);
        return;
    }
    *del = (struct delivery){.remote = r, .handle = d->handle, .consumer = d->consumer, .now = d};
    if (router_deliver(r->router, &a, on_decided, del) < 0) {
        incoming_put_back(r, d->handle, in);
        del->handle = 0;
    }
    del->now = NULL;
    if (del->handle == 0)
        free(del);
}

static void take_in(struct remote *r, const struct broker_delivery *d)
{
    const char *what = NULL;
    struct intake *in = intake_find(r, d->consumer);
    if (!in) { // stopped or paused meanwhile
        remote_settle(r, d->handle, BROKER_REQUEUE);
        return;
    }
    r->stats.delivered++;
    enum amqp_fault fault = amqp_read(d, io_realtime_ms(), &r->incoming, &what);
    enum intake_epoch epoch = fault != AMQP_GOOD || r->incoming.outside || r->incoming.replayed
                                  ? INTAKE_EPOCH_HOLDS
                                  : intake_epoch(in, r->incoming.host, r->incoming.epoch, d->redelivered);
    if (fault != AMQP_GOOD)
        refuse_unread(r, d, fault, what);
    else if (epoch == INTAKE_EPOCH_STALE)
        refuse_stale(r, d);
    else if (epoch == INTAKE_EPOCH_UNKEPT)
        incoming_put_back(r, d->handle, in);
    else
        hand_over(r, in, d);
}

void incoming_delivery(void *arg, const struct broker_delivery *d)
{
    struct remote *r = arg;
    if (remote_presence_is(r, d)) {
        remote_presence_heard(r, d);
        remote_settle(r, d->handle, BROKER_ACK);
        return;
    }
    if (remote_trace_is(r, d)) {
        remote_trace_heard(r, d);
        remote_settle(r, d->handle, BROKER_ACK);
        return;
    }
    int rc = bundle_is(d) ? incoming_bundle_open(r, d, take_in) : -ENOENT;
    if (rc == -ENOMEM)
        incoming_put_back(r, d->handle, intake_find(r, d->consumer));
    else if (rc < 0) // a message by itself; or what only looks like a bundle, and is no message either
        take_in(r, d);
}
