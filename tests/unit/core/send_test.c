// Tests of messages on their way to the host (agent/core/send.c): tags, ids, receipts, calls and replies.
#include "fake.h"

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new();
    fake_link_up(f);
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(f);
    return 0;
}

// Sends as the program; returns the tag that the host sees.
static uint32_t send_as(int client, uint32_t tag, enum message_kind kind, uint8_t id)
{
    struct agent_frame m = fake_message(AGENT_SEND, kind, id, "db");
    m.tag = tag;
    m.envelope.expires_ms = kind == MESSAGE_CALL ? 1700000000000 + 2000 : 0;
    fake_say(f, client, &m);
    return fake_expect(f, FAKE_HOST, AGENT_SEND).tag;
}

static void say_receipt(uint32_t tag, enum receipt_code code, uint8_t id)
{
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){
                 .type = AGENT_RECEIPT, .tag = tag, .receipt = {code, fake_id(id), fake_view("because")}});
}

static void say_reply(uint8_t id, uint8_t to_call)
{
    struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_REPLY, id, "acme/web");
    m.envelope.correlation = fake_id(to_call);
    fake_say(f, FAKE_HOST, &m);
}

static void receipts_find_the_sender_and_its_tag(void **state)
{
    (void)state;
    uint32_t first = send_as(0, 7, MESSAGE_SEND, 1), second = send_as(1, 7, MESSAGE_SEND, 2);
    assert_int_not_equal(first, second);
    say_receipt(second, RECEIPT_DENIED, 2);
    say_receipt(first, RECEIPT_ACCEPTED, 1);
    struct agent_frame r = fake_expect(f, 1, AGENT_RECEIPT);
    assert_int_equal(r.tag, 7);
    assert_int_equal(r.receipt.code, RECEIPT_DENIED);
    assert_int_equal(r.receipt.id.bytes[15], 2);
    assert_true(wire_view_equals(r.receipt.detail, "because"));
    assert_int_equal(fake_expect(f, 0, AGENT_RECEIPT).receipt.code, RECEIPT_ACCEPTED);
}

static void an_id_of_zero_is_filled_with_a_uuid_of_now(void **state)
{
    (void)state;
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 0, "db");
    m.envelope.id = (struct id){0};
    fake_say(f, 0, &m);
    struct id id = fake_expect(f, FAKE_HOST, AGENT_SEND).envelope.id;
    char text[ID_TEXT_CAP];
    id_format(&id, text);
    assert_string_equal(text, "018bcfe5-6800-7a5a-9a5a-5a5a5a5a5a5a"); // 1700000000000 ms, random bytes 5a
}

static void an_id_that_the_program_chose_is_kept(void **state)
{
    (void)state;
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 9, "db");
    fake_say(f, 0, &m);
    struct id id = fake_expect(f, FAKE_HOST, AGENT_SEND).envelope.id, want = fake_id(9);
    assert_true(id_equals(&id, &want));
}

static void without_link_a_send_is_refused_at_once(void **state)
{
    (void)state;
    fake_hang_up(f, FAKE_HOST);
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 9, "db");
    m.tag = 3;
    fake_say(f, 0, &m);
    struct agent_frame r = fake_expect(f, 0, AGENT_RECEIPT);
    assert_int_equal(r.tag, 3);
    assert_int_equal(r.receipt.code, RECEIPT_HOST_UNREACHABLE);
    assert_int_equal(r.receipt.id.bytes[15], 9);
}

static void break_link(void)
{
    fake_hang_up(f, FAKE_HOST);
    f->host.heard.len = f->host.heard.done = 0;
}

// Returns the tag that the host sees.
static uint32_t expect_send(uint8_t id)
{
    struct agent_frame s = fake_expect(f, FAKE_HOST, AGENT_SEND);
    assert_int_equal(s.envelope.id.bytes[15], id);
    return s.tag;
}

static void what_has_no_receipt_is_sent_again_in_order_over_the_next_link(void **state)
{
    (void)state;
    for (uint8_t id = 1; id <= 4; id++)
        send_as(id % 2, id, MESSAGE_SEND, id);
    uint32_t tag = send_as(0, 9, MESSAGE_SEND, 9);
    say_receipt(tag, RECEIPT_ACCEPTED, 9);
    fake_expect(f, 0, AGENT_RECEIPT);
    break_link();
    fake_expect_nothing(f, 0);
    fake_pass(f, 1000);
    fake_link_up(f);
    for (uint8_t id = 1; id <= 4; id++)
        say_receipt(expect_send(id), RECEIPT_ACCEPTED, id);
    fake_expect_nothing(f, FAKE_HOST);
    for (uint8_t id = 1; id <= 4; id++)
        assert_int_equal(fake_expect(f, id % 2, AGENT_RECEIPT).tag, id);
    break_link();
    fake_pass(f, 1000);
    fake_link_up(f);
    fake_expect_nothing(f, FAKE_HOST);
}

static void what_is_sent_again_goes_before_what_is_sent_now(void **state)
{
    (void)state;
    static uint8_t body[100000];
    struct agent_frame large = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    large.envelope.body = (struct wire_view){body, sizeof body};
    fake_say(f, 0, &large);
    break_link();
    fake_pass(f, 1000);
    struct agent_frame later = fake_message(AGENT_SEND, MESSAGE_SEND, 2, "db");
    fake_link_up(f);
    fake_say(f, 0, &later);
    struct agent_frame s = fake_expect(f, FAKE_HOST, AGENT_SEND);
    assert_int_equal(s.envelope.id.bytes[15], 1);
    assert_int_equal(s.envelope.body.len, sizeof body);
    expect_send(2);
}

static void without_link_the_outcome_is_unknown_after_half_a_minute(void **state)
{
    (void)state;
    send_as(0, 7, MESSAGE_SEND, 1);
    break_link();
    fake_pass(f, 29999);
    fake_expect_nothing(f, 0);
    fake_pass(f, 1);
    struct agent_frame r = fake_expect(f, 0, AGENT_RECEIPT);
    assert_int_equal(r.tag, 7);
    assert_int_equal(r.receipt.code, RECEIPT_UNKNOWN_OUTCOME);
    assert_int_equal(r.receipt.id.bytes[15], 1);
}

static void a_message_that_expires_without_link_is_not_sent_again(void **state)
{
    (void)state;
    send_as(0, 7, MESSAGE_CALL, 1); // for two seconds
    break_link();
    fake_pass(f, 2000);
    assert_int_equal(fake_expect(f, 0, AGENT_RECEIPT).receipt.code, RECEIPT_UNKNOWN_OUTCOME);
}

static void what_could_not_be_kept_has_an_unknown_outcome_at_once(void **state)
{
    (void)state;
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    f->host.room = 0;
    fake_say(f, 1, &m); // makes the memory in which the next one waits for the host
    f->n_fail = 1;
    fake_say(f, 0, &m);
    fake_hang_up(f, FAKE_HOST);
    assert_int_equal(fake_expect(f, 0, AGENT_RECEIPT).receipt.code, RECEIPT_UNKNOWN_OUTCOME);
    fake_expect_nothing(f, 1);
}

static void what_a_program_that_left_has_sent_is_sent_again_too(void **state)
{
    (void)state;
    send_as(0, 7, MESSAGE_SEND, 1);
    fake_hang_up(f, 0);
    break_link();
    fake_pass(f, 1000);
    fake_link_up(f);
    say_receipt(expect_send(1), RECEIPT_ACCEPTED, 1);
    assert_false(f->host.closed);
}

static void nothing_is_taken_from_programs_while_too_much_is_kept(void **state)
{
    (void)state;
    static uint8_t body[ENVELOPE_BODY_DEFAULT];
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    m.envelope.body = (struct wire_view){body, sizeof body};
    fake_say(f, 0, &m);
    fake_say(f, 1, &m);
    uint32_t tag = expect_send(1);
    fake_expect_nothing(f, FAKE_HOST);
    say_receipt(tag, RECEIPT_ACCEPTED, 1);
    fake_offer(f);
    expect_send(1);
}

static void a_receipt_for_nothing_ends_the_link(void **state)
{
    (void)state;
    uint32_t tag = send_as(0, 7, MESSAGE_SEND, 1);
    say_receipt(tag, RECEIPT_ACCEPTED, 1);
    assert_false(f->host.closed);
    say_receipt(tag, RECEIPT_ACCEPTED, 1);
    assert_true(f->host.closed);
}

static void the_receipt_of_a_program_that_left_goes_to_nobody(void **state)
{
    (void)state;
    uint32_t tag = send_as(0, 7, MESSAGE_SEND, 1);
    fake_hang_up(f, 0);
    fake_program(f, 0, 0);
    say_receipt(tag, RECEIPT_ACCEPTED, 1);
    fake_expect_nothing(f, 0);
    assert_false(f->host.closed);
}

static void sends_beyond_the_table_wait_for_receipts(void **state)
{
    (void)state;
    uint32_t first = send_as(0, 1, MESSAGE_SEND, 1);
    for (uint32_t i = 2; i <= AGENT_SENDS_MAX; i++)
        send_as(0, i, MESSAGE_SEND, 1);
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    fake_say(f, 0, &m);
    fake_say(f, 1, &m);
    fake_expect_nothing(f, FAKE_HOST);
    assert_false(agent_client_wants_input(f->agent, 0));
    say_receipt(first, RECEIPT_ACCEPTED, 1);
    fake_offer(f);
    fake_expect(f, FAKE_HOST, AGENT_SEND);
    fake_expect_nothing(f, FAKE_HOST);
}

static void a_reply_goes_to_the_caller_without_credit_and_is_acknowledged(void **state)
{
    (void)state;
    say_receipt(send_as(1, 7, MESSAGE_CALL, 5), RECEIPT_ACCEPTED, 5);
    fake_expect(f, 1, AGENT_RECEIPT);
    say_reply(6, 5);
    struct agent_frame d = fake_expect(f, 1, AGENT_DELIVER);
    assert_int_equal(d.envelope.kind, MESSAGE_REPLY);
    assert_int_equal(d.envelope.correlation.bytes[15], 5);
    fake_expect_nothing(f, 0);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_ACK).id.bytes[15], 6);
    // The program may acknowledge it too: nothing comes of it.
    fake_say(f, 1, &(struct agent_frame){.type = AGENT_ACK, .id = fake_id(6)});
    fake_expect_nothing(f, FAKE_HOST);
    assert_false(f->clients[1].closed);
}

static void a_reply_that_nobody_waits_for_is_acknowledged_and_dropped(void **state)
{
    (void)state;
    say_reply(6, 5);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_ACK).id.bytes[15], 6);
    fake_expect_nothing(f, 0);
    fake_expect_nothing(f, 1);
}

static void a_second_reply_is_dropped(void **state)
{
    (void)state;
    send_as(1, 7, MESSAGE_CALL, 5);
    say_reply(6, 5);
    say_reply(8, 5);
    fake_expect(f, 1, AGENT_DELIVER);
    fake_expect_nothing(f, 1);
}

static void a_refused_call_is_forgotten(void **state)
{
    (void)state;
    say_receipt(send_as(1, 7, MESSAGE_CALL, 5), RECEIPT_DENIED, 5);
    fake_expect(f, 1, AGENT_RECEIPT);
    say_reply(6, 5);
    fake_expect_nothing(f, 1);
}

static void a_call_is_forgotten_after_its_deadline(void **state)
{
    (void)state;
    send_as(1, 7, MESSAGE_CALL, 5);
    fake_pass(f, 2999); // two seconds and the grace
    send_as(1, 7, MESSAGE_CALL, 6);
    fake_pass(f, 1);
    say_reply(9, 5);
    fake_expect_nothing(f, 1);
    say_reply(9, 6);
    fake_expect(f, 1, AGENT_DELIVER);
}

static void a_reply_may_come_after_the_link_was_lost(void **state)
{
    (void)state;
    send_as(1, 7, MESSAGE_CALL, 5);
    break_link();
    fake_pass(f, 200);
    fake_link_up(f);
    say_receipt(expect_send(5), RECEIPT_ACCEPTED, 5);
    fake_expect(f, 1, AGENT_RECEIPT);
    say_reply(6, 5);
    fake_expect(f, 1, AGENT_DELIVER);
}

static void calls_beyond_the_table_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < AGENT_CALLS_MAX; i++) {
        uint32_t tag = send_as(0, 1, MESSAGE_CALL, (uint8_t)i);
        say_receipt(tag, RECEIPT_ACCEPTED, (uint8_t)i);
        fake_expect(f, 0, AGENT_RECEIPT);
    }
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_CALL, 1, "db");
    m.envelope.id.bytes[0] = 1;
    fake_say(f, 1, &m);
    assert_int_equal(fake_expect(f, 1, AGENT_RECEIPT).receipt.code, RECEIPT_RATE_LIMITED);
    fake_expect_nothing(f, FAKE_HOST);
    fake_hang_up(f, 0); // takes its calls along
    fake_say(f, 1, &m);
    fake_expect(f, FAKE_HOST, AGENT_SEND);
}

static void a_call_may_be_sent_again_with_its_id_but_not_by_another(void **state)
{
    (void)state;
    send_as(0, 1, MESSAGE_CALL, 5);
    send_as(0, 2, MESSAGE_CALL, 5);
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_CALL, 5, "db");
    fake_say(f, 1, &m);
    assert_int_equal(fake_expect(f, 1, AGENT_RECEIPT).receipt.code, RECEIPT_INVALID);
    say_reply(6, 5);
    fake_expect(f, 0, AGENT_DELIVER);
    fake_expect_nothing(f, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(receipts_find_the_sender_and_its_tag),
        T(an_id_of_zero_is_filled_with_a_uuid_of_now),
        T(an_id_that_the_program_chose_is_kept),
        T(without_link_a_send_is_refused_at_once),
        T(what_has_no_receipt_is_sent_again_in_order_over_the_next_link),
        T(what_is_sent_again_goes_before_what_is_sent_now),
        T(without_link_the_outcome_is_unknown_after_half_a_minute),
        T(a_message_that_expires_without_link_is_not_sent_again),
        T(what_could_not_be_kept_has_an_unknown_outcome_at_once),
        T(what_a_program_that_left_has_sent_is_sent_again_too),
        T(nothing_is_taken_from_programs_while_too_much_is_kept),
        T(a_receipt_for_nothing_ends_the_link),
        T(the_receipt_of_a_program_that_left_goes_to_nobody),
        T(sends_beyond_the_table_wait_for_receipts),
        T(a_reply_goes_to_the_caller_without_credit_and_is_acknowledged),
        T(a_reply_that_nobody_waits_for_is_acknowledged_and_dropped),
        T(a_second_reply_is_dropped),
        T(a_refused_call_is_forgotten),
        T(a_call_is_forgotten_after_its_deadline),
        T(a_reply_may_come_after_the_link_was_lost),
        T(calls_beyond_the_table_are_refused),
        T(a_call_may_be_sent_again_with_its_id_but_not_by_another),
    };
    return cmocka_run_group_tests_name("core/send", tests, NULL, NULL);
}
