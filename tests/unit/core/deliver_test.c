// Tests of messages from the host (agent/core/deliver.c): who gets them, credit, ACK and RELEASE, holding.
#include "deliver_steps.h"

#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELIVER_TEST(the_hosts_credit_is_the_sum_of_the_programs),
        DELIVER_TEST(messages_go_to_programs_with_credit_in_turn),
        DELIVER_TEST(a_message_without_credit_ends_the_link),
        DELIVER_TEST(ack_and_release_reach_the_host),
        DELIVER_TEST(only_the_program_that_has_a_message_can_answer_for_it_and_once),
        DELIVER_TEST(what_a_dead_program_had_is_released),
        DELIVER_TEST(credit_of_a_dead_program_is_used_up_before_more_is_given),
        DELIVER_TEST(too_much_credit_costs_a_program_its_connection),
        DELIVER_TEST(the_window_is_bounded_by_what_can_be_remembered),
        DELIVER_TEST(service_messages_go_to_the_program_that_registered_it),
        DELIVER_TEST(a_message_for_a_service_that_nobody_serves_waits_and_lets_others_pass),
        DELIVER_TEST(who_registers_a_service_gets_what_waited_for_it),
        DELIVER_TEST(what_nobody_serves_goes_back_when_nobody_has_credit),
        DELIVER_TEST(without_memory_to_hold_it_a_message_goes_back_and_credit_waits),
        DELIVER_TEST(a_service_message_waits_for_its_programs_credit_and_costs_no_other),
        DELIVER_TEST(held_messages_go_back_when_their_program_dies),
        DELIVER_TEST(when_too_much_is_held_the_host_gets_no_more_credit),
        DELIVER_TEST(what_cannot_be_held_goes_back),
    };
    return cmocka_run_group_tests_name("core/deliver", tests, NULL, NULL);
}
