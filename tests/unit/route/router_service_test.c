// Tests of services and calls: which server gets a message, and who may answer a call (choose.c, calls.c).
#include "sides.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("route_router_service", tests, NULL, NULL);
}
