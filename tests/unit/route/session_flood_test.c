// Tests of sessions under much: large messages, agents that flood and agents that do not read (session_io.c).
#include "agents.h"

#include <stdlib.h>
#include <sys/socket.h>

static void a_large_message_arrives_whole(void **state)
{
    (void)state;
    connect_both();
    give_credit(&db, 1);
    uint8_t *body = malloc(ENVELOPE_BODY_DEFAULT);
    assert_non_null(body);
    for (size_t i = 0; i < ENVELOPE_BODY_DEFAULT; i++)
        body[i] = (uint8_t)(i * 31 >> 3);
    struct agent_frame frame = message_frame(1, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, ENVELOPE_BODY_DEFAULT};
    write_frame(&web, &frame);
    assert_receipt(&web, 1, RECEIPT_ACCEPTED);
    frame = expect(&db, AGENT_DELIVER);
    assert_int_equal(frame.envelope.body.len, ENVELOPE_BODY_DEFAULT);
    assert_memory_equal(frame.envelope.body.data, body, ENVELOPE_BODY_DEFAULT);
    free(body);
}

static void a_message_over_the_limit_is_refused_and_the_session_goes_on(void **state)
{
    (void)state;
    fixture_done(&f);
    struct router_config router_config;
    router_config_default(&router_config);
    router_config.body_max_bytes = 1000;
    start(&router_config);
    connect_agent(&web, "acme", "web");
    uint8_t *body = calloc(1, 300000);
    assert_non_null(body);
    struct agent_frame frame = message_frame(1, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, 300000}; // more than is ever taken in
    write_frame(&web, &frame);
    const struct id one = numbered_id(1);
    frame = expect(&web, AGENT_RECEIPT);
    assert_int_equal(frame.tag, 1);
    assert_int_equal(frame.receipt.code, RECEIPT_TOO_LARGE);
    assert_true(id_equals(&frame.receipt.id, &one));
    frame = message_frame(2, "db", MESSAGE_SEND);
    frame.envelope.body = (struct wire_view){body, 1001}; // taken in, and refused
    write_frame(&web, &frame);
    assert_receipt(&web, 2, RECEIPT_TOO_LARGE);
    send_to(&web, 3, "db", MESSAGE_SEND);
    assert_receipt(&web, 3, RECEIPT_ACCEPTED);
    free(body);
}

// ---- floods ----

// Writes frames until the socket takes no more. How many whole ones went in; a partial one is finished by
// *rest.
static unsigned flood(struct agent *a, unsigned first, uint8_t *rest, size_t *rest_len)
{
    uint8_t out[256];
    unsigned n = 0;
    for (*rest_len = 0; *rest_len == 0; n++) {
        struct agent_frame frame = message_frame(first + n, "db", MESSAGE_SEND);
        size_t len = encode(&frame, out, sizeof out);
        ssize_t written = send(a->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0)
            return n;
        if ((size_t)written < len) {
            *rest_len = len - (size_t)written;
            memcpy(rest, out + written, *rest_len);
        }
    }
    return n;
}

static void an_agent_that_does_not_read_is_not_read_from_either(void **state)
{
    (void)state;
    config.out_max_bytes = 8192;
    connect_agent(&web, "acme", "web");
    uint8_t rest[256];
    size_t rest_len = 0;
    unsigned sent = 0;
    for (int stalled = 0; stalled < 50;) {
        unsigned n = rest_len == 0 ? flood(&web, sent + 1, rest, &rest_len) : 0;
        if (rest_len > 0 && send(web.fd, rest, rest_len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)rest_len)
            rest_len = 0;
        sent += n;
        stalled = n ? 0 : stalled + 1;
        turn();
        struct session_stats stats;
        session_get_stats(web.session, &stats);
        assert_true(stats.out_queued_bytes < 8192 + 600);
    }
    assert_true(sent > 100);
    struct session_stats stats;
    session_get_stats(web.session, &stats);
    assert_true(stats.frames_in < sent); // it has stopped reading
    write_all(&web, "", 0);
    // A refusal needs no disk, and may overtake the receipts of what is stored.
    static bool seen[1u << 16];
    memset(seen, 0, sizeof seen);
    for (unsigned receipts = 0; receipts < sent - (rest_len > 0); receipts++) {
        struct agent_frame frame = expect(&web, AGENT_RECEIPT);
        assert_in_range(frame.tag, 1, sent);
        assert_true(sent < sizeof seen && !seen[frame.tag]);
        seen[frame.tag] = true;
    }
}

static void a_flooding_agent_leaves_others_their_turn(void **state)
{
    (void)state;
    config.frames_per_round = 4;
    connect_both();
    uint8_t rest[256];
    size_t rest_len;
    unsigned sent = flood(&web, 1, rest, &rest_len);
    assert_true(sent > 100);
    uint8_t out[256];
    struct agent_frame frame = message_frame(1, "web", MESSAGE_SEND);
    size_t len = encode(&frame, out, sizeof out);
    assert_int_equal(send(db.fd, out, len, 0), len);
    for (int rounds = 0; rounds < 3; rounds++) // of the loop: look at the sockets, serve who is ready
        event_base_loop(f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    struct session_stats stats;
    session_get_stats(db.session, &stats);
    assert_int_equal(stats.frames_in, 2); // HELLO, and its message is served; the receipt waits for the disk
    session_get_stats(web.session, &stats);
    assert_true(stats.frames_in <= 1 + 3 * 4); // while most of the flood still waits
}

static void a_receiver_that_does_not_read_costs_no_more_than_its_cap(void **state)
{
    (void)state;
    config.out_max_bytes = 8192;
    connect_both();
    give_credit(&db, 1000);
    for (unsigned i = 1; i <= 1000; i++) {
        send_to(&web, i, "db", MESSAGE_SEND);
        assert_receipt(&web, i, RECEIPT_ACCEPTED);
        struct session_stats stats;
        session_get_stats(db.session, &stats);
        assert_true(stats.out_queued_bytes < 8192 + 600);
    }
    for (unsigned i = 1; i <= 1000; i++) {
        const struct id id = numbered_id(i);
        struct agent_frame frame = expect(&db, AGENT_DELIVER);
        assert_true(id_equals(&frame.envelope.id, &id));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_large_message_arrives_whole),
        TEST(a_message_over_the_limit_is_refused_and_the_session_goes_on),
        TEST(an_agent_that_does_not_read_is_not_read_from_either),
        TEST(a_flooding_agent_leaves_others_their_turn),
        TEST(a_receiver_that_does_not_read_costs_no_more_than_its_cap),
    };
    return cmocka_run_group_tests_name("route/session_flood", tests, NULL, NULL);
}
