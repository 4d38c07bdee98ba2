// Tests of what the host asks of the guest itself (agent/core/machine.c).
#include "fake.h"

#include <string.h>

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new_able();
    fake_link_up(f);
    return 0;
}

static int setup_unable(void **state)
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

static const struct agent_frame configure = {
    .type = AGENT_CONFIGURE,
    .tag = 3,
    .configure = {.hostname = {(const uint8_t *)"web", 3}, .ipv4 = 0x0a000002, .prefix = 24, .mtu = 1400}};

static void hello_says_what_the_agent_can(void **state)
{
    (void)state;
    fake_free(f);
    f = fake_new_able();
    agent_start(f->agent);
    agent_host_up(f->agent);
    assert_int_equal(fake_expect(f, FAKE_HOST, AGENT_HELLO).hello.capabilities, 15);
}

static void an_agent_without_capabilities_ends_the_link_on_what_it_cannot(void **state)
{
    (void)state;
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_STATS, .tag = 1});
    assert_true(f->host.closed);
}

static void an_agent_without_capabilities_sets_no_clock(void **state)
{
    (void)state;
    assert_int_equal(f->clock_ns, 0);
}

static void addresses_reach_the_program_around_and_its_answer_the_host(void **state)
{
    (void)state;
    fake_say(f, FAKE_HOST, &configure);
    assert_int_equal(f->configured.ipv4, 0x0a000002);
    assert_int_equal(f->configured.mtu, 1400);
    struct agent_frame result = fake_expect(f, FAKE_HOST, AGENT_RESULT);
    assert_int_equal(result.tag, 3);
    assert_int_equal(result.receipt.code, RECEIPT_ACCEPTED);
    assert_true(wire_view_equals(result.receipt.detail, "noted"));
}

static void a_session_that_is_refused_is_refused_with_the_reason(void **state)
{
    (void)state;
    fake_say(
        f, FAKE_HOST,
        &(struct agent_frame){.type = AGENT_OPEN, .tag = 4, .session = {fake_id(9), AGENT_SESSION_COPY}});
    struct id token = fake_id(9);
    assert_true(id_equals(&f->opened, &token));
    assert_int_equal(f->opened_kind, AGENT_SESSION_COPY);
    struct agent_frame result = fake_expect(f, FAKE_HOST, AGENT_RESULT);
    assert_int_equal(result.tag, 4);
    assert_int_equal(result.receipt.code, RECEIPT_RATE_LIMITED);
}

static void figures_are_answered_with_the_tag_of_the_question(void **state)
{
    (void)state;
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_STATS, .tag = 5});
    struct agent_frame is = fake_expect(f, FAKE_HOST, AGENT_STATS_IS);
    assert_int_equal(is.tag, 5);
    assert_int_equal(is.stats.uptime_ns, 2);
}

static void the_clock_is_set_by_hello_and_after_a_pause(void **state)
{
    (void)state;
    assert_int_equal(f->clock_ns, 1700000000000 * MS);
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_RESUMED, .realtime_ns = 1800000000000 * MS});
    assert_int_equal(f->clock_ns, 1800000000000 * MS);
    assert_false(f->host.closed);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_says_what_the_agent_can),
        cmocka_unit_test_setup_teardown(an_agent_without_capabilities_ends_the_link_on_what_it_cannot,
                                        setup_unable, teardown),
        cmocka_unit_test_setup_teardown(an_agent_without_capabilities_sets_no_clock, setup_unable, teardown),
        T(addresses_reach_the_program_around_and_its_answer_the_host),
        T(a_session_that_is_refused_is_refused_with_the_reason),
        T(figures_are_answered_with_the_tag_of_the_question),
        T(the_clock_is_set_by_hello_and_after_a_pause),
    };
    return cmocka_run_group_tests_name("core/machine", tests, NULL, NULL);
}
