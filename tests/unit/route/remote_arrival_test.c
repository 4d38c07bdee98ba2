// Tests of what arrives from other hosts, from outside clients and of our own by way of the broker, and who
// may answer it (inbound.c, calls.c).
#include "link.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_arrives_is_decided_on_again),
        TEST(the_senders_labels_and_image_come_with_the_message),
        TEST(what_arrives_twice_is_delivered_once),
        TEST(what_arrives_for_nobody_or_too_late_is_refused),
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
    };
    return cmocka_run_group_tests_name("route_remote_arrival", tests, NULL, NULL);
}
