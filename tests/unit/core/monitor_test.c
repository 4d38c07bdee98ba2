// Tests of monitors of other environments (agent/core/monitor.c).
#include "fake.h"

#include <stdio.h>

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new();
    f->host_can = AGENT_CAN_MONITOR;
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

static void ask(int client, enum agent_frame_type type, const char *address, uint32_t tag)
{
    fake_say(f, client, &(struct agent_frame){.type = type, .tag = tag, .address = fake_view(address)});
}

// Returns the tag that the host saw.
static uint32_t host_answers(enum agent_frame_type type, enum receipt_code code)
{
    uint32_t tag = fake_expect(f, FAKE_HOST, type).tag;
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){.type = AGENT_RESULT, .tag = tag, .receipt = {.code = code}});
    return tag;
}

static void expect_result(int client, uint32_t tag, enum receipt_code code)
{
    struct agent_frame r = fake_expect(f, client, AGENT_RESULT);
    assert_int_equal(r.tag, tag);
    assert_int_equal(r.receipt.code, code);
}

static uint32_t monitor(int client, const char *address)
{
    ask(client, AGENT_MONITOR, address, 7);
    uint32_t tag = host_answers(AGENT_MONITOR, RECEIPT_ACCEPTED);
    expect_result(client, 7, RECEIPT_ACCEPTED);
    return tag;
}

static void say_gone(const char *address, enum agent_certainty certainty, uint32_t tag)
{
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){.type = AGENT_GONE,
                                   .tag = tag,
                                   .gone = {fake_view(address), certainty, fake_view("it stopped")}});
}

static void expect_gone(int client, const char *address, enum agent_certainty certainty)
{
    struct agent_frame g = fake_expect(f, client, AGENT_GONE);
    assert_int_equal(g.tag, 0);
    assert_true(wire_view_equals(g.gone.address, address));
    assert_int_equal(g.gone.certainty, certainty);
}

static void reconnect(void)
{
    fake_hang_up(f, FAKE_HOST);
    f->host.heard.len = f->host.heard.done = 0;
    fake_pass(f, 5000);
    fake_link_up(f);
}

static void programs_learn_that_the_host_can(void **state)
{
    (void)state;
    f->clients[2].closed = false;
    agent_client_open(f->agent, 2);
    fake_say(f, 2, &(struct agent_frame){.type = AGENT_HELLO, .hello = {.version_min = 1, .version_max = 1}});
    assert_int_equal(fake_expect(f, 2, AGENT_HELLO_OK).hello_ok.capabilities, AGENT_CAN_MONITOR);
}

static void who_asked_is_told_each_time(void **state)
{
    (void)state;
    monitor(0, "db");
    monitor(1, "log");
    say_gone("db", AGENT_GONE_UNKNOWN, 0);
    expect_gone(0, "db", AGENT_GONE_UNKNOWN);
    say_gone("db", AGENT_GONE_CERTAIN, 0);
    expect_gone(0, "db", AGENT_GONE_CERTAIN);
    fake_expect_nothing(f, 1);
    say_gone("eve", AGENT_GONE_CERTAIN, 0); // nobody asked
    fake_expect_nothing(f, 0);
    assert_false(f->host.closed);
}

static void every_program_that_asked_is_told(void **state)
{
    (void)state;
    monitor(0, "db");
    monitor(1, "db");
    say_gone("db", AGENT_GONE_CERTAIN, 0);
    expect_gone(0, "db", AGENT_GONE_CERTAIN);
    expect_gone(1, "db", AGENT_GONE_CERTAIN);
}

static void what_was_away_already_is_told_to_who_asked_for_it(void **state)
{
    (void)state;
    monitor(0, "db");
    uint32_t tag = monitor(1, "db");
    say_gone("db", AGENT_GONE_CERTAIN, tag);
    fake_expect_nothing(f, 0);
    expect_gone(1, "db", AGENT_GONE_CERTAIN);
}

static void a_refusal_reaches_the_program(void **state)
{
    (void)state;
    ask(0, AGENT_MONITOR, "db", 7);
    host_answers(AGENT_MONITOR, RECEIPT_DENIED);
    expect_result(0, 7, RECEIPT_DENIED);
    say_gone("db", AGENT_GONE_CERTAIN, 0);
    fake_expect_nothing(f, 0);
}

static void asking_again_changes_nothing(void **state)
{
    (void)state;
    monitor(0, "db");
    ask(0, AGENT_MONITOR, "db", 8);
    expect_result(0, 8, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, FAKE_HOST);
}

static void the_host_is_told_when_nobody_wants_it_any_more(void **state)
{
    (void)state;
    monitor(0, "db");
    monitor(1, "db");
    ask(0, AGENT_UNMONITOR, "db", 8);
    expect_result(0, 8, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, FAKE_HOST);
    ask(1, AGENT_UNMONITOR, "db", 9);
    host_answers(AGENT_UNMONITOR, RECEIPT_ACCEPTED);
    expect_result(1, 9, RECEIPT_ACCEPTED);
    ask(1, AGENT_UNMONITOR, "db", 10);
    expect_result(1, 10, RECEIPT_INVALID);
}

static void a_program_takes_its_monitors_along(void **state)
{
    (void)state;
    monitor(0, "db");
    fake_hang_up(f, 0);
    host_answers(AGENT_UNMONITOR, RECEIPT_ACCEPTED);
    assert_false(f->host.closed);
}

static void monitors_are_asked_for_again_over_the_next_link(void **state)
{
    (void)state;
    monitor(0, "db");
    reconnect();
    uint32_t tag = host_answers(AGENT_MONITOR, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, 0);
    say_gone("db", AGENT_GONE_CERTAIN, tag); // it went meanwhile
    expect_gone(0, "db", AGENT_GONE_CERTAIN);
    reconnect();
    tag = host_answers(AGENT_MONITOR, RECEIPT_ACCEPTED);
    say_gone("db", AGENT_GONE_CERTAIN, tag); // which is no news
    fake_expect_nothing(f, 0);
}

static void a_monitor_that_the_host_no_longer_allows_ends_unknown(void **state)
{
    (void)state;
    monitor(0, "db");
    reconnect();
    host_answers(AGENT_MONITOR, RECEIPT_DENIED);
    expect_gone(0, "db", AGENT_GONE_UNKNOWN);
}

static void a_host_that_cannot_is_not_asked(void **state)
{
    (void)state;
    monitor(0, "db");
    f->host_can = 0;
    reconnect();
    expect_gone(0, "db", AGENT_GONE_UNKNOWN);
    ask(1, AGENT_MONITOR, "db", 7);
    expect_result(1, 7, RECEIPT_INVALID);
    fake_expect_nothing(f, FAKE_HOST);
}

static void the_host_is_asked_once_there_is_one(void **state)
{
    (void)state;
    fake_hang_up(f, FAKE_HOST);
    ask(0, AGENT_MONITOR, "db", 7);
    fake_expect_nothing(f, 0);
    fake_pass(f, 5000);
    fake_link_up(f);
    host_answers(AGENT_MONITOR, RECEIPT_ACCEPTED);
    expect_result(0, 7, RECEIPT_ACCEPTED);
}

static void there_are_at_most_64(void **state)
{
    (void)state;
    char name[8];
    for (int i = 0; i < AGENT_MONITORS_MAX; i++) {
        snprintf(name, sizeof name, "e%d", i);
        monitor(i % 2, name);
    }
    ask(0, AGENT_MONITOR, "db", 7);
    expect_result(0, 7, RECEIPT_RATE_LIMITED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(programs_learn_that_the_host_can),
        T(who_asked_is_told_each_time),
        T(every_program_that_asked_is_told),
        T(what_was_away_already_is_told_to_who_asked_for_it),
        T(a_refusal_reaches_the_program),
        T(asking_again_changes_nothing),
        T(the_host_is_told_when_nobody_wants_it_any_more),
        T(a_program_takes_its_monitors_along),
        T(monitors_are_asked_for_again_over_the_next_link),
        T(a_monitor_that_the_host_no_longer_allows_ends_unknown),
        T(a_host_that_cannot_is_not_asked),
        T(the_host_is_asked_once_there_is_one),
        T(there_are_at_most_64),
    };
    return cmocka_run_group_tests_name("core/monitor", tests, NULL, NULL);
}
