// Tests of program connections (agent/core/client.c): HELLO, misbehaviour, limits, clock, back-pressure.
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new();
    fake_link_up(f);
    return 0;
}

static int setup_without_link(void **state)
{
    (void)state;
    f = fake_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(f);
    return 0;
}

static void connect(int client)
{
    f->clients[client].closed = false;
    assert_true(agent_client_open(f->agent, client));
}

static void hello_is_answered_with_who_we_are(void **state)
{
    (void)state;
    connect(0);
    fake_pass(f, 1000);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_HELLO, .hello = {1, 7, 0, fake_view("test")}});
    struct agent_frame ok = fake_expect(f, 0, AGENT_HELLO_OK);
    assert_int_equal(ok.hello_ok.version, AGENT_VERSION);
    assert_true(wire_view_equals(ok.hello_ok.tenant, "acme"));
    assert_true(wire_view_equals(ok.hello_ok.name, "web"));
    assert_int_equal(ok.hello_ok.body_max, ENVELOPE_BODY_DEFAULT);
    assert_int_equal(ok.hello_ok.realtime_ns,
                     (1700000000000 + 1000) * MS); // the host's clock, a second later
}

static void a_program_that_comes_before_the_host_waits(void **state)
{
    (void)state;
    connect(0);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_HELLO, .hello = {1, 1, 0, {0}}});
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 1});
    fake_pass(f, 60000);
    fake_expect_nothing(f, 0);
    assert_false(f->clients[0].closed);
    fake_link_up(f);
    fake_offer(f);
    fake_expect(f, 0, AGENT_HELLO_OK);
    fake_expect(f, FAKE_HOST, AGENT_CLOCK);
}

static void a_program_of_another_version_is_rejected_with_the_reason(void **state)
{
    (void)state;
    const uint16_t ranges[][2] = {{2, 9}, {0, 0}};
    for (size_t i = 0; i < 2; i++) {
        connect(0);
        fake_say(f, 0,
                 &(struct agent_frame){.type = AGENT_HELLO, .hello = {ranges[i][0], ranges[i][1], 0, {0}}});
        struct agent_frame reject = fake_expect(f, 0, AGENT_REJECT);
        assert_true(wire_view_equals(reject.reject.reason,
                                     "this agent speaks version 1 of the protocol, the program does not"));
        assert_true(f->clients[0].closed);
    }
}

static void a_program_that_says_nothing_is_closed_however_slowly_it_trickles(void **state)
{
    (void)state;
    connect(0);
    connect(1);
    for (int i = 0; i < 4; i++) {
        fake_pass(f, 1000);
        fake_say_bytes(f, 1, "\x0a\0\0\0", 1);
    }
    fake_pass(f, 999);
    assert_false(f->clients[0].closed);
    fake_pass(f, 1);
    assert_true(f->clients[0].closed);
    assert_true(f->clients[1].closed);
}

static void every_frame_that_is_out_of_place_ends_the_connection(void **state)
{
    (void)state;
    const enum agent_frame_type allowed[] = {AGENT_SEND,       AGENT_ACK,     AGENT_RELEASE,
                                             AGENT_CREDIT,     AGENT_CLOCK,   AGENT_REGISTER,
                                             AGENT_UNREGISTER, AGENT_MONITOR, AGENT_UNMONITOR};
    for (unsigned type = 1; type < AGENT_FRAME_TYPE_COUNT; type++) {
        // Only the header is needed: that is where it ends.
        uint8_t header[AGENT_HEADER_LEN] = {0, 0, 0, 0, (uint8_t)type};
        struct agent_header h;
        while (agent_header_read(header, &h))
            header[0]++;
        bool ok = false;
        for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
            ok |= allowed[i] == type;
        fake_program(f, 0, 0);
        fake_say_bytes(f, 0, header, sizeof header);
        if (f->clients[0].closed == ok)
            fail_msg("%s after HELLO: %s", agent_frame_type_name((enum agent_frame_type)type),
                     ok ? "closed" : "accepted");
        if (ok)
            fake_hang_up(f, 0);
        connect(0);
        fake_say_bytes(f, 0, header, sizeof header);
        if (f->clients[0].closed == (type == AGENT_HELLO))
            fail_msg("%s before HELLO", agent_frame_type_name((enum agent_frame_type)type));
        if (type == AGENT_HELLO)
            fake_hang_up(f, 0);
    }
}

static void garbage_costs_a_program_its_connection_and_nobody_else(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    fake_say_bytes(f, 0, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_true(f->clients[0].closed);
    assert_false(f->clients[1].closed);
    assert_false(f->host.closed);
    assert_string_equal(f->last_log, "the agent ends a program's connection: unknown frame type");
}

static void a_malformed_message_costs_a_program_its_connection(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "No Name");
    fake_say(f, 0, &m);
    assert_true(f->clients[0].closed);
    fake_expect_nothing(f, FAKE_HOST);
}

static void a_message_above_the_limit_is_refused_by_its_header(void **state)
{
    (void)state;
    struct wire_writer w;
    uint8_t header[AGENT_HEADER_LEN] = {[4] = AGENT_SEND};
    fake_program(f, 0, 0);
    size_t before = f->allocated;
    wire_writer_init(&w, header, 4);
    wire_write_u32(&w, ENVELOPE_BODY_DEFAULT + ENVELOPE_OVERHEAD_MAX + 1);
    fake_say_bytes(f, 0, header, sizeof header);
    assert_true(f->clients[0].closed);
    assert_int_equal(f->allocated, before);
}

static void say_receipt(uint32_t tag)
{
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_RECEIPT, .tag = tag});
    fake_expect(f, 0, AGENT_RECEIPT);
}

static void a_large_message_passes_whole_and_its_memory_is_given_back(void **state)
{
    (void)state;
    static uint8_t body[ENVELOPE_BODY_DEFAULT];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31);
    fake_program(f, 0, 0);
    size_t before = f->allocated;
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    m.envelope.body = (struct wire_view){body, sizeof body};
    fake_say(f, 0, &m);
    struct agent_frame sent = fake_expect(f, FAKE_HOST, AGENT_SEND);
    assert_int_equal(sent.envelope.body.len, sizeof body);
    assert_memory_equal(sent.envelope.body.data, body, sizeof body);
    assert_int_equal(f->allocated, before + 1); // it may have to be sent again
    say_receipt(sent.tag);
    assert_int_equal(f->allocated, before);
}

static void a_program_that_stops_in_the_middle_of_a_frame_is_closed(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    fake_say_bytes(f, 0, "\0", 1);
    fake_pass(f, 9999);
    assert_false(f->clients[0].closed);
    fake_pass(f, 1);
    assert_true(f->clients[0].closed);
    assert_false(f->clients[1].closed); // silent between frames is fine
}

static void numbers_out_of_range_or_in_use_are_refused(void **state)
{
    (void)state;
    connect(5);
    assert_false(agent_client_open(f->agent, 5));
    assert_false(agent_client_open(f->agent, -1));
    assert_false(agent_client_open(f->agent, AGENT_CLIENTS_MAX));
    assert_false(agent_client_wants_input(f->agent, AGENT_CLIENTS_MAX));
    assert_int_equal(agent_client_input(f->agent, 6, "x", 1), 0);
    agent_client_closed(f->agent, 6);
    agent_client_closed(f->agent, AGENT_CLIENTS_MAX);
    agent_client_writable(f->agent, -1);
}

static void all_numbers_can_be_in_use_and_used_again(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
            fake_program(f, i, 0);
        for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
            fake_hang_up(f, i);
    }
}

static void the_clock_is_asked_of_the_host(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 77});
    uint32_t tag = fake_expect(f, FAKE_HOST, AGENT_CLOCK).tag;
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_CLOCK_IS, .tag = tag, .realtime_ns = 123});
    struct agent_frame is = fake_expect(f, 0, AGENT_CLOCK_IS);
    assert_int_equal(is.tag, 77);
    assert_int_equal(is.realtime_ns, 123);
}

static void the_clock_answers_without_the_host_too(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 1}); // on its way when the link breaks
    fake_hang_up(f, FAKE_HOST);
    assert_int_equal(fake_expect(f, 0, AGENT_CLOCK_IS).tag, 1);
    fake_pass(f, 500);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 2});
    assert_int_equal(fake_expect(f, 0, AGENT_CLOCK_IS).realtime_ns, (1700000000000 + 500) * MS);
}

static void a_clock_answer_for_a_program_that_left_goes_nowhere(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 77});
    uint32_t tag = fake_expect(f, FAKE_HOST, AGENT_CLOCK).tag;
    fake_hang_up(f, 0);
    fake_program(f, 0, 0);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_CLOCK_IS, .tag = tag, .realtime_ns = 123});
    fake_expect_nothing(f, 0);
}

static void nothing_is_taken_from_programs_while_the_host_does_not_read(void **state)
{
    (void)state;
    static uint8_t body[100000];
    fake_program(f, 0, 0);
    f->host.room = 0;
    for (uint8_t i = 1; i <= 10; i++) {
        struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, i, "db");
        m.envelope.body = (struct wire_view){body, sizeof body};
        fake_say(f, 0, &m);
    }
    assert_false(agent_client_wants_input(f->agent, 0));
    size_t left = f->clients[0].said.len - f->clients[0].said.done;
    assert_true(left > 8 * sizeof body); // one message waits to be written, one is in the making
    fake_pass(f, 60000);
    assert_false(f->clients[0].closed); // it is not the program that stopped
    fake_give_room(f, FAKE_HOST, SIZE_MAX);
    for (uint8_t i = 1; i <= 10; i++)
        assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_SEND).envelope.id.bytes[15], i);
}

static void nothing_is_taken_from_a_program_that_does_not_read_its_receipts(void **state)
{
    (void)state;
    static char detail[AGENT_DETAIL_MAX + 1];
    memset(detail, 'x', AGENT_DETAIL_MAX);
    fake_program(f, 0, 0);
    f->clients[0].room = 0;
    int n_sent = 0;
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    for (fake_say(f, 0, &m); f->host.heard.len > 0 && n_sent < 10000; fake_say(f, 0, &m)) {
        uint32_t tag = fake_expect(f, FAKE_HOST, AGENT_SEND).tag;
        fake_say(f, FAKE_HOST,
                 &(struct agent_frame){.type = AGENT_RECEIPT,
                                       .tag = tag,
                                       .receipt = {RECEIPT_DENIED, fake_id(1), fake_view(detail)}});
        n_sent++;
    }
    assert_false(agent_client_wants_input(f->agent, 0));
    assert_true(n_sent > 100 && n_sent < 200); // 64 KiB of receipts
    fake_give_room(f, 0, SIZE_MAX);
    for (int i = 0; i < n_sent; i++)
        fake_expect(f, 0, AGENT_RECEIPT);
    fake_expect(f, FAKE_HOST, AGENT_SEND); // the one that waited
}

static void without_memory_input_waits_and_goes_on_later(void **state)
{
    (void)state;
    static uint8_t body[5000];
    fake_program(f, 0, 0);
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    m.envelope.body = (struct wire_view){body, sizeof body};
    f->memory_max = f->allocated;
    fake_say(f, 0, &m);
    assert_false(agent_client_wants_input(f->agent, 0));
    assert_false(f->clients[0].closed);
    fake_pass(f, 200); // tries in vain
    fake_expect_nothing(f, FAKE_HOST);
    f->memory_max = SIZE_MAX;
    fake_pass(f, 100);
    fake_expect(f, FAKE_HOST, AGENT_SEND);
    assert_false(f->clients[0].closed);
}

static void input_that_waits_for_memory_goes_on_as_soon_as_some_is_free(void **state)
{
    (void)state;
    static uint8_t body[5000];
    struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, 1, "db");
    m.envelope.body = (struct wire_view){body, sizeof body};
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    f->host.room = 0;
    fake_say(f, 0, &m);
    f->memory_max = f->allocated;
    fake_say(f, 1, &m);
    assert_false(agent_client_wants_input(f->agent, 1));
    fake_give_room(f, FAKE_HOST, SIZE_MAX);
    say_receipt(fake_expect(f, FAKE_HOST, AGENT_SEND).tag); // the first message need not be kept any more
    fake_offer(f);
    fake_expect(f, FAKE_HOST, AGENT_SEND);
}

static void small_frames_need_no_memory_to_be_read(void **state)
{
    (void)state;
    fake_program(f, 0, 0);
    f->memory_max = f->allocated;
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_ACK, .id = fake_id(1)});
    assert_int_equal(f->clients[0].said.len, 0);
    assert_false(f->clients[0].closed);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_is_answered_with_who_we_are),
        cmocka_unit_test_setup_teardown(a_program_that_comes_before_the_host_waits, setup_without_link,
                                        teardown),
        T(a_program_of_another_version_is_rejected_with_the_reason),
        T(a_program_that_says_nothing_is_closed_however_slowly_it_trickles),
        T(every_frame_that_is_out_of_place_ends_the_connection),
        T(garbage_costs_a_program_its_connection_and_nobody_else),
        T(a_malformed_message_costs_a_program_its_connection),
        T(a_message_above_the_limit_is_refused_by_its_header),
        T(a_large_message_passes_whole_and_its_memory_is_given_back),
        T(a_program_that_stops_in_the_middle_of_a_frame_is_closed),
        T(numbers_out_of_range_or_in_use_are_refused),
        T(all_numbers_can_be_in_use_and_used_again),
        T(the_clock_is_asked_of_the_host),
        T(the_clock_answers_without_the_host_too),
        T(a_clock_answer_for_a_program_that_left_goes_nowhere),
        T(nothing_is_taken_from_programs_while_the_host_does_not_read),
        T(nothing_is_taken_from_a_program_that_does_not_read_its_receipts),
        T(without_memory_input_waits_and_goes_on_later),
        T(input_that_waits_for_memory_goes_on_as_soon_as_some_is_free),
        T(small_frames_need_no_memory_to_be_read),
    };
    return cmocka_run_group_tests_name("core/client", tests, NULL, NULL);
}
