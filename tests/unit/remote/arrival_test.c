// Tests of what arrives by the broker: when it is settled and how, and who is refused (intake.c, incoming.c,
// incoming_bundle.c, refuse.c, epoch.c).
#include "linked.h"

#include <errno.h>

#include "remote/bundle.h"

// Messages first to last, in one.
static void come_together(uint64_t consumer, uint64_t handle, unsigned first, unsigned last, bool again)
{
    static uint8_t bytes[BUNDLE_BYTES_MAX];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof bytes);
    for (unsigned n = first; n <= last; n++)
        bundle_part_write(
            &w, &(struct broker_publication){.properties = properties_of(n), .body = text("hello")});
    struct broker_delivery d = {.handle = handle,
                                .consumer = consumer,
                                .redelivered = again,
                                .exchange = text("env"),
                                .routing_key = text(key),
                                .properties = properties_of(first),
                                .body = {(const char *)bytes, w.pos}};
    d.properties.content_type = text(BUNDLE_CONTENT_TYPE);
    d.properties.n_headers = 0;
    b.cb.on_delivery(b.arg, &d);
    router_flush(f.router);
}

static void arrive_together(uint64_t consumer, uint64_t handle, unsigned first, unsigned last)
{
    come_together(consumer, handle, first, last, false);
}

static void what_was_stored_is_acknowledged_and_so_is_what_came_before(void **state)
{
    (void)state;
    arrives(1, 1);
    assert_int_equal(b.settled[1], ACK);
    arrives_at(b.mailbox_consumer, 2, 1, true);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
}

static void several_that_came_in_one_are_acknowledged_together(void **state)
{
    (void)state;
    arrives(1, 2);
    arrive_together(b.mailbox_consumer, 2, 1, 4); // 2 is known
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 4);
}

static void one_of_several_that_is_refused_is_buried_alone(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * allow rate=1/s burst=3");
    arrive_together(b.mailbox_consumer, 1, 1, 4);
    assert_int_equal(router_depth(f.router, "acme", "db"), 3);
    assert_int_equal(b.n_published, 1);
    assert_true(header_is("env-refused", "rate-limited"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
}

static void one_of_several_that_is_buried_is_not_buried_again_when_all_come_again(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrive_together(b.mailbox_consumer, 1, 1, 2);
    assert_int_equal(b.n_published, 2);
    outcome(BROKER_CONFIRMED); // of 2
    outcome(BROKER_NOT_SENT);  // of 1
    assert_int_equal(b.settled[1], REQUEUE);
    come_together(b.mailbox_consumer, 2, 1, 2, true);
    assert_int_equal(b.n_published, 3);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[2], ACK);
    arrives_at(b.mailbox_consumer, 3, 2, true); // alone, it is another copy: a replayed one
    assert_int_equal(b.n_published, 4);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[3], ACK);
}

static void several_for_a_full_mailbox_come_again_whole(void **state)
{
    (void)state;
    uint64_t consumer = b.mailbox_consumer;
    arrive_together(consumer, 1, 1, 3); // there is room for one
    assert_int_equal(b.settled[1], REQUEUE);
    assert_wanted("leave:mailbox ");
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
    process_one();
    intake_tick(remote, UINT64_MAX);
    arrive_together(b.mailbox_consumer, 2, 1, 2);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
}

static void several_in_one_from_who_is_no_host_are_no_message(void **state)
{
    (void)state;
    from_host = "h2/";
    arrive_together(b.mailbox_consumer, 1, 1, 2);
    from_host = "h2";
    assert_true(header_is("env-refused", "lying-sender"));
    assert_int_equal(router_depth(f.router, "acme", "db"), 0);
}

static void what_is_denied_lies_among_the_dead_letters_with_its_reason(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrives(1, 1);
    assert_int_equal(b.n_published, 1);
    assert_memory_equal(b.last.exchange.data, "env.dead", 8);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-refused", "denied"));
    assert_true(header_is("env-refused-by", "h1"));
    assert_true(header_is("env-refused-user", "envd.h2"));
    assert_true(header_is("env-from", "acme/far"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
}

static void without_that_copy_the_original_is_dead_lettered(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrives(1, 1);
    outcome(BROKER_NACKED);
    assert_int_equal(b.settled[1], DEAD_LETTER);
    b.publish_rc = -EINVAL; // with its reason it is too long
    arrives(2, 2);
    assert_int_equal(b.settled[2], DEAD_LETTER);
}

static void while_no_copy_can_be_made_it_comes_again(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    sent_kind = "call";
    arrives(1, 1);
    outcome(BROKER_UNKNOWN);
    assert_int_equal(b.settled[1], REQUEUE);
    arrives(2, 2);
    outcome(BROKER_NOT_SENT);
    assert_int_equal(b.settled[2], REQUEUE);
    assert_int_equal(b.n_published, 2); // nobody was told
    b.publish_rc = -ENOBUFS;
    arrives(3, 3);
    sent_kind = "send";
    assert_int_equal(b.settled[3], REQUEUE);
    assert_wanted("leave:mailbox "); // until there is room
}

static void a_caller_is_told_when_its_call_cannot_be_delivered_any_more(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    sent_kind = "call";
    arrives(1, 1);
    sent_kind = "send";
    assert_int_equal(b.n_published, 1);
    assert_memory_equal(b.last.exchange.data, "env.dead", 8);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(b.n_published, 2);
    assert_int_equal(b.last.exchange.len, 3);
    assert_memory_equal(b.last.routing_key.data, "host.h2", 7);
    assert_true(header_is("env-kind", "reply"));
    assert_true(header_is("env-refused", "denied"));
    assert_true(header_is("env-from", "acme/db"));
    assert_true(header_is("env-to", "acme/far"));
    outcome(BROKER_UNKNOWN); // nobody waits for it
}

static void a_clients_call_that_cannot_be_read_is_answered_with_what_is_wrong(void **state)
{
    (void)state;
    struct broker_delivery d = {
        .handle = 1,
        .consumer = b.mailbox_consumer,
        .exchange = text("client.ops"),
        .routing_key = text("acme.db"),
        .properties = {.type = text("q\xff"), .reply_to = text("client.ops.answers")}};
    b.cb.on_delivery(b.arg, &d);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n_published, 2);
    assert_int_equal(b.last.exchange.len, 0);
    assert_memory_equal(b.last.routing_key.data, "client.ops.answers", 18);
    assert_true(header_is("env-refused", "invalid"));
    outcome(BROKER_CONFIRMED);
    d.handle = 2;
    d.properties.reply_to = text("client.eve.answers"); // somebody else's
    b.cb.on_delivery(b.arg, &d);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(b.n_published, 3);
}

static void what_has_expired_is_a_dead_letter_but_a_late_reply_is_not(void **state)
{
    (void)state;
    struct remote_stats stats;
    struct id id = numbered_id(8);
    char call[ID_TEXT_CAP];
    id_format(&id, call);
    const struct broker_header headers[] = {{text("env-version"), text("1")},
                                            {text("env-kind"), text("reply")},
                                            {text("env-from"), text("acme/far")},
                                            {text("env-to"), text("acme/web")},
                                            {text("env-epoch"), text("3")},
                                            {text("env-host"), text("h2")},
                                            {text("env-expires"), text("1600000000000")}};
    struct broker_delivery d = {.handle = 1,
                                .consumer = b.inbox_consumer,
                                .exchange = text("env"),
                                .routing_key = text("host.h1"),
                                .properties = {.user_id = text("envd.h2"),
                                               .message_id = text(call),
                                               .correlation_id = text(call),
                                               .type = text("q"),
                                               .n_headers = 7}};
    memcpy(d.properties.headers, headers, sizeof headers);
    b.cb.on_delivery(b.arg, &d);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(b.n_published, 0);
    d.handle = 2;
    d.routing_key = text("acme.web");
    d.properties.headers[1].value = text("send");
    b.cb.on_delivery(b.arg, &d);
    assert_true(header_is("env-refused", "expired"));
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.late, 1);
    assert_int_equal(stats.refused[RECEIPT_EXPIRED], 1);
}

static void who_lies_is_refused_counted_and_recorded(void **state)
{
    (void)state;
    struct remote_stats stats;
    struct broker_delivery d = {.handle = 1,
                                .consumer = b.mailbox_consumer,
                                .exchange = text("client.ops"),
                                .routing_key = text("acme.db"),
                                .properties = {.user_id = text("envd.h2"), .type = text("q")}};
    const struct id id = numbered_id(9);
    char id_text[ID_TEXT_CAP];
    id_format(&id, id_text);
    d.properties.message_id = text(id_text);
    b.cb.on_delivery(b.arg, &d);
    assert_true(header_is("env-refused", "lying-sender"));
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.malformed[AMQP_SENDER], 1);
    const struct mediate_record *r = mediator_find(f.mediator, &id, 0);
    assert_non_null(r);
    assert_int_equal(r->decision.reason, MEDIATE_REASON_SENDER);
    assert_string_equal(r->question.source.name, "ops");
}

static void an_earlier_life_of_a_host_is_refused_unless_the_broker_repeats_it(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    epoch = "3";
    arrives(2, 2);
    assert_true(header_is("env-refused", "stale"));
    arrives_at(b.mailbox_consumer, 3, 3, true);
    assert_int_equal(b.settled[3], ACK);
    from_host = "h3"; // another host's count is its own
    arrives(4, 4);
    assert_int_equal(b.settled[4], ACK);
    from_host = "h2";
}

static void an_earlier_life_of_a_host_is_refused_after_a_restart_too(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    assert_int_equal(b.settled[1], ACK);
    restart();
    epoch = "3";
    arrives(2, 2);
    assert_int_equal(b.settled[2], NOT_YET);
    assert_true(header_is("env-refused", "stale"));
    epoch = "5";
    arrives(3, 3);
    assert_int_equal(b.settled[3], ACK);
    restart();
    epoch = "4";
    arrives(4, 4);
    epoch = "3";
    assert_int_equal(b.settled[4], NOT_YET);
    assert_true(header_is("env-refused", "stale"));
}

static void a_new_queue_of_an_old_name_knows_of_no_lives(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    epoch = "3";
    endpoint_detach(db);
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_QUEUE), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    arrives(2, 2);
    assert_int_equal(b.settled[2], ACK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_stored_is_acknowledged_and_so_is_what_came_before),
        TEST(several_that_came_in_one_are_acknowledged_together),
        TEST(one_of_several_that_is_refused_is_buried_alone),
        TEST(one_of_several_that_is_buried_is_not_buried_again_when_all_come_again),
        TEST_SMALL(several_for_a_full_mailbox_come_again_whole),
        TEST(several_in_one_from_who_is_no_host_are_no_message),
        TEST(what_is_denied_lies_among_the_dead_letters_with_its_reason),
        TEST(without_that_copy_the_original_is_dead_lettered),
        TEST(while_no_copy_can_be_made_it_comes_again),
        TEST(a_caller_is_told_when_its_call_cannot_be_delivered_any_more),
        TEST(a_clients_call_that_cannot_be_read_is_answered_with_what_is_wrong),
        TEST(what_has_expired_is_a_dead_letter_but_a_late_reply_is_not),
        TEST(who_lies_is_refused_counted_and_recorded),
        TEST(an_earlier_life_of_a_host_is_refused_unless_the_broker_repeats_it),
        TEST(an_earlier_life_of_a_host_is_refused_after_a_restart_too),
        TEST(a_new_queue_of_an_old_name_knows_of_no_lives),
    };
    return cmocka_run_group_tests_name("remote_arrival", tests, NULL, NULL);
}
