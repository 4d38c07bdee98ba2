// Tests of messages that come again (agent/core/deliver.c, window.c): after a lost link, after RELEASE, and
// later when the host can defer.
#include "deliver_steps.h"

#include <string.h>

static void an_answer_given_without_link_reaches_the_host_before_new_credit(void **state)
{
    (void)state;
    fake_program(f, 0, 4);
    for (uint8_t id = 1; id <= 3; id++)
        deliver(id, "acme/web");
    fake_hang_up(f, FAKE_HOST);
    answer(0, AGENT_ACK, 1);
    answer(0, AGENT_RELEASE, 2);
    fake_expect_nothing(f, FAKE_HOST);
    fake_pass(f, 1000);
    fake_link_up(f);
    assert_told(AGENT_ACK, 1);
    assert_told(AGENT_RELEASE, 2);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
}

static void a_redelivered_message_is_not_given_twice_while_a_program_works_on_it(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    deliver(1, "acme/web");
    assert_got(0, 1);
    reconnect();
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 2);
    deliver(1, "acme/web");
    fake_expect_nothing(f, 0);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1); // it cost the program nothing
    answer(0, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
}

static void deliver_from(const char *from, uint8_t id)
{
    struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, "acme/web");
    m.envelope.from = fake_view(from);
    fake_say(f, FAKE_HOST, &m);
}

static void one_id_of_two_senders_is_two_messages(void **state)
{
    (void)state;
    fake_program(f, 0, 4);
    deliver_from("acme/db", 1);
    deliver_from("acme/eve", 1);
    assert_got(0, 1);
    assert_got(0, 1);
    answer(0, AGENT_ACK, 1);
    answer(0, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    deliver_from("acme/bob", 1);
    assert_got(0, 1);
}

static void what_was_acknowledged_is_acknowledged_again_and_not_given_again(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    deliver(1, "acme/web");
    assert_got(0, 1);
    answer(0, AGENT_ACK, 1);
    reconnect(); // the ACK was lost
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(1, "acme/web");
    assert_told(AGENT_ACK, 1);
    fake_expect_nothing(f, 0);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1); // it cost the program nothing
}

static void two_thousand_acknowledged_messages_are_remembered(void **state)
{
    (void)state;
    fake_program(f, 0, 5);
    for (unsigned i = 0; i < 2049; i++) {
        struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, (uint8_t)i, "acme/web");
        m.envelope.id.bytes[14] = (uint8_t)(i >> 8);
        fake_say(f, FAKE_HOST, &m);
        fake_expect(f, 0, AGENT_DELIVER);
        fake_say(f, 0, &(struct agent_frame){.type = AGENT_ACK, .id = m.envelope.id});
        fake_say(f, 0, &(struct agent_frame){.type = AGENT_CREDIT, .credit = 1});
        fake_expect(f, FAKE_HOST, AGENT_ACK);
        fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    }
    deliver(1, "acme/web"); // the second oldest
    assert_told(AGENT_ACK, 1);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_expect_nothing(f, 0);
    deliver(0, "acme/web"); // the oldest is forgotten
    assert_got(0, 0);
}

static void what_was_released_is_given_again(void **state)
{
    (void)state;
    fake_program(f, 0, 2);
    deliver(1, "acme/web");
    assert_got(0, 1);
    answer(0, AGENT_RELEASE, 1);
    assert_told(AGENT_RELEASE, 1);
    deliver(1, "acme/web");
    assert_got(0, 1);
}

// ---- a host that defers ----

static void link_up_to_a_host_that_defers(void)
{
    f->host_can = AGENT_CAN_DEFER;
    reconnect();
}

static void assert_deferred_tried(uint8_t id, uint32_t delay_ms, bool tried)
{
    struct agent_frame d = fake_expect(f, FAKE_HOST, AGENT_DEFER);
    assert_int_equal(d.defer.id.bytes[15], id);
    assert_int_equal(d.defer.delay_ms, delay_ms);
    assert_int_equal(d.defer.tried, tried);
}

static void assert_deferred(uint8_t id, uint32_t delay_ms)
{
    assert_deferred_tried(id, delay_ms, false);
}

static void what_is_released_again_and_again_comes_ever_later(void **state)
{
    (void)state;
    static const uint32_t delays_ms[] = {200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    link_up_to_a_host_that_defers();
    fake_program(f, 0, 20);
    deliver(1, "acme/web");
    answer(0, AGENT_RELEASE, 1);
    assert_told(AGENT_RELEASE, 1);
    for (size_t i = 0; i < sizeof delays_ms / sizeof delays_ms[0]; i++) {
        deliver(1, "acme/web");
        answer(0, AGENT_RELEASE, 1);
        assert_deferred_tried(1, delays_ms[i], true);
    }
}

static void of_what_a_dead_program_had_only_the_oldest_was_tried(void **state)
{
    (void)state;
    link_up_to_a_host_that_defers();
    fake_program(f, 0, 5);
    fake_program(f, 1, 0);
    serve(0, "db");
    for (uint8_t id = 1; id <= 4; id++)
        deliver(id, "acme/web");
    answer(0, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    deliver(5, ":db"); // takes the slot of 1
    give_credit(1, 1);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(6, ":db"); // held: it never came to the program
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_hang_up(f, 0);
    fake_expect(f, FAKE_HOST, AGENT_UNREGISTER);
    assert_deferred(6, 0);
    assert_deferred(5, 0);
    assert_told(AGENT_RELEASE, 2);
    assert_deferred(3, 0);
    assert_deferred(4, 0);
}

static void what_nobody_serves_is_deferred_for_as_long_as_nobody_did(void **state)
{
    (void)state;
    link_up_to_a_host_that_defers();
    fake_program(f, 0, 1);
    deliver(1, ":db");
    assert_deferred(1, 200);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_pass(f, 700);
    deliver(1, ":db");
    assert_deferred(1, 700);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_pass(f, 100000);
    deliver(1, ":db");
    assert_deferred(1, 30000);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(2, "acme/web");
    assert_got(0, 2);
}

static void two_hundred_messages_that_nobody_serves_keep_nobody_waiting(void **state)
{
    (void)state;
    link_up_to_a_host_that_defers();
    fake_program(f, 0, 1);
    for (uint8_t id = 0; id < 200; id++) {
        deliver(id, ":db");
        assert_deferred(id, 200);
        fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    }
    deliver(200, "acme/web");
    assert_got(0, 200);
}

static void a_program_that_takes_nothing_keeps_others_waiting_for_ten_seconds(void **state)
{
    (void)state;
    link_up_to_a_host_that_defers();
    fake_program(f, 0, 1);
    fake_program(f, 1, 0);
    serve(1, "db");
    for (uint8_t id = 0; id < 64; id++) {
        deliver(id, ":db");
        if (id < 63)
            fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    }
    fake_pass(f, 9999);
    fake_expect_nothing(f, FAKE_HOST);
    fake_pass(f, 1);
    for (uint8_t id = 0; id < 64; id++)
        assert_deferred(id, 200);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(64, ":db"); // it is known by now
    assert_deferred(64, 200);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    give_credit(1, 1); // it takes again: the host is to deliver what it deferred
    assert_true(wire_view_equals(fake_expect(f, FAKE_HOST, AGENT_REGISTER).service, "db"));
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(0, ":db");
    assert_got(1, 0);
}

static void messages_wait_at_the_host_while_a_program_does_not_read(void **state)
{
    (void)state;
    static uint8_t body[100000];
    fake_program(f, 0, 100);
    fake_program(f, 1, 0);
    f->clients[0].room = 1000;
    for (uint8_t id = 0; id < 10; id++) {
        struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, "acme/web");
        m.envelope.body = (struct wire_view){body, sizeof body};
        fake_say(f, FAKE_HOST, &m);
    }
    assert_false(agent_host_wants_input(f->agent));
    assert_true(f->host.said.len - f->host.said.done > 6 * sizeof body);
    fake_give_room(f, 0, SIZE_MAX);
    for (uint8_t id = 0; id < 10; id++)
        assert_got(0, id);
}

static void a_program_that_keeps_others_waiting_is_closed(void **state)
{
    (void)state;
    static uint8_t body[100000];
    fake_program(f, 0, 100);
    f->clients[0].room = 0;
    for (uint8_t id = 0; id < 10; id++) {
        struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, "acme/web");
        m.envelope.body = (struct wire_view){body, sizeof body};
        fake_say(f, FAKE_HOST, &m);
    }
    fake_pass(f, 9999);
    assert_false(f->clients[0].closed);
    fake_pass(f, 2);
    assert_true(f->clients[0].closed);
    for (uint8_t id = 0; id < 10; id++)
        assert_told(AGENT_RELEASE, id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELIVER_TEST(an_answer_given_without_link_reaches_the_host_before_new_credit),
        DELIVER_TEST(a_redelivered_message_is_not_given_twice_while_a_program_works_on_it),
        DELIVER_TEST(one_id_of_two_senders_is_two_messages),
        DELIVER_TEST(what_was_acknowledged_is_acknowledged_again_and_not_given_again),
        DELIVER_TEST(two_thousand_acknowledged_messages_are_remembered),
        DELIVER_TEST(what_was_released_is_given_again),
        DELIVER_TEST(what_is_released_again_and_again_comes_ever_later),
        DELIVER_TEST(of_what_a_dead_program_had_only_the_oldest_was_tried),
        DELIVER_TEST(what_nobody_serves_is_deferred_for_as_long_as_nobody_did),
        DELIVER_TEST(two_hundred_messages_that_nobody_serves_keep_nobody_waiting),
        DELIVER_TEST(a_program_that_takes_nothing_keeps_others_waiting_for_ten_seconds),
        DELIVER_TEST(messages_wait_at_the_host_while_a_program_does_not_read),
        DELIVER_TEST(a_program_that_keeps_others_waiting_is_closed),
    };
    return cmocka_run_group_tests_name("core/redeliver", tests, NULL, NULL);
}
