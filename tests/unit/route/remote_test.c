// Tests of routing across hosts: what leaves by the broker, what its answers become, and calls that are
// answered from elsewhere (outbound.c, calls.c).
#include "link.h"

#include <errno.h>

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
        TEST(the_link_is_told_who_is_here_runs_and_serves),
        TEST(no_environment_can_pass_for_an_outside_client),
    };
    return cmocka_run_group_tests_name("route_remote", tests, NULL, NULL);
}
