// Tests of messages through sessions: credit, acknowledgements, what is put off or given back, and what
// counts as a try (session_frames.c).
#include "agents.h"

#include <sys/socket.h>
#include <unistd.h>

static void answer(struct agent *a, enum agent_frame_type type, unsigned n)
{
    write_frame(a, &(struct agent_frame){.type = type, .id = numbered_id(n)});
}

static void a_message_goes_from_one_agent_to_the_other(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    struct agent_frame frame = expect(&db, AGENT_DELIVER);
    assert_int_equal(frame.tag, 0);
    assert_true(wire_view_equals(frame.envelope.from, "acme/web"));
    assert_true(wire_view_equals(frame.envelope.body, "hello"));
}

static void deliveries_never_exceed_the_credit(void **state)
{
    (void)state;
    connect_both();
    for (unsigned i = 1; i <= 5; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        assert_receipt(&web, i, RECEIPT_ACCEPTED);
    }
    assert_true(nothing_comes(&db));
    give_credit(&db, 2);
    expect(&db, AGENT_DELIVER);
    expect(&db, AGENT_DELIVER);
    assert_true(nothing_comes(&db));
    give_credit(&db, 2);
    expect(&db, AGENT_DELIVER);
    expect(&db, AGENT_DELIVER);
    assert_true(nothing_comes(&db));
}

static void a_reply_needs_no_credit(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    send_to(&web, 1, "db", MESSAGE_CALL);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    expect(&db, AGENT_DELIVER);
    struct agent_frame reply = message_frame(2, "acme/web", MESSAGE_REPLY);
    reply.envelope.correlation = numbered_id(1);
    write_frame(&db, &reply);
    assert_receipt(&db, 2, RECEIPT_ACCEPTED);
    struct agent_frame frame = expect(&web, AGENT_DELIVER);
    assert_int_equal(frame.envelope.kind, MESSAGE_REPLY);
    assert_true(wire_view_equals(frame.envelope.from, "acme/db"));
}

static void more_credit_than_the_protocol_allows_ends_the_session(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    give_credit(&web, AGENT_CREDIT_MAX);
    assert_true(nothing_comes(&web));
    assert_false(web.closed);
    give_credit(&web, 1);
    assert_closed(&web, "credit");
}

static void defer(struct agent *a, unsigned n, uint32_t delay_ms)
{
    write_frame(a, &(struct agent_frame){.type = AGENT_DEFER, .defer = {numbered_id(n), delay_ms, false}});
}

static void assert_delivered(struct agent *a, unsigned n)
{
    struct id want = numbered_id(n), got = expect(a, AGENT_DELIVER).envelope.id;
    assert_true(id_equals(&got, &want));
}

static void what_is_deferred_comes_later_and_keeps_nothing_waiting(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 4);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    defer(&db, 1, 100);
    send_to(&web, 2, "db", MESSAGE_SEND);
    assert_delivered(&db, 2);
    assert_true(nothing_comes(&db));
    usleep(110000);
    assert_delivered(&db, 1);
    defer(&db, 1, 0);
    assert_delivered(&db, 1);
}

static void who_registers_a_service_gets_what_was_deferred_in_order(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 6);
    for (unsigned n = 1; n <= 3; n++) {
        send_to(&web, n, "db", MESSAGE_SEND);
        assert_delivered(&db, n);
        defer(&db, n, 60000 - n);
    }
    assert_true(nothing_comes(&db));
    write_frame(&db, &(struct agent_frame){.type = AGENT_REGISTER, .tag = 3, .service = text_view("s")});
    expect(&db, AGENT_RESULT);
    for (unsigned n = 1; n <= 3; n++)
        assert_delivered(&db, n);
}

static void only_what_was_tried_counts_towards_the_dead_letters(void **state)
{
    (void)state;
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.attempts_max = 2;
    start(&router_config);
    connect_both();
    give_credit(&db, 10);
    send_to(&web, 1, "db", MESSAGE_SEND);
    struct agent_frame d = {.type = AGENT_DEFER, .defer = {numbered_id(1), 1, false}};
    for (int i = 0; i < 4; i++) {
        assert_delivered(&db, 1);
        write_frame(&db, &d);
    }
    assert_delivered(&db, 1);
    d.defer.tried = true;
    write_frame(&db, &d);
    assert_delivered(&db, 1);
    write_frame(&db, &d);
    usleep(5000);
    assert_true(nothing_comes(&db));
}

static uint64_t dead_letters(void)
{
    struct router_stats s;
    router_get_stats(f.router, &s);
    return s.dead;
}

// The agent of acme/db with one message in hand, of two tries.
static void take_one_of_two(void)
{
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.attempts_max = 2;
    start(&router_config);
    connect_both();
    give_credit(&db, 2);
    send_to(&web, 1, "db", MESSAGE_SEND);
    send_to(&web, 2, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    assert_delivered(&db, 2);
}

static void come_again(void)
{
    close_agent(&db);
    connect_agent(&db, "acme", "db");
    give_credit(&db, 2);
}

static void a_message_that_ends_its_guest_is_a_dead_letter_and_the_next_one_comes(void **state)
{
    (void)state;
    take_one_of_two();
    shutdown(db.fd, SHUT_RDWR);
    assert_closed(&db, "closed the connection");
    come_again();
    assert_delivered(&db, 1); // alone
    assert_true(nothing_comes(&db));
    session_lost(db.session);
    db.session = NULL;
    assert_int_equal(dead_letters(), 1);
    come_again();
    assert_delivered(&db, 2);
}

static void who_is_told_to_end_and_what_envd_closes_does_not_count(void **state)
{
    (void)state;
    take_one_of_two();
    for (int i = 0; i < 3; i++) {
        session_excuse(db.session);
        shutdown(db.fd, SHUT_RDWR);
        assert_closed(&db, "closed the connection");
        come_again();
        assert_delivered(&db, 1);
        assert_delivered(&db, 2);
        come_again(); // session_close()
        assert_delivered(&db, 1);
        assert_delivered(&db, 2);
    }
    assert_int_equal(dead_letters(), 0);
}

// Both ways of counting at once: what was put off by its program, and not in hand, when the guest ended.
static void what_was_put_off_after_a_try_counts_when_the_session_ends(void **state)
{
    (void)state;
    take_one_of_two();
    write_frame(&db, &(struct agent_frame){.type = AGENT_DEFER, .defer = {numbered_id(1), 60000, true}});
    answer(&db, AGENT_ACK, 2);
    assert_true(nothing_comes(&db));
    session_lost(db.session);
    db.session = NULL;
    come_again();
    assert_delivered(&db, 1);
    answer(&db, AGENT_RELEASE, 1);
    assert_true(nothing_comes(&db));
    assert_int_equal(dead_letters(), 1);
}

static void what_is_deferred_can_be_acknowledged_all_the_same(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 2);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_delivered(&db, 1);
    defer(&db, 1, 20);
    answer(&db, AGENT_ACK, 1);
    defer(&db, 77, 20); // of nothing
    usleep(30000);
    assert_true(nothing_comes(&db));
    assert_false(db.closed);
}

static void a_monitored_environment_that_goes_is_told_of(void **state)
{
    (void)state;
    connect_both();
    write_frame(&web, &(struct agent_frame){.type = AGENT_MONITOR, .tag = 5, .address = text_view("db")});
    struct agent_frame r = expect(&web, AGENT_RESULT);
    assert_int_equal(r.tag, 5);
    assert_int_equal(r.receipt.code, RECEIPT_ACCEPTED);
    router_environment_went(f.router, "acme", "db", AGENT_GONE_CERTAIN, "stopped: \xc3");
    r = expect(&web, AGENT_GONE);
    assert_int_equal(r.tag, 0);
    assert_true(wire_view_equals(r.gone.address, "db"));
    assert_true(wire_view_equals(r.gone.reason, "stopped: ?"));
    write_frame(&web, &(struct agent_frame){.type = AGENT_UNMONITOR, .tag = 6, .address = text_view("db")});
    assert_int_equal(expect(&web, AGENT_RESULT).receipt.code, RECEIPT_ACCEPTED);
    router_environment_went(f.router, "acme", "db", AGENT_GONE_CERTAIN, "stopped");
    assert_true(nothing_comes(&web));
}

static void what_is_released_is_delivered_again(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 3);
    send_to(&web, 1, "db", MESSAGE_SEND);
    expect(&db, AGENT_DELIVER);
    answer(&db, AGENT_RELEASE, 1);
    expect(&db, AGENT_DELIVER);
    answer(&db, AGENT_ACK, 1);
    answer(&db, AGENT_RELEASE, 1); // of nothing: ignored
    assert_true(nothing_comes(&db));
    assert_false(db.closed);
}

static uint64_t strays(const char *name)
{
    struct router_stats stats;
    assert_int_equal(router_environment_stats(f.router, "acme", name, &stats), 0);
    return stats.strays;
}

// An agent that makes up what it got is ignored, and counted, and takes nothing from whose it is.
static void what_an_agent_never_got_it_cannot_acknowledge_or_give_back(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 3);
    send_to(&web, 1, "db", MESSAGE_SEND);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    assert_delivered(&db, 1);
    answer(&web, AGENT_ACK, 1); // it is db's
    answer(&web, AGENT_RELEASE, 1);
    defer(&web, 1, 20);
    answer(&web, AGENT_ACK, 77); // it is nobody's
    assert_true(nothing_comes(&web));
    assert_false(web.closed);
    assert_int_equal(strays("web"), 4);
    assert_int_equal(strays("db"), 0);
    answer(&db, AGENT_RELEASE, 1);
    assert_delivered(&db, 1);
    answer(&db, AGENT_ACK, 1);
    send_to(&web, 2, "db", MESSAGE_CALL);
    assert_delivered(&db, 2);
    assert_int_equal(strays("db"), 0);
    answer(&db, AGENT_ACK, 1); // once more
    assert_true(nothing_comes(&db));
    assert_int_equal(strays("db"), 1);
}

static void what_was_not_acknowledged_comes_again_on_the_next_session(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 10);
    for (unsigned i = 1; i <= 3; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        expect(&db, AGENT_DELIVER);
    }
    answer(&db, AGENT_ACK, 2);
    close_agent(&db);
    connect_agent(&db, "acme", "db");
    assert_true(nothing_comes(&db)); // the credit went with the session
    give_credit(&db, 10);
    struct agent_frame frame = expect(&db, AGENT_DELIVER);
    const struct id one = numbered_id(1), three = numbered_id(3);
    assert_true(id_equals(&frame.envelope.id, &one));
    frame = expect(&db, AGENT_DELIVER);
    assert_true(id_equals(&frame.envelope.id, &three));
}

static void services_are_registered_and_end_with_the_session(void **state)
{
    (void)state;
    connect_both();
    write_frame(&db, &(struct agent_frame){.type = AGENT_REGISTER, .tag = 4, .service = text_view("query")});
    struct agent_frame frame = expect(&db, AGENT_RESULT);
    assert_int_equal(frame.tag, 4);
    assert_int_equal(frame.receipt.code, RECEIPT_ACCEPTED);
    send_to(&web, 1, ":query", MESSAGE_SEND);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    write_frame(&db,
                &(struct agent_frame){.type = AGENT_UNREGISTER, .tag = 5, .service = text_view("nothing")});
    assert_int_equal(expect(&db, AGENT_RESULT).receipt.code, RECEIPT_NO_SUCH_ENVIRONMENT);
    close_agent(&db);
    send_to(&web, 2, ":query", MESSAGE_SEND);
    assert_receipt(&web, 2, RECEIPT_NO_SUCH_ENVIRONMENT);
}

static void the_clock_is_told(void **state)
{
    (void)state;
    connect_agent(&web, "acme", "web");
    write_frame(&web, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 6});
    struct agent_frame frame = expect(&web, AGENT_CLOCK_IS);
    assert_int_equal(frame.tag, 6);
    assert_true(frame.realtime_ns / 1000000 >= f.now_ms);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_goes_from_one_agent_to_the_other),
        TEST(deliveries_never_exceed_the_credit),
        TEST(a_reply_needs_no_credit),
        TEST(more_credit_than_the_protocol_allows_ends_the_session),
        TEST(what_is_deferred_comes_later_and_keeps_nothing_waiting),
        TEST(who_registers_a_service_gets_what_was_deferred_in_order),
        TEST(only_what_was_tried_counts_towards_the_dead_letters),
        TEST(a_message_that_ends_its_guest_is_a_dead_letter_and_the_next_one_comes),
        TEST(who_is_told_to_end_and_what_envd_closes_does_not_count),
        TEST(what_was_put_off_after_a_try_counts_when_the_session_ends),
        TEST(what_is_deferred_can_be_acknowledged_all_the_same),
        TEST(a_monitored_environment_that_goes_is_told_of),
        TEST(what_is_released_is_delivered_again),
        TEST(what_an_agent_never_got_it_cannot_acknowledge_or_give_back),
        TEST(what_was_not_acknowledged_comes_again_on_the_next_session),
        TEST(services_are_registered_and_end_with_the_session),
        TEST(the_clock_is_told),
    };
    return cmocka_run_group_tests_name("route/session_mail", tests, NULL, NULL);
}
