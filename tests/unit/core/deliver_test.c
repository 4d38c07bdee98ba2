// Tests of messages from the host (agent/core/deliver.c): who gets them, credit, ACK and RELEASE, redelivery,
// holding.
#include "fake.h"

#include <string.h>

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new();
    fake_link_up(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(f);
    return 0;
}

static void deliver(uint8_t id, const char *to)
{
    struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, to);
    fake_say(f, FAKE_HOST, &m);
}

static void assert_got(int client, uint8_t id)
{
    struct agent_frame d = fake_expect(f, client, AGENT_DELIVER);
    assert_int_equal(d.envelope.id.bytes[15], id);
    assert_int_equal(d.tag, 0);
}

static void answer(int client, enum agent_frame_type type, uint8_t id)
{
    fake_say(f, client, &(struct agent_frame){.type = type, .id = fake_id(id)});
}

static void assert_told(enum agent_frame_type type, uint8_t id)
{
    assert_int_equal(fake_expect(f, FAKE_HOST, type).id.bytes[15], id);
}

static void give_credit(int client, uint32_t n)
{
    fake_say(f, client, &(struct agent_frame){.type = AGENT_CREDIT, .credit = n});
}

static void serve(int client, const char *service)
{
    fake_say(f, client,
             &(struct agent_frame){.type = AGENT_REGISTER, .tag = 1, .service = fake_view(service)});
    uint32_t tag = fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag;
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_RESULT, .tag = tag});
    fake_expect(f, client, AGENT_RESULT);
}

static void reconnect(void)
{
    fake_hang_up(f, FAKE_HOST);
    f->host.heard.len = f->host.heard.done = 0;
    fake_pass(f, 5000);
    fake_link_up(f);
}

static void the_hosts_credit_is_the_sum_of_the_programs(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    give_credit(0, 2);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 2);
    give_credit(1, 3);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 3);
    deliver(1, "acme/web");
    fake_expect_nothing(f, FAKE_HOST); // used up, not renewed
}

static void messages_go_to_programs_with_credit_in_turn(void **state)
{
    (void)state;
    fake_program(f, 0, 2);
    fake_program(f, 1, 0);
    fake_program(f, 2, 1);
    deliver(1, "acme/web");
    deliver(2, "acme/web");
    deliver(3, "acme/web");
    assert_got(0, 1);
    assert_got(2, 2);
    assert_got(0, 3);
    fake_expect_nothing(f, 1);
}

static void a_message_without_credit_ends_the_link(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    deliver(1, "acme/web");
    assert_false(f->host.closed);
    deliver(2, "acme/web");
    assert_true(f->host.closed);
}

static void ack_and_release_reach_the_host(void **state)
{
    (void)state;
    fake_program(f, 0, 2);
    deliver(1, "acme/web");
    deliver(2, "acme/web");
    answer(0, AGENT_ACK, 2);
    assert_told(AGENT_ACK, 2);
    answer(0, AGENT_RELEASE, 1);
    assert_told(AGENT_RELEASE, 1);
}

static void only_the_program_that_has_a_message_can_answer_for_it_and_once(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    fake_program(f, 1, 0);
    deliver(1, "acme/web");
    answer(1, AGENT_ACK, 1);
    answer(0, AGENT_ACK, 9);
    fake_expect_nothing(f, FAKE_HOST);
    answer(0, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    answer(0, AGENT_ACK, 1);
    fake_expect_nothing(f, FAKE_HOST);
    assert_false(f->clients[0].closed);
}

static void what_a_dead_program_had_is_released(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    deliver(1, "acme/web");
    deliver(2, "acme/web");
    answer(0, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    fake_hang_up(f, 0);
    assert_told(AGENT_RELEASE, 2);
    fake_expect_nothing(f, FAKE_HOST);
}

static void credit_of_a_dead_program_is_used_up_before_more_is_given(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    fake_hang_up(f, 0);
    fake_program(f, 1, 0);
    give_credit(1, 2);
    fake_expect_nothing(f, FAKE_HOST); // the host has 3, we want 2
    deliver(1, "acme/web");
    deliver(2, "acme/web");
    assert_got(1, 1);
    assert_got(1, 2);
    deliver(3, "acme/web");
    assert_told(AGENT_RELEASE, 3); // nobody wants it
    give_credit(1, 1);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
}

static void too_much_credit_costs_a_program_its_connection(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    give_credit(0, AGENT_CREDIT_MAX);
    assert_false(f->clients[0].closed);
    give_credit(0, 1);
    assert_true(f->clients[0].closed);
}

static void the_window_is_bounded_by_what_can_be_remembered(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    give_credit(0, 100000);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, AGENT_DELIVERIES_MAX);
    for (int i = 0; i < AGENT_DELIVERIES_MAX; i++)
        deliver((uint8_t)i, "acme/web");
    fake_expect_nothing(f, FAKE_HOST);
    answer(0, AGENT_ACK, 7);
    assert_told(AGENT_ACK, 7);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
}

static void service_messages_go_to_the_program_that_registered_it(void **state)
{
    (void)state;
    fake_program(f, 0, 2);
    fake_program(f, 1, 2);
    serve(1, "db");
    deliver(1, "acme/:db");
    deliver(2, ":db");
    assert_got(1, 1);
    assert_got(1, 2);
    fake_expect_nothing(f, 0);
}

static void a_message_for_a_service_that_nobody_serves_waits_and_lets_others_pass(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    deliver(1, ":db");
    fake_expect_nothing(f, 0);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
    deliver(2, "acme/web");
    assert_got(0, 2);
    fake_expect_nothing(f, FAKE_HOST);
}

static void who_registers_a_service_gets_what_waited_for_it(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    deliver(1, ":db");
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(2, ":log");
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    deliver(3, "acme/:db");
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_program(f, 1, 0);
    give_credit(1, 1);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    serve(1, "db");
    assert_got(1, 1);
    fake_expect_nothing(f, 1);
    give_credit(1, 1);
    assert_got(1, 3);
    answer(1, AGENT_ACK, 1);
    assert_told(AGENT_ACK, 1);
    fake_hang_up(f, 1);
    fake_expect(f, FAKE_HOST, AGENT_UNREGISTER);
    assert_told(AGENT_RELEASE, 3);
}

static void what_nobody_serves_goes_back_when_nobody_has_credit(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    deliver(1, ":db");
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_hang_up(f, 0);
    assert_told(AGENT_RELEASE, 1);
    deliver(2, ":db"); // the host still had credit
    assert_told(AGENT_RELEASE, 2);
    fake_expect_nothing(f, FAKE_HOST);
}

static void without_memory_to_hold_it_a_message_goes_back_and_credit_waits(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    f->n_fail = 1;
    deliver(1, ":db");
    assert_told(AGENT_RELEASE, 1);
    fake_expect_nothing(f, FAKE_HOST); // or it would come back at once, for ever
    fake_pass(f, 50);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
}

static void a_service_message_waits_for_its_programs_credit_and_costs_no_other(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    fake_program(f, 1, 0);
    serve(1, "db");
    deliver(1, ":db");
    fake_expect_nothing(f, 1);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1); // program 0's is still to be had
    deliver(2, "acme/web");
    assert_got(0, 2);
    give_credit(1, 1);
    assert_got(1, 1);
    fake_expect_nothing(f, FAKE_HOST); // what it gave was used up at once
}

static void held_messages_go_back_when_their_program_dies(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    fake_program(f, 1, 0);
    serve(1, "db");
    deliver(1, ":db");
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    fake_hang_up(f, 1);
    fake_expect(f, FAKE_HOST, AGENT_UNREGISTER);
    assert_told(AGENT_RELEASE, 1);
}

static void when_too_much_is_held_the_host_gets_no_more_credit(void **state)
{
    (void)state;
    fake_program(f, 0, 1);
    fake_program(f, 1, 0);
    serve(1, "db");
    for (uint8_t id = 0; id < 63; id++) {
        deliver(id, ":db");
        fake_expect(f, FAKE_HOST, AGENT_CREDIT);
    }
    deliver(63, ":db");
    fake_expect_nothing(f, FAKE_HOST);
    give_credit(1, 64);
    for (uint8_t id = 0; id < 64; id++)
        assert_got(1, id);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 1);
}

static void what_cannot_be_held_goes_back(void **state)
{
    (void)state;
    fake_program(f, 0, 3);
    fake_program(f, 1, 0);
    serve(1, "db");
    static uint8_t body[200000];
    for (uint8_t id = 1; id <= 2; id++) {
        struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, ":db");
        m.envelope.body = (struct wire_view){body, sizeof body};
        fake_say(f, FAKE_HOST, &m);
    }
    fake_expect(f, FAKE_HOST, AGENT_CREDIT); // for the first; the second filled the hold
    deliver(3, ":db");
    assert_told(AGENT_RELEASE, 3);
    fake_expect_nothing(f, FAKE_HOST);
    give_credit(1, 2);
    assert_got(1, 1);
    assert_got(1, 2);
    fake_expect(f, FAKE_HOST, AGENT_CREDIT);
}

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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_hosts_credit_is_the_sum_of_the_programs),
        T(messages_go_to_programs_with_credit_in_turn),
        T(a_message_without_credit_ends_the_link),
        T(ack_and_release_reach_the_host),
        T(only_the_program_that_has_a_message_can_answer_for_it_and_once),
        T(what_a_dead_program_had_is_released),
        T(credit_of_a_dead_program_is_used_up_before_more_is_given),
        T(too_much_credit_costs_a_program_its_connection),
        T(the_window_is_bounded_by_what_can_be_remembered),
        T(service_messages_go_to_the_program_that_registered_it),
        T(a_message_for_a_service_that_nobody_serves_waits_and_lets_others_pass),
        T(who_registers_a_service_gets_what_waited_for_it),
        T(what_nobody_serves_goes_back_when_nobody_has_credit),
        T(without_memory_to_hold_it_a_message_goes_back_and_credit_waits),
        T(a_service_message_waits_for_its_programs_credit_and_costs_no_other),
        T(held_messages_go_back_when_their_program_dies),
        T(when_too_much_is_held_the_host_gets_no_more_credit),
        T(what_cannot_be_held_goes_back),
        T(an_answer_given_without_link_reaches_the_host_before_new_credit),
        T(a_redelivered_message_is_not_given_twice_while_a_program_works_on_it),
        T(one_id_of_two_senders_is_two_messages),
        T(what_was_acknowledged_is_acknowledged_again_and_not_given_again),
        T(two_thousand_acknowledged_messages_are_remembered),
        T(what_was_released_is_given_again),
        T(what_is_released_again_and_again_comes_ever_later),
        T(of_what_a_dead_program_had_only_the_oldest_was_tried),
        T(what_nobody_serves_is_deferred_for_as_long_as_nobody_did),
        T(two_hundred_messages_that_nobody_serves_keep_nobody_waiting),
        T(a_program_that_takes_nothing_keeps_others_waiting_for_ten_seconds),
        T(messages_wait_at_the_host_while_a_program_does_not_read),
        T(a_program_that_keeps_others_waiting_is_closed),
    };
    return cmocka_run_group_tests_name("core/deliver", tests, NULL, NULL);
}
