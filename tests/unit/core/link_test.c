// Tests of the agent's link to the host (agent/core/link.c): connecting, HELLO, backoff, loss and return.
#include "fake.h"

#include <string.h>

#include "state.h" // private: the table of the link's states

static struct fake *f;

static int setup(void **state)
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

static void say_hello_ok(const char *name)
{
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){.type = AGENT_HELLO_OK,
                                   .hello_ok = {.version = AGENT_VERSION,
                                                .tenant = fake_view("acme"),
                                                .name = fake_view(name),
                                                .body_max = 1000,
                                                .realtime_ns = 1700000000000 * MS}});
}

static void reconnect(void)
{
    f->host.closed = false;
    f->host.heard.len = f->host.heard.done = 0;
    fake_pass(f, 5000);
    agent_host_up(f->agent);
    fake_expect(f, FAKE_HOST, AGENT_HELLO);
    say_hello_ok("web");
}

static void hello_is_the_first_frame_and_names_the_software(void **state)
{
    (void)state;
    agent_start(f->agent);
    assert_int_equal(f->n_connects, 1);
    fake_expect_nothing(f, FAKE_HOST);
    agent_host_up(f->agent);
    struct agent_frame hello = fake_expect(f, FAKE_HOST, AGENT_HELLO);
    assert_int_equal(hello.hello.version_min, AGENT_VERSION);
    assert_true(wire_view_equals(hello.hello.software, "fake"));
}

static void a_connect_that_fails_at_once_is_tried_again_with_growing_pauses(void **state)
{
    (void)state;
    f->connect_result = -1;
    agent_start(f->agent);
    fake_pass(f, 1000);
    int in_first_second = f->n_connects;
    assert_true(in_first_second > 3);
    fake_pass(f, 60000);
    int before = f->n_connects;
    fake_pass(f, 60000);
    int in_a_minute = f->n_connects - before;
    assert_true(in_a_minute >= 12 && in_a_minute <= 24); // every 2.5 to 5 s
}

static void a_host_that_does_not_answer_hello_is_left(void **state)
{
    (void)state;
    agent_start(f->agent);
    agent_host_up(f->agent);
    fake_pass(f, AGENT_HELLO_TIMEOUT_MS - 1);
    assert_false(f->host.closed);
    fake_pass(f, 1);
    assert_true(f->host.closed);
    fake_pass(f, 200);
    assert_int_equal(f->n_connects, 2);
}

static void a_connect_that_never_ends_is_given_up(void **state)
{
    (void)state;
    agent_start(f->agent);
    fake_pass(f, 10000);
    assert_true(f->host.closed);
}

static void a_timer_that_fires_early_is_set_again(void **state)
{
    (void)state;
    agent_start(f->agent);
    agent_host_up(f->agent);
    uint64_t due_ns = f->timer_ns;
    f->timer_ns = AGENT_TIMER_OFF;
    agent_timer(f->agent);
    assert_false(f->host.closed);
    assert_int_equal(f->timer_ns, due_ns);
}

static void a_frame_before_hello_ok_ends_the_link(void **state)
{
    (void)state;
    agent_start(f->agent);
    agent_host_up(f->agent);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_PING});
    assert_true(f->host.closed);
}

static void every_frame_that_only_an_agent_may_send_ends_the_link(void **state)
{
    (void)state;
    const enum agent_frame_type ours[] = {AGENT_HELLO,  AGENT_SEND,     AGENT_ACK,        AGENT_RELEASE,
                                          AGENT_CREDIT, AGENT_REGISTER, AGENT_UNREGISTER, AGENT_CLOCK,
                                          AGENT_PONG,   AGENT_HELLO_OK, AGENT_REJECT};
    fake_link_up(f);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        struct agent_frame frame = fake_message(ours[i], MESSAGE_SEND, 1, "db");
        if (ours[i] != AGENT_SEND)
            frame = (struct agent_frame){.type = ours[i]};
        if (ours[i] == AGENT_REGISTER || ours[i] == AGENT_UNREGISTER)
            frame.service = fake_view("db");
        if (ours[i] == AGENT_HELLO_OK)
            frame.hello_ok.tenant = frame.hello_ok.name = fake_view("x"), frame.hello_ok.body_max = 1;
        fake_say(f, FAKE_HOST, &frame);
        if (!f->host.closed)
            fail_msg("%s was accepted", agent_frame_type_name(ours[i]));
        reconnect();
    }
}

static void a_malformed_frame_ends_the_link_and_the_agent_comes_back(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_say_bytes(f, FAKE_HOST, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", AGENT_HEADER_LEN);
    assert_true(f->host.closed);
    assert_string_equal(f->last_log, "the link to the host is lost: connecting again");
    reconnect();
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_PING, .tag = 5});
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_PONG).tag, 5);
}

static void a_refused_agent_waits_long_before_it_asks_again(void **state)
{
    (void)state;
    agent_start(f->agent);
    agent_host_up(f->agent);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_REJECT, .reject = {fake_view("go\naway")}});
    assert_true(f->host.closed);
    fake_pass(f, 2000);
    assert_int_equal(f->n_connects, 1);
    fake_pass(f, 3000);
    assert_int_equal(f->n_connects, 2);
}

static void a_version_that_was_not_offered_ends_the_link(void **state)
{
    (void)state;
    agent_start(f->agent);
    agent_host_up(f->agent);
    fake_say(
        f, FAKE_HOST,
        &(struct agent_frame){
            .type = AGENT_HELLO_OK,
            .hello_ok = {.version = 2, .tenant = fake_view("a"), .name = fake_view("b"), .body_max = 1}});
    assert_true(f->host.closed);
}

static void ping_is_answered_with_its_tag(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_PING, .tag = 0xdeadbeef});
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_PONG).tag, 0xdeadbeef);
}

static void frames_may_come_byte_by_byte(void **state)
{
    (void)state;
    fake_link_up(f);
    const uint8_t ping[AGENT_HEADER_LEN] = {0, 0, 0, 0, AGENT_PING, 0, 0, 0, 9, 0, 0, 0};
    for (size_t i = 0; i < 3 * sizeof ping; i++)
        fake_say_bytes(f, FAKE_HOST, &ping[i % sizeof ping], 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_PONG).tag, 9);
}

static void shutdown_reaches_the_program_around_and_every_program(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_program(f, 0, 0);
    fake_program(f, 63, 0);
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){.type = AGENT_SHUTDOWN,
                                   .shutdown = {1500, fake_view("stopped by the operator")}});
    assert_int_equal(f->shutdown_grace_ms, 1500);
    assert_string_equal(f->shutdown_reason, "stopped by the operator");
    assert_int_equal(fake_expect(f, 0, AGENT_SHUTDOWN).shutdown.grace_ms, 1500);
    assert_true(
        wire_view_equals(fake_expect(f, 63, AGENT_SHUTDOWN).shutdown.reason, "stopped by the operator"));
}

static void who_connects_during_shutdown_is_rejected(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {1500, fake_view("")}});
    f->clients[0].closed = false;
    assert_true(agent_client_open(f->agent, 0));
    fake_say(f, 0, &(struct agent_frame){.type = AGENT_HELLO, .hello = {.version_min = 1, .version_max = 1}});
    assert_true(
        wire_view_equals(fake_expect(f, 0, AGENT_REJECT).reject.reason, "the environment is shutting down"));
    assert_true(f->clients[0].closed);
}

static void programs_stay_connected_when_the_link_is_lost(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_program(f, 0, 3);
    fake_hang_up(f, FAKE_HOST);
    assert_false(f->clients[0].closed);
    reconnect();
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_CREDIT).credit, 3);
    assert_false(f->clients[0].closed);
}

static void programs_are_closed_when_the_environment_comes_back_as_another(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_program(f, 0, 0);
    fake_hang_up(f, FAKE_HOST);
    fake_pass(f, 1000);
    agent_host_up(f->agent);
    fake_expect(f, FAKE_HOST, AGENT_HELLO);
    say_hello_ok("clone");
    assert_true(f->clients[0].closed);
}

static void a_slow_host_gets_every_byte_in_order(void **state)
{
    (void)state;
    fake_link_up(f);
    fake_program(f, 0, 0);
    f->host.room = 0;
    for (uint8_t i = 1; i <= 20; i++) {
        struct agent_frame m = fake_message(AGENT_SEND, MESSAGE_SEND, i, "db");
        fake_say(f, 0, &m);
    }
    for (int i = 0; i < 4000; i++)
        fake_give_room(f, FAKE_HOST, 1);
    for (uint8_t i = 1; i <= 20; i++)
        assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_SEND).envelope.id.bytes[15], i);
}

static void the_link_makes_the_steps_of_its_table_and_no_others(void **state)
{
    (void)state;
    static const enum link_state next[LINK_STATE_COUNT][LINK_EVENT_COUNT] = {
        // START, TIMEOUT, UP, ACCEPTED, LOST
        [LINK_IDLE] = {LINK_CONNECTING, LINK_IDLE, LINK_IDLE, LINK_IDLE, LINK_IDLE},
        [LINK_WAITING] = {LINK_WAITING, LINK_CONNECTING, LINK_WAITING, LINK_WAITING, LINK_WAITING},
        [LINK_CONNECTING] = {LINK_CONNECTING, LINK_WAITING, LINK_GREETING, LINK_CONNECTING, LINK_WAITING},
        [LINK_GREETING] = {LINK_GREETING, LINK_WAITING, LINK_GREETING, LINK_READY, LINK_WAITING},
        [LINK_READY] = {LINK_READY, LINK_READY, LINK_READY, LINK_READY, LINK_WAITING},
    };
    for (unsigned from = 0; from < LINK_STATE_COUNT; from++) {
        for (unsigned event = 0; event < LINK_EVENT_COUNT; event++) {
            f->agent->link.state = (enum link_state)from;
            link_event(f->agent, (enum link_event)event);
            if (f->agent->link.state != next[from][event])
                fail_msg("state %u, event %u: to %u", from, event, f->agent->link.state);
        }
    }
}

static void reports_that_cross_with_a_close_are_ignored(void **state)
{
    (void)state;
    agent_host_up(f->agent);
    agent_host_down(f->agent);
    agent_host_writable(f->agent);
    assert_int_equal(agent_host_input(f->agent, "x", 1), 0);
    assert_int_equal(f->n_connects, 0);
    fake_link_up(f);
    agent_host_up(f->agent);
    fake_expect_nothing(f, FAKE_HOST);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_is_the_first_frame_and_names_the_software),
        T(a_connect_that_fails_at_once_is_tried_again_with_growing_pauses),
        T(a_host_that_does_not_answer_hello_is_left),
        T(a_connect_that_never_ends_is_given_up),
        T(a_timer_that_fires_early_is_set_again),
        T(a_frame_before_hello_ok_ends_the_link),
        T(every_frame_that_only_an_agent_may_send_ends_the_link),
        T(a_malformed_frame_ends_the_link_and_the_agent_comes_back),
        T(a_refused_agent_waits_long_before_it_asks_again),
        T(a_version_that_was_not_offered_ends_the_link),
        T(ping_is_answered_with_its_tag),
        T(frames_may_come_byte_by_byte),
        T(shutdown_reaches_the_program_around_and_every_program),
        T(who_connects_during_shutdown_is_rejected),
        T(programs_stay_connected_when_the_link_is_lost),
        T(programs_are_closed_when_the_environment_comes_back_as_another),
        T(a_slow_host_gets_every_byte_in_order),
        T(the_link_makes_the_steps_of_its_table_and_no_others),
        T(reports_that_cross_with_a_close_are_ignored),
    };
    return cmocka_run_group_tests_name("core/link", tests, NULL, NULL);
}
