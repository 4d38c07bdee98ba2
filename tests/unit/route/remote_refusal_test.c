// Tests of refusals across hosts: who is told of them, what they tell, and what a caller does with one
// (inbound.c, calls.c).
#include "link.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("route_remote_refusal", tests, NULL, NULL);
}
