// Deliveries on their way in: read, believed or not, decided on by the router, stored, and settled after
// that. What is refused goes to the dead letters with the reason; what came before or too late is
// acknowledged.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "remote/remote_internal.h"

#define SAID_MS 1000

// A delivery until it is settled.
struct delivery {
    struct remote *remote;
    uint64_t handle, consumer;
    const struct broker_delivery *now; // while its bytes are there; NULL afterwards
};

// A copy among the dead letters that says why, before the original goes.
struct burial {
    struct remote *remote;
    uint64_t handle;
};

static void settle(struct remote *r, uint64_t handle, enum broker_settlement how)
{
    if (r->broker)
        broker_settle(r->broker, handle, how);
}

static struct broker_text text_of(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

// Without the copy the original is dead-lettered as it is: no reason, but not lost.
static void on_buried(void *arg, enum broker_outcome outcome)
{
    struct burial *b = arg;
    settle(b->remote, b->handle, outcome == BROKER_CONFIRMED ? BROKER_ACK : BROKER_DEAD_LETTER);
    free(b);
}

static int publish_copy(struct remote *r, const struct broker_delivery *d, const char *code, const char *why,
                        struct burial *b)
{
    char exchange[BROKER_SHORT_MAX + 1], user[BROKER_SHORT_MAX + 1];
    struct broker_publication p = {.exchange = text_of(AMQP_EXCHANGE_DEAD),
                                   .routing_key = d->routing_key,
                                   .properties = d->properties,
                                   .body = d->body,
                                   .patience_ms = 10000};
    snprintf(exchange, sizeof exchange, "%.*s", (int)d->exchange.len, d->exchange.data);
    snprintf(user, sizeof user, "%.*s", (int)d->properties.user_id.len,
             d->properties.user_id.data ? d->properties.user_id.data : "");
    const struct broker_header headers[] = {
        {text_of("env-refused"), text_of(code)},       {text_of("env-refused-why"), text_of(why)},
        {text_of("env-refused-by"), text_of(r->host)}, {text_of("env-refused-exchange"), text_of(exchange)},
        {text_of("env-refused-user"), text_of(user)},
    };
    const size_t n = sizeof headers / sizeof headers[0];
    if (p.properties.n_headers + n > BROKER_HEADERS_MAX)
        return -EMSGSIZE;
    memcpy(p.properties.headers + p.properties.n_headers, headers, sizeof headers);
    p.properties.n_headers += n;
    p.properties.user_id = text_of(r->user); // the broker takes no other
    p.properties.expiration = (struct broker_text){NULL, 0};
    return broker_publish(r->broker, &p, on_buried, b);
}

static void bury(struct remote *r, const struct broker_delivery *d, uint64_t handle, const char *code,
                 const char *why)
{
    struct burial *b = d ? malloc(sizeof *b) : NULL;
    if (b) {
        *b = (struct burial){r, handle};
        if (publish_copy(r, d, code, why, b) == 0)
            return;
        free(b);
    }
    settle(r, handle, BROKER_DEAD_LETTER);
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
    bool lies = fault == AMQP_SENDER || fault == AMQP_REPLY_TO;
    r->stats.malformed[fault]++;
    record(r, &r->incoming, lies ? MEDIATE_REASON_SENDER : MEDIATE_REASON_MALFORMED);
    if (may_say(r))
        log_warn(NULL, "refused a message of exchange %.*s: %s: %s", (int)d->exchange.len, d->exchange.data,
                 amqp_fault_name(fault), what);
    bury(r, d, d->handle, amqp_fault_name(fault), what);
}

static void refuse_stale(struct remote *r, const struct broker_delivery *d)
{
    r->stats.stale++;
    record(r, &r->incoming, MEDIATE_REASON_STALE);
    if (may_say(r))
        log_warn(NULL, "refused a message of an earlier life of host %s", r->incoming.host);
    bury(r, d, d->handle, "stale", mediate_reason_text(MEDIATE_REASON_STALE));
}

static void put_back(struct remote *r, uint64_t handle, struct intake *in)
{
    r->stats.put_back++;
    settle(r, handle, BROKER_REQUEUE);
    if (in)
        intake_pause(in);
}

// What is full refuses its own queue's messages, which wait there; in the host's inbox they would be in
// others' way.
static void settle_refused(struct delivery *del, struct intake *in, const struct router_receipt *receipt)
{
    struct remote *r = del->remote;
    bool own_queue = !in || in->kind != INTAKE_INBOX;
    bool gone = receipt->code == RECEIPT_NO_SUCH_ENVIRONMENT && in && in->kind == INTAKE_SERVICE;
    if (receipt->code == RECEIPT_EXPIRED) {
        r->stats.expired++;
        settle(r, del->handle, BROKER_ACK);
    } else if (receipt->code == RECEIPT_UNKNOWN_OUTCOME || gone ||
               (receipt->code == RECEIPT_MAILBOX_FULL && own_queue)) {
        put_back(r, del->handle, in);
    } else {
        r->stats.refused[receipt->code]++;
        bury(r, del->now, del->handle, receipt_code_name(receipt->code), receipt->detail);
    }
}

static void on_decided(void *arg, const struct router_receipt *receipt)
{
    struct delivery *del = arg;
    struct intake *in = intake_find(del->remote, del->consumer);
    if (receipt->code != RECEIPT_ACCEPTED)
        settle_refused(del, in, receipt);
    else if (in && del->remote->broker)
        intake_stored(in, del->handle);
    else
        settle(del->remote, del->handle, BROKER_ACK);
    if (del->now)
        del->handle = 0; // incoming_delivery() frees it
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
        put_back(r, d->handle, in);
        return;
    }
    *del = (struct delivery){.remote = r, .handle = d->handle, .consumer = d->consumer, .now = d};
    if (router_deliver(r->router, &a, on_decided, del) < 0) {
        put_back(r, d->handle, in);
        del->handle = 0;
    }
    del->now = NULL;
    if (del->handle == 0)
        free(del);
}

void incoming_delivery(void *arg, const struct broker_delivery *d)
{
    struct remote *r = arg;
    const char *what = NULL;
    struct intake *in = intake_find(r, d->consumer);
    if (!in) { // stopped or paused meanwhile
        settle(r, d->handle, BROKER_REQUEUE);
        return;
    }
    if (remote_presence_is(r, d)) {
        remote_presence_heard(r, d);
        settle(r, d->handle, BROKER_ACK);
        return;
    }
    if (remote_trace_is(r, d)) {
        remote_trace_heard(r, d);
        settle(r, d->handle, BROKER_ACK);
        return;
    }
    r->stats.delivered++;
    enum amqp_fault fault = amqp_read(d, io_realtime_ms(), &r->incoming, &what);
    if (fault != AMQP_GOOD)
        refuse_unread(r, d, fault, what);
    else if (!r->incoming.outside && !r->incoming.replayed &&
             !intake_epoch_holds(in, r->incoming.host, r->incoming.epoch, d->redelivered))
        refuse_stale(r, d);
    else
        hand_over(r, in, d);
}
