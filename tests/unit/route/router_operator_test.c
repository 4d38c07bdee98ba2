// Tests of what operators send, call and ask of a router (submit.c, calls.c, receipt.c).
#include "sides.h"

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
    return cmocka_run_group_tests_name("route_router_operator", tests, NULL, NULL);
}
