// Tests of routing: who a message is from, where it goes, what is refused and what senders are told
// (router.c, submit.c, store.c, receipt.c, directory.c, endpoint.c).
#include "sides.h"

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
    };
    return cmocka_run_group_tests_name("route_router", tests, NULL, NULL);
}
