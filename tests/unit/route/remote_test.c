// Tests of routing across hosts: what leaves by the broker and what its answers become, what arrives and who
// answers it (outbound.c, inbound.c, calls.c). The link is played by the test.
#include "fixture.h"

#include <errno.h>

#include "route/remote.h"
#include "route/trace.h"

static struct fixture f;

// What the router last asked of the link.
static struct {
    unsigned n_sent;
    int rc; // of the next send
    enum remote_way way;
    enum message_kind kind;
    char to[ADDRESS_CAP], from[ADDRESS_CAP], host[NAME_CAP], reply_to[64], correlation[64], label[64];
    char body[128];
    enum receipt_code refusal;
    struct id id, call;
    uint64_t expires_ms;
    remote_done_cb *done;
    void *done_arg;
    char told[256]; // everything else that the link was told, in order
} link_;

static void keep(char *out, size_t cap, const char *s)
{
    snprintf(out, cap, "%s", s ? s : "");
}

static int fake_send(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg)
{
    (void)arg;
    link_.n_sent++;
    link_.way = m->way;
    link_.kind = m->envelope->kind;
    link_.id = m->envelope->id;
    link_.call = m->envelope->correlation;
    link_.expires_ms = m->envelope->expires_ms;
    wire_view_to_cstr(m->envelope->to, link_.to, sizeof link_.to);
    wire_view_to_cstr(m->envelope->from, link_.from, sizeof link_.from);
    wire_view_to_cstr(m->envelope->body, link_.body, sizeof link_.body);
    link_.refusal = envelope_refusal(m->envelope);
    keep(link_.host, sizeof link_.host, m->host);
    keep(link_.reply_to, sizeof link_.reply_to, m->reply_to);
    keep(link_.correlation, sizeof link_.correlation, m->correlation);
    keep(link_.label, sizeof link_.label, m->source->n_labels ? m->source->labels[0].key : "");
    link_.done = done;
    link_.done_arg = done_arg;
    return link_.rc;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list ap;
    size_t len = strlen(link_.told);
    va_start(ap, format);
    vsnprintf(link_.told + len, sizeof link_.told - len, format, ap);
    va_end(ap);
}

static void fake_added(void *arg, const char *tenant, const char *name, bool queue)
{
    (void)arg;
    tell("+%s/%s%s ", tenant, name, queue ? " queue" : " host");
}

static void fake_removed(void *arg, const char *tenant, const char *name, bool queue)
{
    (void)arg;
    tell("-%s/%s%s ", tenant, name, queue ? " queue" : " host");
}

static void fake_running(void *arg, const char *tenant, const char *name, bool running)
{
    (void)arg;
    tell("%s/%s %s ", tenant, name, running ? "runs" : "stops");
}

static void fake_served(void *arg, const char *tenant, const char *service, bool served)
{
    (void)arg;
    tell("%s/:%s %s ", tenant, service, served ? "served" : "unserved");
}

static void fake_processed(void *arg, const char *tenant, const char *name)
{
    (void)arg;
    tell("%s/%s processed ", tenant, name);
}

static void fake_describe(void *arg, char *out, size_t cap)
{
    (void)arg;
    snprintf(out, cap, "unreachable: no route to it");
}

static const struct remote_ops fake_ops = {
    .send = fake_send,
    .environment_added = fake_added,
    .environment_removed = fake_removed,
    .environment_running = fake_running,
    .service_served = fake_served,
    .mail_processed = fake_processed,
    .describe_link = fake_describe,
};

static struct endpoint *web, *db; // acme/web's mail comes directly, acme/db's by a queue

static void ignore_mail(void *arg)
{
    (void)arg;
}

static const struct endpoint_cb callbacks = {.on_mail = ignore_mail, .on_removed = ignore_mail};

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    memset(&link_, 0, sizeof link_);
    router_set_remote(f.router, &fake_ops, NULL);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "web", ROUTER_MAILBOX_HOST), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_DEFAULT), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "web", &callbacks, NULL, &web), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint_detach(web);
    endpoint_detach(db);
    fixture_done(&f);
    return 0;
}

static struct router_receipt last;
static unsigned n_receipts;

static void note_receipt(void *arg, const struct router_receipt *receipt)
{
    (void)arg;
    last = *receipt;
    n_receipts++;
}

static struct envelope envelope(unsigned n, const char *from, const char *to, enum message_kind kind)
{
    return (struct envelope){.kind = kind,
                             .id = numbered_id(n),
                             .from = text_view(from),
                             .to = text_view(to),
                             .subject = text_view("q"),
                             .body = text_view("hello")};
}

static struct envelope reply_envelope(unsigned n, unsigned call, const char *from, const char *to)
{
    struct envelope e = envelope(n, from, to, MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    e.subject = text_view("");
    return e;
}

// How many receipts came at once.
static unsigned submit(struct endpoint *ep, const struct envelope *e)
{
    unsigned before = n_receipts;
    assert_int_equal(endpoint_submit(ep, e, note_receipt, NULL), 0);
    router_flush(f.router);
    return n_receipts - before;
}

static unsigned send_kind(struct endpoint *ep, unsigned n, const char *to, enum message_kind kind)
{
    struct envelope e = envelope(n, "", to, kind);
    return submit(ep, &e);
}

static enum receipt_code link_says(enum remote_outcome outcome)
{
    unsigned before = n_receipts;
    link_.done(link_.done_arg, outcome);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

static struct remote_refusal refused; // the last one

static void note_decision(void *arg, const struct router_receipt *receipt,
                          const struct remote_refusal *refusal)
{
    note_receipt(arg, receipt);
    assert_true((refusal == NULL) == (receipt->code == RECEIPT_ACCEPTED));
    if (refusal)
        refused = *refusal;
}

static enum receipt_code deliver(const struct remote_arrival *a)
{
    unsigned before = n_receipts;
    assert_int_equal(router_deliver(f.router, a, note_decision, NULL), 0);
    router_flush(f.router);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

static enum receipt_code arrives(const struct envelope *e, const char *host)
{
    const struct remote_arrival a = {.envelope = e, .host = host};
    return deliver(&a);
}

// The number of the next message, 0 when there is none; acknowledged.
static unsigned receive(struct endpoint *ep, char from[ADDRESS_CAP])
{
    struct envelope e;
    unsigned n = 0;
    struct message *m = endpoint_next(ep, false);
    if (!m)
        return 0;
    assert_true(message_envelope(m, &e));
    memcpy(&n, m->id.bytes + 1, sizeof n);
    if (from)
        wire_view_to_cstr(e.from, from, ADDRESS_CAP);
    endpoint_ack(ep, &m->id);
    message_unref(m);
    return n;
}

static void what_is_not_here_leaves_and_the_brokers_answer_is_the_receipt(void **state)
{
    (void)state;
    static const struct {
        enum remote_outcome outcome;
        enum receipt_code code;
    } cases[] = {
        {REMOTE_STORED, RECEIPT_ACCEPTED},         {REMOTE_NOBODY, RECEIPT_NO_SUCH_ENVIRONMENT},
        {REMOTE_FULL, RECEIPT_MAILBOX_FULL},       {REMOTE_UNREACHABLE, RECEIPT_HOST_UNREACHABLE},
        {REMOTE_UNKNOWN, RECEIPT_UNKNOWN_OUTCOME},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(send_kind(web, i + 1, "far", MESSAGE_SEND), 0);
        assert_int_equal(link_.way, REMOTE_TO_RECEIVER);
        assert_string_equal(link_.to, "acme/far");
        assert_string_equal(link_.from, "acme/web");
        assert_int_equal(link_says(cases[i].outcome), cases[i].code);
    }
}

static void add_stage(void *arg, const struct trace_view *v)
{
    char *text = arg;
    strcat(strcat(text, trace_stage_name(v->stage)), " ");
}

static void each_host_remembers_its_part_of_a_trace(void **state)
{
    (void)state;
    char sent[256] = "", arrived[256] = "";
    const struct id out = numbered_id(1), in = numbered_id(2);
    const struct envelope e = envelope(2, "acme/far", "acme/web", MESSAGE_SEND);
    send_kind(web, 1, "far", MESSAGE_SEND);
    link_says(REMOTE_STORED);
    router_trace(f.router, &out, add_stage, sent);
    assert_string_equal(sent, "submitted allowed sent confirmed accepted ");
    assert_int_equal(arrives(&e, "other"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(web, NULL), 2);
    router_trace(f.router, &in, add_stage, arrived);
    assert_string_equal(arrived, "arrived allowed stored accepted delivered acknowledged ");
}

static void a_receiver_here_without_a_queue_is_reached_directly(void **state)
{
    (void)state;
    assert_int_equal(send_kind(db, 1, "web", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_ACCEPTED);
    assert_int_equal(link_.n_sent, 0);
    assert_int_equal(receive(web, NULL), 1);
}

static void a_receiver_here_with_a_queue_is_reached_through_it(void **state)
{
    (void)state;
    assert_int_equal(send_kind(web, 1, "db", MESSAGE_SEND), 0);
    assert_string_equal(link_.to, "acme/db");
    assert_int_equal(link_says(REMOTE_STORED), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 0);
}

static void a_receiver_here_whose_queue_is_not_there_yet_is_unreachable_not_unknown(void **state)
{
    (void)state;
    send_kind(web, 1, "db", MESSAGE_SEND);
    assert_int_equal(link_says(REMOTE_NOBODY), RECEIPT_HOST_UNREACHABLE);
}

static void services_are_left_to_the_broker_and_events_go_to_all_servers(void **state)
{
    (void)state;
    send_kind(web, 1, ":s", MESSAGE_SEND);
    assert_int_equal(link_.way, REMOTE_TO_RECEIVER);
    assert_string_equal(link_.to, "acme/:s");
    link_says(REMOTE_STORED);
    send_kind(web, 2, ":s", MESSAGE_EVENT);
    assert_int_equal(link_.way, REMOTE_TO_SERVERS);
    link_says(REMOTE_STORED);
}

static void the_policy_is_asked_before_anything_leaves(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/web acme/near allow");
    assert_int_equal(send_kind(web, 1, "far", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_DENIED);
    assert_int_equal(link_.n_sent, 0);
}

static void a_rule_for_labels_of_the_target_matches_nobody_elsewhere(void **state)
{
    (void)state;
    fixture_policy(&f, "* * acme/@role=db allow");
    assert_int_equal(send_kind(web, 1, "far", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_DENIED);
    fixture_policy(&f, "* * acme/@role=db deny\n* * * allow");
    assert_int_equal(send_kind(web, 2, "far", MESSAGE_SEND), 0);
    link_says(REMOTE_STORED);
}

static void a_message_that_cannot_be_sent_is_refused_at_once(void **state)
{
    (void)state;
    link_.rc = -ENOBUFS;
    assert_int_equal(send_kind(web, 1, "far", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_HOST_UNREACHABLE);
    link_.rc = -EMSGSIZE;
    assert_int_equal(send_kind(web, 2, "far", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_TOO_LARGE);
}

static void an_operator_reads_what_is_wrong_with_the_link(void **state)
{
    (void)state;
    static const struct router_operator_cb cb = {.on_receipt = note_receipt};
    struct envelope e = envelope(1, "", "acme/far", MESSAGE_SEND);
    uint64_t handle;
    assert_int_equal(router_submit_operator(f.router, &e, &cb, NULL, &handle), 0);
    router_flush(f.router);
    assert_int_equal(link_says(REMOTE_UNREACHABLE), RECEIPT_HOST_UNREACHABLE);
    assert_non_null(strstr(last.detail, "no route to it"));
}

static void a_call_is_answered_from_elsewhere_once(void **state)
{
    (void)state;
    char from[ADDRESS_CAP];
    send_kind(web, 1, "far", MESSAGE_CALL);
    assert_true(link_.expires_ms > f.now_ms);
    link_says(REMOTE_STORED);
    struct envelope reply = reply_envelope(2, 1, "acme/far", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(web, from), 2);
    assert_string_equal(from, "acme/far");
    struct envelope second = reply_envelope(3, 1, "acme/far", "acme/web");
    assert_int_equal(arrives(&second, "h2"), RECEIPT_EXPIRED);
}

static void nobody_else_may_answer_a_call(void **state)
{
    (void)state;
    send_kind(web, 1, "far", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope reply = reply_envelope(2, 1, "acme/other", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_EXPIRED);
    struct envelope other = reply_envelope(3, 1, "acme/far", "acme/db");
    assert_int_equal(arrives(&other, "h2"), RECEIPT_EXPIRED);
    assert_int_equal(receive(web, NULL), 0);
}

static void any_server_of_the_tenant_may_answer_a_call_to_its_service(void **state)
{
    (void)state;
    send_kind(web, 1, ":s", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope foreign = reply_envelope(2, 1, "beta/x", "acme/web");
    assert_int_equal(arrives(&foreign, "h2"), RECEIPT_EXPIRED);
    struct envelope reply = reply_envelope(3, 1, "acme/x", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_ACCEPTED);
}

static void a_call_that_was_not_sent_has_no_capability(void **state)
{
    (void)state;
    send_kind(web, 1, "far", MESSAGE_CALL);
    link_says(REMOTE_UNREACHABLE);
    struct envelope reply = reply_envelope(2, 1, "acme/far", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_EXPIRED);
}

static unsigned n_replies;

static void note_reply(void *arg, const struct envelope *reply)
{
    (void)arg;
    n_replies += reply != NULL;
}

static void an_operators_call_is_answered_from_elsewhere(void **state)
{
    (void)state;
    static const struct router_operator_cb cb = {note_receipt, note_reply};
    struct envelope e = envelope(1, "", "acme/far", MESSAGE_CALL);
    uint64_t handle;
    assert_int_equal(router_submit_operator(f.router, &e, &cb, NULL, &handle), 0);
    router_flush(f.router);
    link_says(REMOTE_STORED);
    struct envelope reply = reply_envelope(2, 1, "acme/far", "host/operator");
    n_replies = 0;
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, 1);
}

static void a_reply_that_overtakes_an_operators_receipt_follows_it(void **state)
{
    (void)state;
    static const struct router_operator_cb cb = {note_receipt, note_reply};
    struct envelope e = envelope(1, "", "acme/far", MESSAGE_CALL);
    uint64_t handle;
    assert_int_equal(router_submit_operator(f.router, &e, &cb, NULL, &handle), 0);
    remote_done_cb *done = link_.done;
    struct envelope reply = reply_envelope(2, 1, "acme/far", "host/operator");
    n_replies = 0;
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, 0);
    link_.done = done;
    assert_int_equal(link_says(REMOTE_UNKNOWN), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, 1);
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_EXPIRED);
}

static void what_arrives_is_decided_on_again(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_SEND);
    fixture_policy(&f, "* * * deny");
    assert_int_equal(arrives(&e, "h2"), RECEIPT_DENIED);
    struct mediate_record const *r = mediator_find(f.mediator, &last.id, 0);
    assert_non_null(r);
    assert_string_equal(r->question.source.name, "far");
    fixture_policy(&f, "* acme/far acme/db allow");
    assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 1);
}

static void the_senders_labels_and_image_come_with_the_message(void **state)
{
    (void)state;
    static const char image[] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    const struct mediate_label label = {"role", "web"};
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_SEND);
    struct remote_arrival a = {.envelope = &e, .host = "h2"};
    char rules[256];
    snprintf(rules, sizeof rules, "* acme/@role=web acme/db allow image=%s", image);
    fixture_policy(&f, rules);
    assert_int_equal(deliver(&a), RECEIPT_DENIED);
    a.labels = &label;
    a.n_labels = 1;
    assert_int_equal(deliver(&a), RECEIPT_DENIED);
    a.image = image;
    assert_int_equal(deliver(&a), RECEIPT_ACCEPTED);
}

static void what_arrives_twice_is_delivered_once(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_SEND);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 1);
    assert_int_equal(receive(db, NULL), 0);
}

static void what_arrives_for_nobody_or_too_late_is_refused(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/nobody", MESSAGE_SEND);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_NO_SUCH_ENVIRONMENT);
    struct envelope late = envelope(2, "acme/far", "acme/db", MESSAGE_SEND);
    late.expires_ms = f.now_ms - 1;
    assert_int_equal(arrives(&late, "h2"), RECEIPT_EXPIRED);
    assert_int_equal(link_.n_sent, 0);
}

// What the host of `from` says to a call.
static struct envelope refusal_envelope(unsigned n, unsigned call, const char *from, const char *to,
                                        const char *code)
{
    struct envelope e = reply_envelope(n, call, from, to);
    e.n_headers = 1;
    e.headers[0] = (struct envelope_header){text_view(ENVELOPE_REFUSED), text_view(code)};
    return e;
}

static void a_far_call_that_is_refused_is_answered_with_the_refusal(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny # secret");
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_DENIED);
    assert_int_equal(link_.n_sent, 0); // that is for the link to begin
    router_tell_caller(f.router, &refused);
    assert_int_equal(link_.n_sent, 1);
    assert_int_equal(link_.way, REMOTE_TO_HOST);
    assert_int_equal(link_.kind, MESSAGE_REPLY);
    assert_int_equal(link_.refusal, RECEIPT_DENIED);
    assert_string_equal(link_.host, "h2");
    assert_string_equal(link_.to, "acme/far");
    assert_string_equal(link_.from, "acme/db");
    const struct id call = numbered_id(1);
    assert_true(id_equals(&link_.call, &call));
    assert_null(strstr(link_.body, "secret")); // the rule is not the sender's to know
}

static void across_tenants_a_refusal_tells_nothing_of_what_exists(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/* beta/@secret=yes deny\n* acme/* beta/* allow");
    struct envelope e = envelope(1, "acme/far", "beta/secret", MESSAGE_CALL);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_DENIED);
    router_tell_caller(f.router, &refused);
    assert_int_equal(link_.refusal, RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void an_operator_elsewhere_reads_the_rule(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny # no");
    struct envelope e = envelope(1, "host/operator", "acme/db", MESSAGE_CALL);
    arrives(&e, "h2");
    router_tell_caller(f.router, &refused);
    assert_string_equal(link_.body, "a rule decided: main:1: * * * deny");
}

static void a_refused_outside_call_is_answered_where_it_said(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "amqp/ops", "acme/nobody", MESSAGE_CALL);
    const struct remote_arrival a = {
        .envelope = &e, .reply_to = "client.ops.answers", .correlation = "my own"};
    assert_int_equal(deliver(&a), RECEIPT_NO_SUCH_ENVIRONMENT);
    router_tell_caller(f.router, &refused);
    assert_int_equal(link_.way, REMOTE_TO_CLIENT);
    assert_string_equal(link_.reply_to, "client.ops.answers");
    assert_string_equal(link_.correlation, "my own");
    assert_int_equal(link_.refusal, RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_memory_equal(link_.body, "no-such-environment: ", 21);
}

static void who_sends_without_waiting_is_not_told(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/nobody", MESSAGE_SEND);
    arrives(&e, "h2");
    router_tell_caller(f.router, &refused);
    assert_int_equal(link_.n_sent, 0);
}

static void a_far_refusal_ends_the_call_at_once(void **state)
{
    (void)state;
    struct router_stats stats;
    send_kind(web, 1, "far", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope no = refusal_envelope(2, 1, "acme/far", "acme/web", "mailbox-full"), got;
    assert_int_equal(arrives(&no, "h2"), RECEIPT_ACCEPTED);
    struct message *m = endpoint_next(web, true); // like a reply: without credit
    assert_non_null(m);
    assert_true(message_envelope(m, &got));
    assert_int_equal(envelope_refusal(&got), RECEIPT_MAILBOX_FULL);
    message_unref(m);
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.calls_waiting, 0);
    struct envelope reply = reply_envelope(3, 1, "acme/far", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_EXPIRED);
}

static void a_refusal_of_what_nobody_waits_for_is_ignored(void **state)
{
    (void)state;
    send_kind(web, 1, "far", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope unknown = refusal_envelope(2, 9, "acme/far", "acme/web", "denied");
    assert_int_equal(arrives(&unknown, "h2"), RECEIPT_EXPIRED);
    struct envelope other = refusal_envelope(3, 1, "acme/other", "acme/web", "denied");
    assert_int_equal(arrives(&other, "h2"), RECEIPT_EXPIRED);
    struct envelope reply = reply_envelope(4, 1, "acme/far", "acme/web");
    assert_int_equal(arrives(&reply, "h2"), RECEIPT_ACCEPTED);
}

static void a_services_call_is_refused_in_the_services_name(void **state)
{
    (void)state;
    send_kind(web, 1, ":s", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope no = refusal_envelope(2, 1, "acme/:s", "acme/web", "denied");
    assert_int_equal(arrives(&no, "h2"), RECEIPT_ACCEPTED);
}

static void an_environment_cannot_make_a_refusal(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    arrives(&e, "h2");
    struct envelope fake = refusal_envelope(2, 1, "", "acme/far", "denied");
    assert_int_equal(submit(db, &fake), 1);
    assert_int_equal(last.code, RECEIPT_INVALID);
    assert_int_equal(link_.n_sent, 0);
}

static void an_own_call_that_is_refused_behind_the_broker_ends_at_once(void **state)
{
    (void)state;
    struct envelope got;
    send_kind(web, 1, "db", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    fixture_policy(&f, "* * * deny");
    struct envelope e = envelope(1, "acme/web", "acme/db", MESSAGE_CALL);
    const struct remote_arrival a = {.envelope = &e, .host = "h1", .own = true};
    assert_int_equal(deliver(&a), RECEIPT_DENIED);
    router_tell_caller(f.router, &refused);
    router_flush(f.router);
    assert_int_equal(link_.n_sent, 1); // the call
    struct message *m = endpoint_next(web, true);
    assert_non_null(m);
    assert_true(message_envelope(m, &got));
    assert_int_equal(envelope_refusal(&got), RECEIPT_DENIED);
    message_unref(m);
}

static void who_called_an_environment_that_is_deleted_is_told(void **state)
{
    (void)state;
    struct envelope far_call = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    assert_int_equal(arrives(&far_call, "h2"), RECEIPT_ACCEPTED);
    endpoint_detach(db);
    db = NULL;
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(link_.refusal, RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_string_equal(link_.host, "h2");
    struct router_stats stats;
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.calls_waiting, 0);
}

static void the_trace_of_a_call_has_its_far_refusal(void **state)
{
    (void)state;
    send_kind(web, 1, "far", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope no = refusal_envelope(2, 1, "acme/far", "acme/web", "denied");
    char stages[256] = "";
    const struct id call = numbered_id(1);
    arrives(&no, "h2");
    router_trace(f.router, &call, add_stage, stages);
    assert_string_equal(stages, "submitted allowed sent confirmed accepted refused ");
}

static void a_far_call_is_answered_to_its_host_once(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 1);
    struct envelope reply = reply_envelope(2, 1, "", "acme/far");
    assert_int_equal(submit(db, &reply), 0);
    assert_int_equal(link_.way, REMOTE_TO_HOST);
    assert_string_equal(link_.host, "h2");
    assert_string_equal(link_.to, "acme/far");
    assert_string_equal(link_.from, "acme/db");
    assert_int_equal(link_says(REMOTE_STORED), RECEIPT_ACCEPTED);
    struct envelope second = reply_envelope(3, 1, "", "acme/far");
    assert_int_equal(submit(db, &second), 1);
    assert_int_equal(last.code, RECEIPT_EXPIRED);
}

static void a_reply_that_did_not_get_out_may_be_sent_again(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    arrives(&e, "h2");
    struct envelope reply = reply_envelope(2, 1, "", "acme/far");
    submit(db, &reply);
    assert_int_equal(link_says(REMOTE_UNREACHABLE), RECEIPT_HOST_UNREACHABLE);
    submit(db, &reply);
    assert_int_equal(link_says(REMOTE_STORED), RECEIPT_ACCEPTED);
}

static enum receipt_code far_call(unsigned n, const char *from)
{
    struct envelope e = envelope(n, from, "acme/db", MESSAGE_CALL);
    enum receipt_code code = arrives(&e, "h2");
    if (code == RECEIPT_ACCEPTED)
        receive(db, NULL);
    return code;
}

static void a_tenant_whose_calls_wait_takes_no_place_from_others(void **state)
{
    (void)state;
    unsigned n = 1;
    while (n < 4096 && far_call(n, n % 2 ? "beta/a" : "beta/b") == RECEIPT_ACCEPTED)
        n++;
    assert_int_equal(n, 2049);
    assert_int_equal(last.code, RECEIPT_RATE_LIMITED);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(far_call(10000 + i, "acme/far"), RECEIPT_ACCEPTED);
    assert_int_equal(far_call(11000, "acme/far"), RECEIPT_RATE_LIMITED);
    assert_int_equal(far_call(12000, "gamma/far"), RECEIPT_ACCEPTED);
}

static void a_far_call_that_was_denied_cannot_be_answered(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    struct envelope e = envelope(1, "acme/far", "acme/db", MESSAGE_CALL);
    arrives(&e, "h2");
    struct envelope reply = reply_envelope(2, 1, "", "acme/far");
    assert_int_equal(submit(db, &reply), 1);
    assert_int_equal(last.code, RECEIPT_EXPIRED);
}

static void an_outside_client_is_answered_where_it_said(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "amqp/ops", "acme/db", MESSAGE_CALL);
    const struct remote_arrival a = {
        .envelope = &e, .reply_to = "client.ops.answers", .correlation = "my own"};
    assert_int_equal(deliver(&a), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 1);
    struct envelope reply = reply_envelope(2, 1, "", "amqp/ops");
    submit(db, &reply);
    assert_int_equal(link_.way, REMOTE_TO_CLIENT);
    assert_string_equal(link_.reply_to, "client.ops.answers");
    assert_string_equal(link_.correlation, "my own");
    assert_int_equal(link_says(REMOTE_STORED), RECEIPT_ACCEPTED);
}

static void an_own_call_through_the_broker_is_answered_directly(void **state)
{
    (void)state;
    send_kind(web, 1, "db", MESSAGE_CALL);
    link_says(REMOTE_STORED);
    struct envelope e = envelope(1, "acme/web", "acme/db", MESSAGE_CALL);
    const struct remote_arrival a = {.envelope = &e, .host = "h1", .own = true};
    assert_int_equal(deliver(&a), RECEIPT_ACCEPTED);
    assert_int_equal(receive(db, NULL), 1);
    struct envelope reply = reply_envelope(2, 1, "", "acme/web");
    assert_int_equal(submit(db, &reply), 1);
    assert_int_equal(last.code, RECEIPT_ACCEPTED);
    assert_int_equal(link_.n_sent, 1);
    assert_int_equal(receive(web, NULL), 2);
}

static void an_own_call_that_nobody_waits_for_is_dropped(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/web", "acme/db", MESSAGE_CALL);
    const struct remote_arrival a = {.envelope = &e, .host = "h1", .own = true};
    assert_int_equal(deliver(&a), RECEIPT_EXPIRED);
    assert_int_equal(receive(db, NULL), 0);
}

static void what_this_host_sent_takes_one_token_of_a_rules_rate(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/web acme/db allow rate=1/s burst=1");
    assert_int_equal(send_kind(web, 1, "db", MESSAGE_SEND), 0);
    link_says(REMOTE_STORED);
    struct envelope e = envelope(1, "acme/web", "acme/db", MESSAGE_SEND);
    const struct remote_arrival a = {.envelope = &e, .host = "h1", .own = true};
    assert_int_equal(deliver(&a), RECEIPT_ACCEPTED);
    assert_int_equal(send_kind(web, 2, "db", MESSAGE_SEND), 1);
    assert_int_equal(last.code, RECEIPT_RATE_LIMITED);
}

static void an_event_that_arrives_goes_to_every_server_here(void **state)
{
    (void)state;
    endpoint_register(web, "s");
    endpoint_register(db, "s");
    struct envelope e = envelope(1, "acme/far", "acme/:s", MESSAGE_EVENT);
    assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(web, NULL), 1);
    assert_int_equal(receive(db, NULL), 1);
}

static void a_message_for_a_service_goes_to_the_server_whose_turn_it_is(void **state)
{
    (void)state;
    endpoint_register(web, "s");
    endpoint_register(db, "s");
    for (unsigned i = 1; i <= 2; i++) {
        struct envelope e = envelope(i, "acme/far", "acme/:s", MESSAGE_SEND);
        assert_int_equal(arrives(&e, "h2"), RECEIPT_ACCEPTED);
    }
    assert_int_equal(router_service_depth(f.router, "acme", "s"), 1);
    assert_int_equal(receive(web, NULL) + receive(db, NULL), 3);
}

static void the_link_is_told_who_is_here_runs_and_serves(void **state)
{
    (void)state;
    assert_string_equal(link_.told, "+acme/web host +acme/db queue acme/web runs acme/db runs ");
    link_.told[0] = '\0';
    endpoint_register(db, "s");
    endpoint_register(web, "s");
    endpoint_unregister(web, "s");
    endpoint_detach(db);
    db = NULL;
    assert_string_equal(link_.told, "acme/:s served acme/db stops acme/:s unserved ");
    link_.told[0] = '\0';
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_string_equal(link_.told, "-acme/db queue ");
}

static void no_environment_can_pass_for_an_outside_client(void **state)
{
    (void)state;
    assert_int_equal(router_environment_added(f.router, NAME_CLIENTS, "ops"), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_here_leaves_and_the_brokers_answer_is_the_receipt),
        TEST(each_host_remembers_its_part_of_a_trace),
        TEST(a_receiver_here_without_a_queue_is_reached_directly),
        TEST(a_receiver_here_with_a_queue_is_reached_through_it),
        TEST(a_receiver_here_whose_queue_is_not_there_yet_is_unreachable_not_unknown),
        TEST(services_are_left_to_the_broker_and_events_go_to_all_servers),
        TEST(the_policy_is_asked_before_anything_leaves),
        TEST(a_rule_for_labels_of_the_target_matches_nobody_elsewhere),
        TEST(a_message_that_cannot_be_sent_is_refused_at_once),
        TEST(an_operator_reads_what_is_wrong_with_the_link),
        TEST(a_call_is_answered_from_elsewhere_once),
        TEST(nobody_else_may_answer_a_call),
        TEST(any_server_of_the_tenant_may_answer_a_call_to_its_service),
        TEST(a_call_that_was_not_sent_has_no_capability),
        TEST(an_operators_call_is_answered_from_elsewhere),
        TEST(a_reply_that_overtakes_an_operators_receipt_follows_it),
        TEST(what_arrives_is_decided_on_again),
        TEST(the_senders_labels_and_image_come_with_the_message),
        TEST(what_arrives_twice_is_delivered_once),
        TEST(what_arrives_for_nobody_or_too_late_is_refused),
        TEST(a_far_call_that_is_refused_is_answered_with_the_refusal),
        TEST(across_tenants_a_refusal_tells_nothing_of_what_exists),
        TEST(an_operator_elsewhere_reads_the_rule),
        TEST(a_refused_outside_call_is_answered_where_it_said),
        TEST(who_sends_without_waiting_is_not_told),
        TEST(a_far_refusal_ends_the_call_at_once),
        TEST(a_refusal_of_what_nobody_waits_for_is_ignored),
        TEST(a_services_call_is_refused_in_the_services_name),
        TEST(an_environment_cannot_make_a_refusal),
        TEST(an_own_call_that_is_refused_behind_the_broker_ends_at_once),
        TEST(who_called_an_environment_that_is_deleted_is_told),
        TEST(the_trace_of_a_call_has_its_far_refusal),
        TEST(a_far_call_is_answered_to_its_host_once),
        TEST(a_reply_that_did_not_get_out_may_be_sent_again),
        TEST(a_tenant_whose_calls_wait_takes_no_place_from_others),
        TEST(a_far_call_that_was_denied_cannot_be_answered),
        TEST(an_outside_client_is_answered_where_it_said),
        TEST(an_own_call_through_the_broker_is_answered_directly),
        TEST(an_own_call_that_nobody_waits_for_is_dropped),
        TEST(what_this_host_sent_takes_one_token_of_a_rules_rate),
        TEST(an_event_that_arrives_goes_to_every_server_here),
        TEST(a_message_for_a_service_goes_to_the_server_whose_turn_it_is),
        TEST(the_link_is_told_who_is_here_runs_and_serves),
        TEST(no_environment_can_pass_for_an_outside_client),
    };
    return cmocka_run_group_tests_name("route_remote", tests, NULL, NULL);
}
