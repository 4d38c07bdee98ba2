// Tests of questions for traces between hosts: who is asked, who answers, and when it is over (trace.c, presence.c).
#include "linked.h"

#include <stdlib.h>

#include "remote/trace_map.h"

static char told[512]; // "h1 here 0, h2 late 0"

static size_t n_told;

static void on_trace(void *arg, uint64_t tag, const struct remote_trace *t)
{
    (void)arg;
    size_t len = 0;
    assert_int_equal(tag, 5);
    n_told++;
    for (size_t i = 0; i < t->n_hosts; i++)
        len += (size_t)snprintf(told + len, sizeof told - len, "%s%s %s %zu", i ? ", " : "", t->hosts[i].name,
                                remote_trace_state_name(t->hosts[i].state), t->hosts[i].n_stages);
}

// A word of host to host.
static void hears(const char *user, const char *word_key, const char *what, const char *round, unsigned n,
                  struct broker_text body)
{
    static uint64_t handle = 1000;
    static char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    const struct broker_delivery d = {
        .handle = handle++,
        .consumer = b.inbox_consumer,
        .exchange = text("env.event"),
        .routing_key = text(word_key),
        .body = body,
        .properties = {.message_id = text(id),
                       .user_id = text(user),
                       .n_headers = 2,
                       .headers = {{text("env-trace"), text(what)}, {text("env-trace-round"), text(round)}}}};
    b.cb.on_delivery(b.arg, &d);
    assert_int_equal(b.settled[d.handle], ACK);
}

// Asks what is known of message n; the question's number.
static const char *ask(unsigned n)
{
    static char round[24];
    const struct id id = numbered_id(n);
    n_told = 0;
    assert_int_equal(remote_trace(remote, &id, on_trace, NULL, 5), 0);
    assert_true(header_is("env-trace", "asks"));
    struct broker_text number = b.last.properties.headers[1].value;
    snprintf(round, sizeof round, "%.*s", (int)number.len, number.data);
    return round;
}

static void present(const char *host)
{
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->host, sizeof p->host, "%s", host);
    p->heard_ms = UINT64_MAX / 2;
    LIST_INSERT_HEAD(&remote->peers, p, link);
    remote->started_ms = 0; // long ago
}

static void a_question_ends_when_all_who_are_there_have_answered(void **state)
{
    (void)state;
    uint8_t body[TRACE_ANSWER_CAP];
    struct remote_trace_stage stage = {.stage = TRACE_ARRIVED};
    const struct remote_trace_host h2 = {.now_us = 1000, .n_stages = 1, .stages = &stage};
    const struct broker_text answer = {(const char *)body, trace_write(&h2, body)};
    present("h2");
    arrives(1, 1);
    const char *round = ask(1);
    hears("envd.h2", "host.trace.h1", "tells", "99999", 1, answer); // another question's
    hears("envd.h2", "host.trace.h1", "tells", round, 2, answer);   // of another message
    hears("client.h2", "host.trace.h1", "tells", round, 1, answer); // no host
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 0);
    hears("envd.h2", "host.trace.h1", "tells", round, 1, answer);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 1);
    assert_string_equal(told, "h1 here 4, h2 answered 1");
    hears("envd.h2", "host.trace.h1", "tells", round, 1, answer); // again: nobody waits
}

static void who_does_not_answer_is_named_and_so_is_who_answers_nonsense(void **state)
{
    (void)state;
    present("h2");
    present("h3");
    const char *round = ask(1);
    hears("envd.h3", "host.trace.h1", "tells", round, 1, text("nonsense"));
    while (n_told == 0)
        event_base_loop(f.base, EVLOOP_ONCE);
    assert_string_equal(told, "h1 here 0, h3 unreadable 0, h2 late 0");
}

static void who_was_silent_is_named_and_not_waited_for(void **state)
{
    (void)state;
    present("h2");
    LIST_FIRST(&remote->peers)->silent = true;
    ask(1);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_string_equal(told, "h1 here 0, h2 silent 0");
}

static void a_question_is_answered_to_who_asked(void **state)
{
    (void)state;
    struct remote_trace_host back = {0};
    arrives(1, 7);
    hears("envd.h2", "host.trace", "asks", "17", 7, text(""));
    assert_memory_equal(b.last.routing_key.data, "host.trace.h2", b.last.routing_key.len);
    assert_true(header_is("env-trace", "tells"));
    assert_true(header_is("env-trace-round", "17"));
    assert_true(trace_read(b.last.body.data, b.last.body.len, &back));
    assert_int_equal(back.n_stages, 4);
    assert_string_equal(back.stages[2].name, "db");
    free(back.stages);
}

static void only_hosts_are_answered_and_not_too_many_times_a_second(void **state)
{
    (void)state;
    unsigned before = b.n_published;
    hears("client.ops", "host.trace", "asks", "1", 7, text(""));
    hears("envd.h2", "host.trace", "asks", "x", 7, text(""));
    hears("envd.h1", "host.trace", "asks", "1", 7, text("")); // its own
    assert_int_equal(b.n_published, before);
    for (unsigned i = 0; i < 500; i++) {
        hears("envd.h2", "host.trace", "asks", "1", 7, text(""));
        b.n_owed = 0; // nobody waits for these
    }
    assert_true(b.n_published - before <= 400);
}

static void questions_under_way_end_with_the_link(void **state)
{
    (void)state;
    present("h2");
    ask(1);
    remote_stop(remote);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_ends_when_all_who_are_there_have_answered),
        TEST(who_does_not_answer_is_named_and_so_is_who_answers_nonsense),
        TEST(who_was_silent_is_named_and_not_waited_for),
        TEST(a_question_is_answered_to_who_asked),
        TEST(only_hosts_are_answered_and_not_too_many_times_a_second),
        TEST(questions_under_way_end_with_the_link),
    };
    return cmocka_run_group_tests_name("remote_question", tests, NULL, NULL);
}
