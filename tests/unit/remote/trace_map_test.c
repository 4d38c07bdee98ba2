// Tests of what hosts tell each other about a message's stages, and of the story that is made of it
// (trace_map.c).
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/trace_map.h"

#define NOW_US 1700000000000000ull

static struct remote_trace_host make_host(const struct remote_trace_stage *stages, size_t n)
{
    struct remote_trace_host h = {.state = REMOTE_TRACE_ANSWERED, .now_us = NOW_US, .n_stages = n};
    h.stages = calloc(n + 1, sizeof *h.stages);
    assert_non_null(h.stages);
    memcpy(h.stages, stages, n * sizeof *stages);
    return h;
}

// A stage that was so many microseconds ago.
#define AGO(what, us)                                                                                        \
    {                                                                                                        \
        .stage = TRACE_##what, .ago_ns = (us)*1000ull                                                        \
    }

static const struct remote_trace_stage at_sender[] = {AGO(SUBMITTED, 1000), AGO(ALLOWED, 990), AGO(SENT, 980),
                                                      AGO(CONFIRMED, 700)};
static const struct remote_trace_stage at_receiver[] = {AGO(ARRIVED, 800), AGO(STORED, 600)};

// "0submitted 0allowed 1arrived …"
static const char *story_of(const struct remote_trace_host *hosts, size_t n_hosts,
                            struct remote_trace_line *lines)
{
    static char text[512];
    size_t n = trace_merge(hosts, n_hosts, lines), len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%zu%s", i ? " " : "", lines[i].host,
                                trace_stage_name(hosts[lines[i].host].stages[lines[i].stage].stage));
    return text;
}

static struct remote_trace_host hosts[2];
static struct remote_trace_line lines[16];

static int setup(void **state)
{
    (void)state;
    hosts[0] = make_host(at_sender, 4);
    hosts[1] = make_host(at_receiver, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(hosts[0].stages);
    free(hosts[1].stages);
    return 0;
}

static void an_answer_comes_back_as_it_was(void **state)
{
    (void)state;
    uint8_t bytes[TRACE_ANSWER_CAP];
    struct remote_trace_host back = {.name = "h2"};
    strcpy(hosts[1].stages[1].tenant, "acme");
    strcpy(hosts[1].stages[1].name, "db");
    hosts[1].more = true;
    size_t len = trace_write(&hosts[1], bytes);
    assert_true(trace_read(bytes, len, &back));
    assert_int_equal(back.now_us, NOW_US);
    assert_true(back.more);
    assert_int_equal(back.n_stages, 2);
    assert_string_equal(back.name, "h2");
    assert_int_equal(back.stages[0].stage, TRACE_ARRIVED);
    assert_int_equal(back.stages[0].ago_ns, 800000);
    assert_string_equal(back.stages[0].tenant, "");
    assert_string_equal(back.stages[1].name, "db");
    free(back.stages);
}

static void bytes_that_are_cut_or_too_many_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[TRACE_ANSWER_CAP];
    struct remote_trace_host back = {0};
    size_t len = trace_write(&hosts[1], bytes);
    for (size_t i = 0; i < len; i++)
        assert_false(trace_read(bytes, i, &back));
    bytes[len] = 0;
    assert_false(trace_read(bytes, len + 1, &back));
    assert_null(back.stages);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[TRACE_ANSWER_CAP];
    struct remote_trace_host back = {0};
    size_t len = trace_write(&hosts[1], bytes);
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {{0, 2}, {8, 0x7f}, {11, 0xff}, {12, TRACE_STAGES}, {13, RECEIPT_CODE_COUNT}, {21, 0xff}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t before = bytes[lies[i].at];
        bytes[lies[i].at] = lies[i].value;
        assert_false(trace_read(bytes, len, &back));
        bytes[lies[i].at] = before;
    }
    hosts[1].stages[1].ago_ns = hosts[1].stages[0].ago_ns + 1; // goes back in time
    assert_false(trace_read(bytes, trace_write(&hosts[1], bytes), &back));
    hosts[1].stages[1].ago_ns = 1;
    strcpy(hosts[1].stages[1].tenant, "acme"); // and no name
    assert_false(trace_read(bytes, trace_write(&hosts[1], bytes), &back));
}

static void stages_of_two_hosts_are_one_story(void **state)
{
    (void)state;
    assert_string_equal(story_of(hosts, 2, lines), "0submitted 0allowed 0sent 1arrived 0confirmed 1stored");
    assert_false(lines[0].known);
    assert_true(lines[1].known && !lines[1].across);
    assert_int_equal(lines[1].after_us, 10);
    assert_true(lines[3].known && lines[3].across);
    assert_int_equal(lines[3].after_us, 180);
}

static void a_clock_that_is_ahead_changes_no_order(void **state)
{
    (void)state;
    hosts[1].now_us += 5000000;
    trace_compare_clocks(&hosts[1], NOW_US - 20, NOW_US + 40);
    assert_int_equal(hosts[1].ahead_us, 4999990);
    assert_int_equal(hosts[1].error_us, 30);
    assert_string_equal(story_of(hosts, 2, lines), "0submitted 0allowed 0sent 1arrived 0confirmed 1stored");
    assert_int_equal(lines[3].after_us, 190);
    assert_int_equal(lines[3].error_us, 30);
}

static void nothing_arrives_before_it_was_sent_whatever_clocks_say(void **state)
{
    (void)state;
    hosts[1].now_us -= 60000000; // and the comparison says that it is right
    assert_string_equal(story_of(hosts, 2, lines), "0submitted 0allowed 0sent 1arrived 1stored 0confirmed");
    assert_false(lines[3].known); // a minute before it was sent: not told
    assert_int_equal(lines[3].after_us, 0);
}

static void a_receiver_alone_tells_its_part(void **state)
{
    (void)state;
    hosts[0].n_stages = 0;
    assert_string_equal(story_of(hosts, 2, lines), "1arrived 1stored");
    assert_int_equal(lines[1].after_us, 200);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_answer_comes_back_as_it_was),
        T(bytes_that_are_cut_or_too_many_are_refused),
        T(what_cannot_be_is_refused),
        T(stages_of_two_hosts_are_one_story),
        T(a_clock_that_is_ahead_changes_no_order),
        T(nothing_arrives_before_it_was_sent_whatever_clocks_say),
        T(a_receiver_alone_tells_its_part),
    };
    return cmocka_run_group_tests_name("remote/trace_map", tests, NULL, NULL);
}
