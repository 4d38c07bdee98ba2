// Tests of routing: who a message is from, where it goes, what is refused and what senders are told
// (router.c, submit.c, choose.c, store.c, receipt.c, calls.c, directory.c, endpoint.c).
#include "fixture.h"

static struct fixture f;

// A side of the conversation: the endpoint, and what its callbacks said.
struct side {
    struct endpoint *ep;
    unsigned n_mail;
    bool removed;
};

static struct side web, db, db2, eve;

static void on_mail(void *arg)
{
    ((struct side *)arg)->n_mail++;
}

static void on_removed(void *arg)
{
    struct side *side = arg;
    side->removed = true;
    side->ep = NULL;
}

static const struct endpoint_cb callbacks = {.on_mail = on_mail, .on_removed = on_removed};

static void attach(struct side *side, const char *tenant, const char *name)
{
    *side = (struct side){0};
    assert_int_equal(endpoint_attach(f.router, tenant, name, &callbacks, side, &side->ep), 0);
}

static void detach(struct side *side)
{
    endpoint_detach(side->ep);
    side->ep = NULL;
}

static void start(const struct router_config *config)
{
    fixture_init(&f, config);
    attach(&web, "acme", "web");
    attach(&db, "acme", "db");
    attach(&db2, "acme", "db2");
    attach(&eve, "beta", "eve");
}

static int setup(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct side *all[] = {&web, &db, &db2, &eve};
    for (size_t i = 0; i < 4; i++)
        detach(all[i]);
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

static struct envelope envelope(unsigned n, const char *to, enum message_kind kind)
{
    return (struct envelope){.kind = kind,
                             .id = numbered_id(n),
                             .from = text_view("beta/liar"),
                             .to = text_view(to),
                             .subject = text_view("q"),
                             .body = text_view("hello")};
}

static enum receipt_code submit(struct side *side, const struct envelope *e)
{
    unsigned before = n_receipts;
    assert_int_equal(endpoint_submit(side->ep, e, note_receipt, NULL), 0);
    router_flush(f.router);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

static enum receipt_code send_kind(struct side *side, unsigned n, const char *to, enum message_kind kind)
{
    struct envelope e = envelope(n, to, kind);
    return submit(side, &e);
}

static enum receipt_code send_to(struct side *side, unsigned n, const char *to)
{
    return send_kind(side, n, to, MESSAGE_SEND);
}

static enum receipt_code reply_to(struct side *side, unsigned n, unsigned call, const char *to)
{
    struct envelope e = envelope(n, to, MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    e.subject = text_view("");
    return submit(side, &e);
}

// The number of the next message at that side, 0 when there is none; acknowledged.
static unsigned receive(struct side *side, struct envelope *ret, bool replies_only)
{
    static struct message *kept; // what *ret points into, until the next call
    if (ret)
        *ret = (struct envelope){0};
    message_unref(kept);
    kept = endpoint_next(side->ep, replies_only);
    if (!kept)
        return 0;
    struct envelope unused;
    assert_true(message_envelope(kept, ret ? ret : &unused));
    unsigned n;
    memcpy(&n, kept->id.bytes + 1, sizeof n);
    endpoint_ack(side->ep, &kept->id);
    if (ret)
        return n;
    message_unref(kept);
    kept = NULL;
    return n;
}

static void assert_view(struct wire_view v, const char *s)
{
    assert_true(wire_view_equals(v, s));
}

// ---- sending ----

static void a_message_arrives_with_the_senders_true_address(void **state)
{
    (void)state;
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(db.n_mail, 1);
    struct envelope e;
    assert_int_equal(receive(&db, &e, false), 1);
    assert_view(e.from, "acme/web");
    assert_view(e.to, "acme/db");
    assert_view(e.body, "hello");
    receive(&db, NULL, false);
}

static void an_id_is_made_for_a_message_that_has_none(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "db", MESSAGE_SEND);
    e.id = (struct id){{0}};
    assert_int_equal(submit(&web, &e), RECEIPT_ACCEPTED);
    assert_false(id_is_zero(&last.id));
}

static void mail_waits_while_nothing_is_attached(void **state)
{
    (void)state;
    detach(&db);
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED);
    attach(&db, "acme", "db");
    assert_int_equal(receive(&db, NULL, false), 1);
}

static void what_was_not_acknowledged_comes_again_after_a_detach(void **state)
{
    (void)state;
    send_to(&web, 1, "db");
    message_unref(endpoint_next(db.ep, false));
    detach(&db);
    attach(&db, "acme", "db");
    assert_int_equal(receive(&db, NULL, false), 1);
}

static void a_message_that_is_sent_again_is_accepted_and_delivered_once(void **state)
{
    (void)state;
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(send_to(&eve, 1, "acme/db"), RECEIPT_ACCEPTED); // another sender, another message
    assert_int_equal(receive(&db, NULL, false), 1);
    assert_int_equal(receive(&db, NULL, false), 1);
    assert_int_equal(receive(&db, NULL, false), 0);
    struct router_stats stats;
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.duplicates, 1);
    assert_int_equal(stats.accepted, 3);
}

static void only_one_endpoint_attaches_to_a_defined_environment(void **state)
{
    (void)state;
    struct endpoint *ep;
    assert_int_equal(endpoint_attach(f.router, "acme", "web", &callbacks, NULL, &ep), -EBUSY);
    assert_int_equal(endpoint_attach(f.router, "acme", "nobody", &callbacks, NULL, &ep), -ENOENT);
}

static void names_that_cannot_be_are_not_added(void **state)
{
    (void)state;
    assert_int_equal(router_environment_added(f.router, "acme", "web"), -EEXIST);
    assert_int_equal(router_environment_added(f.router, "host", "web"), -EINVAL);
    assert_int_equal(router_environment_added(f.router, "acme", "a/b"), -EINVAL);
    assert_int_equal(router_environment_added(f.router, "", "web"), -EINVAL);
    assert_int_equal(router_environment_removed(f.router, "acme", "nobody"), -ENOENT);
}

static void a_removed_environment_tells_its_endpoint_and_is_gone(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    send_to(&web, 1, "db");
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_true(db.removed);
    assert_int_equal(send_to(&web, 2, "db"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(send_to(&web, 3, ":query"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    attach(&db, "acme", "db");
    assert_int_equal(receive(&db, NULL, false), 0); // a new mailbox
}

// ---- refusals ----

static void an_address_that_is_none_is_invalid(void **state)
{
    (void)state;
    assert_int_equal(send_to(&web, 1, "no/such/thing"), RECEIPT_INVALID);
    assert_int_equal(send_to(&web, 2, ""), RECEIPT_INVALID);
}

static void a_body_over_the_hosts_limit_is_too_large(void **state)
{
    (void)state;
    detach(&web), detach(&db), detach(&db2), detach(&eve);
    fixture_done(&f);
    struct router_config config;
    router_config_default(&config);
    config.body_max_bytes = 4;
    start(&config);
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_TOO_LARGE);
}

static void an_expired_message_is_refused(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "db", MESSAGE_SEND);
    e.expires_ms = f.now_ms;
    assert_int_equal(submit(&web, &e), RECEIPT_EXPIRED);
}

static void a_sender_over_its_rate_is_refused_and_others_are_not(void **state)
{
    (void)state;
    detach(&web), detach(&db), detach(&db2), detach(&eve);
    fixture_done(&f);
    struct router_config config;
    router_config_default(&config);
    config.rate_per_s = 10;
    config.rate_burst = 2;
    start(&config);
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(send_to(&web, 2, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(send_to(&web, 3, "db"), RECEIPT_RATE_LIMITED);
    assert_int_equal(send_to(&eve, 1, "acme/db"), RECEIPT_ACCEPTED);
    f.now_ms += 100;
    assert_int_equal(send_to(&web, 4, "db"), RECEIPT_ACCEPTED);
}

static void a_flood_fills_the_mailbox_and_no_more(void **state)
{
    (void)state;
    unsigned accepted = 0;
    for (unsigned i = 1; i <= 5000; i++)
        accepted += send_to(&web, i, "db") == RECEIPT_ACCEPTED;
    assert_int_equal(accepted, 1000);
    assert_int_equal(last.code, RECEIPT_MAILBOX_FULL);
    struct router_stats stats;
    assert_int_equal(router_environment_stats(f.router, "acme", "db", &stats), 0);
    assert_int_equal(stats.depth, 1000);
    assert_int_equal(router_environment_stats(f.router, "acme", "web", &stats), 0);
    assert_int_equal(stats.refused[RECEIPT_MAILBOX_FULL], 4000);
}

static void a_rules_limits_have_their_own_codes(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/web acme/db allow max-body=4\n* acme/web acme/db2 allow rate=1/s");
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_TOO_LARGE);
    assert_int_equal(send_to(&web, 2, "db2"), RECEIPT_ACCEPTED);
    assert_int_equal(send_to(&web, 3, "db2"), RECEIPT_RATE_LIMITED);
}

// ---- what may be known ----

static void within_a_tenant_refusals_are_true(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_DENIED);
    assert_int_equal(send_to(&web, 2, "nobody"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(send_to(&web, 3, ":nothing"), RECEIPT_NO_SUCH_ENVIRONMENT);
}

// Asks for one that exists and one that does not: the answers must not differ, nor their details but for the
// id.
static void assert_same_answer(const char *policy, const char *exists, const char *does_not,
                               enum receipt_code code)
{
    static unsigned n = 1000;
    char detail[ROUTER_DETAIL_CAP];
    fixture_policy(&f, policy);
    struct envelope e = envelope(++n, exists, MESSAGE_SEND);
    assert_int_equal(submit(&web, &e), code);
    memcpy(detail, last.detail, sizeof detail);
    e.to = text_view(does_not);
    assert_int_equal(submit(&web, &e), code);
    assert_string_equal(detail, last.detail);
}

static void across_tenants_a_refusal_does_not_tell_what_exists(void **state)
{
    (void)state;
    endpoint_register(eve.ep, "spy");
    assert_same_answer("* * * deny", "beta/eve", "beta/nobody", RECEIPT_DENIED);
    assert_same_answer("* acme/* acme/* allow", "beta/eve", "gamma/nobody", RECEIPT_DENIED);
    assert_same_answer("* * * deny", "beta/:spy", "beta/:nothing", RECEIPT_DENIED);
    assert_same_answer("* * beta/eve deny\n* * beta/:spy allow", "beta/eve", "beta/nobody", RECEIPT_DENIED);
    // Denied for what it is: as if it were not there, which the sender may address.
    assert_same_answer("* * */@secret=yes deny\n* * * allow", "beta/secret", "beta/nobody",
                       RECEIPT_NO_SUCH_ENVIRONMENT);
    // Allowed for what others are: as if it were not there, which the sender may not address.
    assert_same_answer("* * */@public=yes allow", "beta/secret", "beta/nobody", RECEIPT_DENIED);
    // Denied for who serves it.
    assert_same_answer("* * beta/eve deny\n* * * allow", "beta/:spy", "beta/:nothing",
                       RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void where_the_policy_allows_absence_is_told(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/web beta/* allow");
    assert_int_equal(send_to(&web, 1, "beta/nobody"), RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void a_tenants_receipt_says_only_the_code_and_the_message(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny # the operators' secret");
    send_to(&eve, 1, "acme/db");
    assert_string_equal(last.detail, "an operator can explain message 01010000-0000-0000-0000-000000000000");
}

static void the_record_tells_operators_what_senders_are_not_told(void **state)
{
    (void)state;
    fixture_policy(&f, "* * */@secret=yes deny\n* * * allow");
    send_to(&web, 1, "beta/secret");
    const struct mediate_record *r = mediator_find(f.mediator, &last.id, 0);
    assert_non_null(r);
    assert_int_equal(r->told, RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(r->decision.code, RECEIPT_DENIED);
    assert_int_equal(r->decision.line, 1);
    assert_string_equal(r->question.target.name, "secret");
    send_to(&web, 2, "beta/nobody");
    r = mediator_find(f.mediator, &last.id, 0);
    assert_int_equal(r->decision.reason, MEDIATE_REASON_NO_TARGET);
}

// ---- services ----

static void sends_to_a_service_go_to_each_server_in_turn(void **state)
{
    (void)state;
    assert_int_equal(endpoint_register(db.ep, "query"), RECEIPT_ACCEPTED);
    assert_int_equal(endpoint_register(db.ep, "query"), RECEIPT_ACCEPTED);
    assert_int_equal(endpoint_register(db2.ep, "query"), RECEIPT_ACCEPTED);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(send_to(&web, i, ":query"), RECEIPT_ACCEPTED);
    struct envelope e;
    assert_int_equal(receive(&db, &e, false), 1);
    assert_view(e.to, "acme/:query");
    assert_int_equal(receive(&db, NULL, false), 3);
    assert_int_equal(receive(&db2, NULL, false), 2);
    assert_int_equal(receive(&db2, NULL, false), 4);
}

static void a_message_that_is_sent_again_to_a_service_goes_to_the_same_server(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    endpoint_register(db2.ep, "query");
    send_to(&web, 1, ":query");
    assert_int_equal(send_to(&web, 1, ":query"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&db, NULL, false) + receive(&db2, NULL, false), 1);
}

static void a_server_that_may_not_be_reached_is_passed_over(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    endpoint_register(db2.ep, "query");
    fixture_policy(&f, "* * acme/db deny\n* * acme/:query allow");
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(send_to(&web, i, ":query"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&db, NULL, false), 0);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(receive(&db2, NULL, false), i);
}

static void a_server_whose_mailbox_is_full_is_passed_over(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    endpoint_register(db2.ep, "query");
    for (unsigned i = 1; i <= 1000; i++)
        send_to(&web, i, "db");
    for (unsigned i = 2001; i <= 2004; i++)
        assert_int_equal(send_to(&web, i, ":query"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&db2, NULL, false), 2001);
}

static void an_event_goes_to_every_server_that_may_get_it(void **state)
{
    (void)state;
    endpoint_register(db.ep, "news");
    endpoint_register(db2.ep, "news");
    endpoint_register(web.ep, "news");
    fixture_policy(&f, "* * acme/db2 deny\n* * * allow");
    assert_int_equal(send_kind(&eve, 1, "acme/:news", MESSAGE_EVENT), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&db, NULL, false), 1);
    assert_int_equal(receive(&web, NULL, false), 1);
    assert_int_equal(receive(&db2, NULL, false), 0);
    fixture_policy(&f, "* * * deny");
    assert_int_equal(send_kind(&eve, 2, "acme/:news", MESSAGE_EVENT), RECEIPT_DENIED);
}

static void a_service_ends_with_its_server(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    assert_int_equal(endpoint_unregister(db.ep, "query"), RECEIPT_ACCEPTED);
    assert_int_equal(endpoint_unregister(db.ep, "query"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(send_to(&web, 1, ":query"), RECEIPT_NO_SUCH_ENVIRONMENT);
    endpoint_register(db.ep, "query");
    detach(&db);
    assert_int_equal(send_to(&web, 2, ":query"), RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void services_of_one_environment_are_bounded(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < ROUTER_SERVICES_MAX; i++) {
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(endpoint_register(db.ep, name), RECEIPT_ACCEPTED);
    }
    assert_int_equal(endpoint_register(db.ep, "one-more"), RECEIPT_RATE_LIMITED);
}

// ---- calls ----

static void a_permitted_call_can_be_answered_once_without_a_rule(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/web acme/db allow kind=call");
    assert_int_equal(send_kind(&web, 1, "db", MESSAGE_CALL), RECEIPT_ACCEPTED);
    struct envelope e;
    assert_int_equal(receive(&db, &e, false), 1);
    assert_true(e.expires_ms > f.now_ms); // a call has a deadline
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&web, &e, true), 2); // without credit
    assert_view(e.from, "acme/db");
    assert_int_equal(e.kind, MESSAGE_REPLY);
    assert_int_equal(reply_to(&db, 3, 1, "acme/web"), RECEIPT_EXPIRED);
    assert_int_equal(receive(&web, NULL, false), 0);
}

static void a_reply_that_is_sent_again_is_accepted_again(void **state)
{
    (void)state;
    send_kind(&web, 1, "db", MESSAGE_CALL);
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_ACCEPTED);
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_ACCEPTED);
    assert_int_equal(receive(&web, NULL, true), 2);
    assert_int_equal(receive(&web, NULL, true), 0);
}

static void nobody_else_can_answer_a_call(void **state)
{
    (void)state;
    send_kind(&web, 1, "db", MESSAGE_CALL);
    assert_int_equal(reply_to(&db2, 2, 1, "acme/web"), RECEIPT_EXPIRED);
    assert_int_equal(reply_to(&eve, 3, 1, "acme/web"), RECEIPT_EXPIRED);
    assert_int_equal(reply_to(&db, 4, 1, "acme/db2"), RECEIPT_EXPIRED); // nor to somebody else
    assert_int_equal(reply_to(&db, 5, 1, "acme/web"), RECEIPT_ACCEPTED);
}

static void a_refused_call_can_not_be_answered(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    assert_int_equal(send_kind(&web, 1, "db", MESSAGE_CALL), RECEIPT_DENIED);
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_EXPIRED);
    struct router_stats stats;
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.calls_waiting, 0);
}

static void a_call_that_finds_the_mailbox_full_leaves_nothing_behind(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 1000; i++)
        send_to(&web, i, "db");
    assert_int_equal(send_kind(&web, 5000, "db", MESSAGE_CALL), RECEIPT_MAILBOX_FULL);
    struct router_stats stats;
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.calls_waiting, 0);
}

static void a_call_that_is_sent_again_waits_once(void **state)
{
    (void)state;
    endpoint_register(db.ep, "query");
    endpoint_register(db2.ep, "query");
    assert_int_equal(send_kind(&web, 1, ":query", MESSAGE_CALL), RECEIPT_ACCEPTED);
    assert_int_equal(send_kind(&web, 1, ":query", MESSAGE_CALL), RECEIPT_ACCEPTED);
    struct router_stats stats;
    router_get_stats(f.router, &stats);
    assert_int_equal(stats.calls_waiting, 1);
    assert_int_equal(receive(&db, NULL, false), 1);
    assert_int_equal(receive(&db2, NULL, false), 0);
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_ACCEPTED);
}

static void calls_that_wait_are_bounded_per_sender(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 256; i++)
        assert_int_equal(send_kind(&web, i, "db", MESSAGE_CALL), RECEIPT_ACCEPTED);
    assert_int_equal(send_kind(&web, 300, "db", MESSAGE_CALL), RECEIPT_RATE_LIMITED);
    assert_int_equal(send_kind(&eve, 1, "acme/db", MESSAGE_CALL), RECEIPT_ACCEPTED);
    assert_int_equal(reply_to(&db, 1000, 1, "acme/web"), RECEIPT_ACCEPTED);
    assert_int_equal(send_kind(&web, 301, "db", MESSAGE_CALL), RECEIPT_ACCEPTED);
}

static void a_reply_after_the_deadline_is_expired(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "db", MESSAGE_CALL);
    e.expires_ms = f.now_ms + 20;
    assert_int_equal(submit(&web, &e), RECEIPT_ACCEPTED);
    struct router_stats stats;
    do {
        event_base_loop(f.base, EVLOOP_ONCE);
        router_get_stats(f.router, &stats);
    } while (stats.calls_waiting);
    assert_int_equal(reply_to(&db, 2, 1, "acme/web"), RECEIPT_EXPIRED);
}

static void a_call_to_what_does_not_run_waits_until_it_expires(void **state)
{
    (void)state;
    detach(&db);
    struct envelope e = envelope(1, "db", MESSAGE_CALL);
    e.expires_ms = f.now_ms + 1000;
    assert_int_equal(submit(&web, &e), RECEIPT_ACCEPTED);
    f.now_ms += 1000;
    attach(&db, "acme", "db");
    assert_int_equal(receive(&db, NULL, false), 0);
    struct router_stats stats;
    router_environment_stats(f.router, "acme", "db", &stats);
    assert_int_equal(stats.expired, 1);
}

static void a_late_deadline_is_brought_forward(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "db", MESSAGE_CALL), got;
    e.expires_ms = UINT64_MAX;
    submit(&web, &e);
    receive(&db, &got, false);
    assert_true(got.expires_ms <= f.now_ms + router_get_config(f.router)->call_timeout_max_ms);
}

// ---- operators ----

static unsigned n_replies;
static char reply_body[64];
static enum receipt_code reply_refusal;

static void note_reply(void *arg, const struct envelope *reply)
{
    (void)arg;
    n_replies++;
    reply_refusal = reply ? envelope_refusal(reply) : RECEIPT_ACCEPTED;
    if (reply)
        wire_view_to_cstr(reply->body, reply_body, sizeof reply_body);
    else
        snprintf(reply_body, sizeof reply_body, "none");
}

static uint64_t handle;

static enum receipt_code submit_operator(const struct envelope *e)
{
    static const struct router_operator_cb cb = {.on_receipt = note_receipt, .on_reply = note_reply};
    unsigned before = n_receipts;
    assert_int_equal(router_submit_operator(f.router, e, &cb, NULL, &handle), 0);
    router_flush(f.router);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

static void an_operators_call_gets_its_reply(void **state)
{
    (void)state;
    fixture_policy(&f, "* host/operator acme/db allow");
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL), got;
    unsigned before = n_replies;
    assert_int_equal(submit_operator(&e), RECEIPT_ACCEPTED);
    assert_true(handle != 0);
    assert_int_equal(receive(&db, &got, false), 1);
    assert_view(got.from, "host/operator");
    assert_int_equal(n_replies, before);
    assert_int_equal(reply_to(&db, 2, 1, "host/operator"), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, before + 1);
    assert_string_equal(reply_body, "hello");
    assert_int_equal(reply_to(&db, 3, 1, "host/operator"), RECEIPT_EXPIRED);
    assert_int_equal(n_replies, before + 1);
}

static void an_operators_call_without_a_reply_ends_at_its_deadline(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL);
    e.expires_ms = f.now_ms + 10;
    unsigned before = n_replies;
    submit_operator(&e);
    while (n_replies == before)
        event_base_loop(f.base, EVLOOP_ONCE);
    assert_string_equal(reply_body, "none");
}

static void an_operators_call_ends_with_the_callee(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL);
    unsigned before = n_replies;
    submit_operator(&e);
    router_environment_removed(f.router, "acme", "db");
    router_flush(f.router);
    assert_int_equal(n_replies, before + 1);
    assert_int_equal(reply_refusal, RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void a_cancelled_operator_hears_nothing_more(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL);
    unsigned before = n_replies;
    submit_operator(&e);
    router_operator_cancel(f.router, handle);
    router_operator_cancel(f.router, 12345);
    assert_int_equal(reply_to(&db, 2, 1, "host/operator"), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, before);
}

static void an_operators_call_that_is_sent_again_gets_the_reply(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL);
    struct router_stats s;
    submit_operator(&e);
    router_operator_cancel(f.router, handle); // its client goes away
    unsigned before = n_replies;
    submit_operator(&e);
    assert_int_equal(n_replies, before);
    assert_int_equal(reply_to(&db, 2, 1, "host/operator"), RECEIPT_ACCEPTED);
    assert_int_equal(n_replies, before + 1);
    submit_operator(&e); // it did not get it
    assert_int_equal(n_replies, before + 2);
    assert_string_equal(reply_body, "hello");
    router_get_stats(f.router, &s);
    assert_int_equal(s.calls_waiting, 0);
}

static void calls_that_operators_left_make_room_for_others(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_CALL);
    for (unsigned i = 0; i < 1024; i++) {
        e.id = numbered_id(100 + i);
        assert_int_equal(submit_operator(&e), RECEIPT_ACCEPTED);
        assert_int_equal(receive(&db, NULL, false), 100 + i);
        if (i == 7)
            router_operator_cancel(f.router, handle);
    }
    e.id = numbered_id(5000);
    assert_int_equal(submit_operator(&e), RECEIPT_ACCEPTED); // instead of the eighth
    e.id = numbered_id(5001);
    assert_int_equal(submit_operator(&e), RECEIPT_RATE_LIMITED);
    assert_int_equal(reply_to(&db, 2, 107, "host/operator"), RECEIPT_EXPIRED);
    assert_int_equal(reply_to(&db, 3, 100, "host/operator"), RECEIPT_ACCEPTED);
    assert_int_equal(submit_operator(&e), RECEIPT_ACCEPTED);
}

static void an_operator_is_told_the_reason(void **state)
{
    (void)state;
    fixture_policy(&f, "\n* * * deny # no");
    struct envelope e = envelope(1, "acme/db", MESSAGE_SEND);
    assert_int_equal(submit_operator(&e), RECEIPT_DENIED);
    assert_string_equal(last.detail, "a rule decided: main:2: * * * deny");
    e.to = text_view("acme/nobody");
    e.id = numbered_id(2);
    assert_int_equal(submit_operator(&e), RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void an_operators_message_that_no_agent_could_read_is_invalid(void **state)
{
    (void)state;
    struct envelope e = envelope(1, "acme/db", MESSAGE_SEND);
    e.content_type = text_view("\xff");
    assert_int_equal(submit_operator(&e), RECEIPT_INVALID);
    e = envelope(2, "acme/db", MESSAGE_SEND);
    e.priority = 10;
    assert_int_equal(submit_operator(&e), RECEIPT_INVALID);
    e = envelope(3, "acme/db", MESSAGE_SEND);
    e.n_headers = ENVELOPE_HEADERS_MAX + 1;
    assert_int_equal(submit_operator(&e), RECEIPT_INVALID);
    e = envelope(4, "acme/db", MESSAGE_SEND);
    e.subject = text_view("");
    assert_int_equal(submit_operator(&e), RECEIPT_INVALID);
}

static void no_environment_can_speak_for_the_operators(void **state)
{
    (void)state;
    fixture_policy(&f, "* host/operator acme/db allow");
    struct envelope e = envelope(1, "acme/db", MESSAGE_SEND);
    e.from = text_view("host/operator");
    assert_int_equal(submit(&eve, &e), RECEIPT_DENIED);
}

struct peeked {
    struct mediate_decision decision;
    bool called, has_service;
    char target[NAME_CAP];
};

static void note_peek(void *arg, const struct mediate_question *q, const struct mediate_decision *d)
{
    struct peeked *p = arg;
    p->called = true;
    p->decision = *d;
    p->has_service = q->service != NULL;
    snprintf(p->target, sizeof p->target, "%s", q->target.name);
}

static void peeking_tells_the_decision_and_sends_nothing(void **state)
{
    (void)state;
    struct peeked p = {0};
    fixture_policy(&f, "* beta/eve acme/db deny\n* * * allow rate=1/s");
    endpoint_register(db.ep, "query");
    const struct address from = {.tenant = "beta", .name = "eve"}, by_name = {.tenant = "acme", .name = "db"};
    router_peek(f.router, &from, &by_name, "q", MESSAGE_SEND, 1, note_peek, &p);
    assert_true(p.called);
    assert_int_equal(p.decision.line, 1);
    const struct address web_address = {.tenant = "acme", .name = "web"},
                         service = {.name = "query", .is_service = true};
    router_peek(f.router, &web_address, &service, "q", MESSAGE_CALL, 1, note_peek, &p);
    assert_int_equal(p.decision.line, 2);
    assert_true(p.has_service);
    assert_string_equal(p.target, "db");
    assert_int_equal(receive(&db, NULL, false), 0);
    assert_int_equal(send_to(&web, 1, "db"), RECEIPT_ACCEPTED); // the token is still there
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_arrives_with_the_senders_true_address),
        TEST(an_id_is_made_for_a_message_that_has_none),
        TEST(mail_waits_while_nothing_is_attached),
        TEST(what_was_not_acknowledged_comes_again_after_a_detach),
        TEST(a_message_that_is_sent_again_is_accepted_and_delivered_once),
        TEST(only_one_endpoint_attaches_to_a_defined_environment),
        TEST(names_that_cannot_be_are_not_added),
        TEST(a_removed_environment_tells_its_endpoint_and_is_gone),
        TEST(an_address_that_is_none_is_invalid),
        TEST(a_body_over_the_hosts_limit_is_too_large),
        TEST(an_expired_message_is_refused),
        TEST(a_sender_over_its_rate_is_refused_and_others_are_not),
        TEST(a_flood_fills_the_mailbox_and_no_more),
        TEST(a_rules_limits_have_their_own_codes),
        TEST(within_a_tenant_refusals_are_true),
        TEST(across_tenants_a_refusal_does_not_tell_what_exists),
        TEST(where_the_policy_allows_absence_is_told),
        TEST(a_tenants_receipt_says_only_the_code_and_the_message),
        TEST(the_record_tells_operators_what_senders_are_not_told),
        TEST(sends_to_a_service_go_to_each_server_in_turn),
        TEST(a_message_that_is_sent_again_to_a_service_goes_to_the_same_server),
        TEST(a_server_that_may_not_be_reached_is_passed_over),
        TEST(a_server_whose_mailbox_is_full_is_passed_over),
        TEST(an_event_goes_to_every_server_that_may_get_it),
        TEST(a_service_ends_with_its_server),
        TEST(services_of_one_environment_are_bounded),
        TEST(a_permitted_call_can_be_answered_once_without_a_rule),
        TEST(a_reply_that_is_sent_again_is_accepted_again),
        TEST(nobody_else_can_answer_a_call),
        TEST(a_refused_call_can_not_be_answered),
        TEST(a_call_that_finds_the_mailbox_full_leaves_nothing_behind),
        TEST(a_call_that_is_sent_again_waits_once),
        TEST(calls_that_wait_are_bounded_per_sender),
        TEST(a_reply_after_the_deadline_is_expired),
        TEST(a_call_to_what_does_not_run_waits_until_it_expires),
        TEST(a_late_deadline_is_brought_forward),
        TEST(an_operators_call_gets_its_reply),
        TEST(an_operators_call_without_a_reply_ends_at_its_deadline),
        TEST(an_operators_call_ends_with_the_callee),
        TEST(a_cancelled_operator_hears_nothing_more),
        TEST(an_operators_call_that_is_sent_again_gets_the_reply),
        TEST(calls_that_operators_left_make_room_for_others),
        TEST(an_operator_is_told_the_reason),
        TEST(an_operators_message_that_no_agent_could_read_is_invalid),
        TEST(no_environment_can_speak_for_the_operators),
        TEST(peeking_tells_the_decision_and_sends_nothing),
    };
    return cmocka_run_group_tests_name("route/router", tests, NULL, NULL);
}
