// Tests of one vsock connection's state table (server/vmm/virtio/vsock_conn.c): every state times every
// event.
#include "testing.h"

#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "virtio/vsock_conn.h"

static struct vsock_conn conn;
static int peer = -1;
static struct ring_chain chain; // of four readable bytes
static char payload[] = "data";

static int setup(void **state)
{
    (void)state;
    chain = (struct ring_chain){.n_readable = 1, .readable_bytes = 4, .iov[0] = {payload, 4}};
    conn = (struct vsock_conn){.state = VSOCK_FREE};
    peer = -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vsock_conn_close(&conn);
    if (peer >= 0)
        close(peer);
    return 0;
}

static struct vsock_packet packet(uint16_t op, uint32_t flags)
{
    return (struct vsock_packet){.src_cid = 3,
                                 .dst_cid = 2,
                                 .src_port = 5,
                                 .dst_port = 6,
                                 .type = 1,
                                 .op = op,
                                 .flags = flags,
                                 .len = op == VIRTIO_VSOCK_OP_RW ? 4 : 0,
                                 .buf_alloc = 1000};
}

static enum vsock_outcome apply(uint16_t op, uint32_t flags, enum vsock_verdict verdict)
{
    struct vsock_packet p = packet(op, flags);
    return vsock_conn_packet(&conn, &p, verdict, &chain, 0);
}

// An open connection's way to a state. CLOSING lasts only while something is held, so something is.
static void enter(enum vsock_state state)
{
    struct vsock_packet request = packet(VIRTIO_VSOCK_OP_REQUEST, 0);
    setup(NULL);
    if (state == VSOCK_FREE)
        return;
    assert_int_equal(vsock_conn_open(&conn, &request, VSOCK_BUF_ALLOC, &peer), 0);
    while (conn.held_len == 0) // until the socket is full
        assert_int_equal(apply(VIRTIO_VSOCK_OP_RW, 0, VSOCK_GOOD), VSOCK_KEEP);
    if (state == VSOCK_GUEST_SENT || state >= VSOCK_CLOSING)
        assert_int_equal(apply(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, VSOCK_GOOD), VSOCK_KEEP);
    if (state == VSOCK_GUEST_DEAF || state >= VSOCK_CLOSING)
        assert_int_equal(apply(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV, VSOCK_GOOD), VSOCK_KEEP);
    if (state == VSOCK_ORPHAN)
        assert_int_equal(apply(VIRTIO_VSOCK_OP_RST, 0, VSOCK_GOOD), VSOCK_KEEP);
    assert_int_equal(conn.state, state);
}

static void every_cell_of_the_table_is_as_specified(void **state)
{
    (void)state;
    static const struct {
        uint16_t op;
        uint32_t flags;
        enum vsock_verdict verdict;
    } events[] = {
        {VIRTIO_VSOCK_OP_REQUEST, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_RESPONSE, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_RST, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_RST, 9, VSOCK_LYING}, // a reset is believed anyway
        {VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_RW, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, VSOCK_GOOD},
        {VIRTIO_VSOCK_OP_RW, 0, VSOCK_LYING},
        {0, 0, VSOCK_LYING},
    };
    enum { O = VSOCK_OPEN, S = VSOCK_GUEST_SENT, D = VSOCK_GUEST_DEAF, C = VSOCK_CLOSING, H = VSOCK_ORPHAN };
    // A next state, or an outcome for the owner.
    enum { ACCEPT = 100 + VSOCK_ACCEPT, RESET = 100 + VSOCK_RESET, DROP = 100 + VSOCK_DROP };
    // clang-format off
    static const uint8_t expected[VSOCK_STATE_COUNT][sizeof events / sizeof *events] = {
        //                    REQUEST RESPONSE RST  RST   RCV    SEND   BOTH   RW     UPDATE CR_REQ lie    unknown
        [VSOCK_FREE] =       {ACCEPT, RESET,   DROP, DROP, RESET, RESET, RESET, RESET, RESET, RESET, RESET, RESET},
        [VSOCK_OPEN] =       {RESET,  RESET,   DROP, DROP, D,     S,     C,     O,     O,     O,     RESET, RESET},
        [VSOCK_GUEST_SENT] = {RESET,  RESET,   DROP, DROP, C,     S,     C,     RESET, S,     S,     RESET, RESET},
        [VSOCK_GUEST_DEAF] = {RESET,  RESET,   DROP, DROP, D,     C,     C,     D,     D,     D,     RESET, RESET},
        [VSOCK_CLOSING] =    {RESET,  RESET,   H,    H,    C,     C,     C,     RESET, C,     C,     RESET, RESET},
        [VSOCK_ORPHAN] =     {RESET,  RESET,   RESET, RESET, RESET, RESET, RESET, RESET, RESET, RESET, RESET, RESET},
    };
    // clang-format on
    for (unsigned s = 0; s < VSOCK_STATE_COUNT; s++) {
        for (unsigned e = 0; e < sizeof events / sizeof *events; e++) {
            enter(s);
            enum vsock_outcome outcome = apply(events[e].op, events[e].flags, events[e].verdict);
            unsigned got = outcome == VSOCK_KEEP ? (unsigned)conn.state : 100u + outcome;
            if (got != expected[s][e])
                fail_msg("state %u event %u: %u, not %u", s, e, got, expected[s][e]);
            teardown(NULL);
        }
    }
}

static void closing_ends_with_a_reset_when_the_host_has_taken_all(void **state)
{
    (void)state;
    char sink[4096];
    enter(VSOCK_CLOSING);
    enum vsock_outcome outcome = VSOCK_KEEP;
    while (outcome == VSOCK_KEEP) {
        assert_true(read(peer, sink, sizeof sink) > 0);
        outcome = vsock_conn_socket(&conn, EPOLLOUT);
    }
    assert_int_equal(outcome, VSOCK_RESET);
    assert_int_equal(conn.held_len, 0);
    assert_null(conn.held);
}

static void an_orphan_ends_without_a_word_when_the_host_has_taken_all(void **state)
{
    (void)state;
    char sink[4096];
    enter(VSOCK_ORPHAN);
    enum vsock_outcome outcome = VSOCK_KEEP;
    size_t got = 0, sent = conn.credit.rx_cnt;
    assert_false(vsock_conn_is_the_guests(&conn));
    while (outcome == VSOCK_KEEP) {
        assert_false(vsock_conn_has_output(&conn));
        got += (size_t)read(peer, sink, sizeof sink);
        outcome = vsock_conn_socket(&conn, EPOLLOUT);
    }
    assert_int_equal(outcome, VSOCK_DROP);
    vsock_conn_close(&conn);
    for (ssize_t n; (n = read(peer, sink, sizeof sink)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, sent);
}

static void an_orphan_whose_host_left_ends(void **state)
{
    (void)state;
    enter(VSOCK_ORPHAN);
    assert_int_equal(vsock_conn_socket(&conn, EPOLLHUP), VSOCK_DROP);
}

static void a_host_that_writes_what_nobody_reads_sees_a_clean_end(void **state)
{
    (void)state;
    char sink[64];
    struct vsock_packet request = packet(VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(vsock_conn_open(&conn, &request, VSOCK_BUF_ALLOC, &peer), 0);
    assert_int_equal(write(peer, "unread", 6), 6);
    assert_int_equal(apply(VIRTIO_VSOCK_OP_SHUTDOWN, 3, VSOCK_GOOD), VSOCK_RESET);
    vsock_conn_close(&conn);
    assert_int_equal(read(peer, sink, sizeof sink), 0);
}

static void closing_with_nothing_held_ends_at_once(void **state)
{
    (void)state;
    struct vsock_packet request = packet(VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(vsock_conn_open(&conn, &request, VSOCK_BUF_ALLOC, &peer), 0);
    assert_int_equal(apply(VIRTIO_VSOCK_OP_SHUTDOWN, 3, VSOCK_GOOD), VSOCK_RESET);
}

static void a_reader_that_is_slow_is_waited_for_and_then_no_longer(void **state)
{
    (void)state;
    char sink[4096];
    enter(VSOCK_OPEN);
    assert_int_equal(vsock_conn_wants(&conn), EPOLLERR | EPOLLIN | EPOLLOUT);
    while (conn.held_len > 0) {
        assert_true(read(peer, sink, sizeof sink) > 0);
        assert_int_equal(vsock_conn_socket(&conn, EPOLLOUT), VSOCK_KEEP);
    }
    assert_int_equal(vsock_conn_wants(&conn), EPOLLERR | EPOLLIN);
}

// Sends four bytes that count up; false when the credit is used up.
static bool send_number(uint32_t number)
{
    memcpy(payload, &number, 4);
    return conn.credit.rx_cnt - conn.credit.fwd_cnt + 4 <= VSOCK_BUF_ALLOC &&
           apply(VIRTIO_VSOCK_OP_RW, 0, VSOCK_GOOD) == VSOCK_KEEP;
}

static void what_is_held_stays_in_order_while_it_is_moved(void **state)
{
    (void)state;
    struct vsock_packet request = packet(VIRTIO_VSOCK_OP_REQUEST, 0);
    uint32_t sent = 0, got = 0, numbers[1024];
    assert_int_equal(vsock_conn_open(&conn, &request, VSOCK_BUF_ALLOC, &peer), 0);
    while (sent < 200000) {
        while (send_number(sent))
            sent++;
        assert_true(conn.held_len > 0);
        ssize_t n = read(peer, numbers, sizeof numbers);
        for (ssize_t i = 0; i < n / 4; i++)
            assert_int_equal(numbers[i], got++);
        assert_int_equal(vsock_conn_socket(&conn, EPOLLOUT), VSOCK_KEEP);
    }
    assert_true(got > 0);
}

static void a_connection_that_the_host_left_is_watched_no_more(void **state)
{
    (void)state;
    enter(VSOCK_OPEN);
    assert_int_equal(vsock_conn_socket(&conn, EPOLLIN | EPOLLHUP), VSOCK_KEEP);
    assert_int_equal(vsock_conn_wants(&conn), 0);
    assert_true(vsock_conn_has_output(&conn));
}

#define CONN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(every_cell_of_the_table_is_as_specified),
        CONN_TEST(closing_ends_with_a_reset_when_the_host_has_taken_all),
        CONN_TEST(an_orphan_ends_without_a_word_when_the_host_has_taken_all),
        CONN_TEST(an_orphan_whose_host_left_ends),
        CONN_TEST(a_host_that_writes_what_nobody_reads_sees_a_clean_end),
        CONN_TEST(closing_with_nothing_held_ends_at_once),
        CONN_TEST(a_reader_that_is_slow_is_waited_for_and_then_no_longer),
        CONN_TEST(what_is_held_stays_in_order_while_it_is_moved),
        CONN_TEST(a_connection_that_the_host_left_is_watched_no_more),
    };
    return cmocka_run_group_tests_name("virtio/vsock_conn", tests, NULL, NULL);
}
