// Tests of vsock connections through the device's queues (server/vmm/virtio/vsock.c): opening, data, credit,
// closing.
#include "testing.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vsock_fixture.h"

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static void configuration_space_has_the_guests_cid(void **state)
{
    (void)state;
    assert_int_equal(driver_read(&driver, 0x100), GUEST_CID);
    assert_int_equal(driver_read(&driver, 0x104), 0);
}

static void a_request_to_the_agents_port_is_accepted_and_handed_out(void **state)
{
    (void)state;
    int fd = guest_connects();
    assert_int_equal(n_accepted, 1);
    assert_int_equal(send(fd, "", 0, MSG_DONTWAIT), 0);
    assert_true(guest_gets_nothing());
}

static void everything_else_is_answered_by_a_reset(void **state)
{
    (void)state;
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_REQUEST);
    p.dst_port = HOST_PORT + 1;
    guest_sends_packet(&p, NULL, 0);
    p = guest_gets(NULL);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(p.src_port, HOST_PORT + 1);
    assert_int_equal(p.dst_port, GUEST_PORT);

    p = guest_packet(VIRTIO_VSOCK_OP_REQUEST);
    p.dst_cid = 77;
    guest_sends_packet(&p, NULL, 0);
    p = guest_gets(NULL);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(p.src_cid, 77);

    p = guest_packet(VIRTIO_VSOCK_OP_REQUEST);
    p.type = 9;
    guest_sends_packet(&p, NULL, 0);
    p = guest_gets(NULL);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(p.type, 9);

    guest_sends_data("x", 1); // on no connection
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    assert_int_equal(n_accepted, 0);
}

static void a_reset_is_never_answered_by_a_reset(void **state)
{
    (void)state;
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RST);
    guest_sends_packet(&p, NULL, 0);
    p.dst_cid = 77;
    guest_sends_packet(&p, NULL, 0);
    assert_true(guest_gets_nothing());
}

static void a_host_that_does_not_accept_resets(void **state)
{
    (void)state;
    accept_rc = -EBUSY;
    guest_sends(VIRTIO_VSOCK_OP_REQUEST);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    guest_sends_data("x", 1); // and nothing is left of it
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
}

static void one_connection_too_many_is_refused_until_one_ends(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++)
        guest_connects_from(100 + i);
    guest_sends(VIRTIO_VSOCK_OP_REQUEST);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RST);
    p.src_port = 100;
    guest_sends_packet(&p, NULL, 0);
    guest_connects();
}

// All that may be held for a guest at once is bounded (vsock.c): late connections get less.
static void the_first_connections_have_more_room_than_the_others(void **state)
{
    (void)state;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < VIRTIO_VSOCK_CONNECTIONS_MAX; i++) {
        guest_connects_from(100 + i);
        assert_int_equal(given_buf_alloc, i < 16 ? VSOCK_BUF_ALLOC : VSOCK_BUF_ALLOC_MANY);
        sum += given_buf_alloc;
    }
    assert_true(sum <= 6u << 20);
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RST);
    p.src_port = 103;
    guest_sends_packet(&p, NULL, 0);
    guest_connects();
    assert_int_equal(given_buf_alloc, VSOCK_BUF_ALLOC); // its place
}

static void a_thousand_short_connections_leave_nothing_behind(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        int fd = guest_connects_from(1000 + i % 7); // ports come back soon
        struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_SHUTDOWN);
        p.src_port = 1000 + i % 7;
        p.flags = BOTH;
        if (i % 2 == 0) {
            guest_sends_packet(&p, NULL, 0);
        } else {
            close(fd);
            accepted[i] = -1;
            guest_gets_op(VIRTIO_VSOCK_OP_SHUTDOWN);
        }
        guest_gets_op(VIRTIO_VSOCK_OP_RST);
        if (accepted[i] >= 0)
            close(accepted[i]);
        accepted[i] = -1;
    }
    one_connection_too_many_is_refused_until_one_ends(state); // all slots are free
}

// Every connection that has something to say is heard before one is heard twice.
static void a_bulk_stream_does_not_starve_a_message(void **state)
{
    (void)state;
    static const uint8_t bulk[64 * 1024];
    int a = guest_connects_from(1), b = guest_connects_from(2);
    host_sends(a, bulk, sizeof bulk);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(guest_gets(NULL).dst_port, 1);
    host_sends(b, "message", 7);
    usleep(20000);
    unsigned before = 0;
    while (guest_gets(NULL).dst_port != 2)
        before++;
    assert_in_range(before, 0, RX_BUFFERS + 1); // what was in the receive buffers already
}

static void data_travels_both_ways(void **state)
{
    (void)state;
    char data[RX_BYTES];
    int fd = guest_connects();
    guest_sends_data("question", 8);
    host_gets(fd, data, 8);
    assert_memory_equal(data, "question", 8);
    host_sends(fd, "answer", 6);
    struct vsock_packet p = guest_gets(data);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(p.fwd_cnt, 8);
    assert_memory_equal(data, "answer", p.len);
}

static void connections_do_not_mix(void **state)
{
    (void)state;
    char data[RX_BYTES];
    int a = guest_connects_from(1), b = guest_connects_from(2);
    host_sends(b, "to b", 4);
    assert_int_equal(guest_gets(data).dst_port, 2);
    host_sends(a, "to a", 4);
    assert_int_equal(guest_gets(data).dst_port, 1);
    struct vsock_packet p = guest_packet(VIRTIO_VSOCK_OP_RW);
    p.src_port = 1;
    p.len = 6;
    guest_sends_packet(&p, "from a", 6);
    host_gets(a, data, 6);
    assert_int_equal(recv(b, data, 1, MSG_DONTWAIT), -1);
}

static void a_guest_that_minds_its_credit_sends_any_amount(void **state)
{
    (void)state;
    static uint8_t sent[4096], got[4096];
    uint32_t tx = 0, peer_fwd = 0;
    int fd = guest_connects();
    for (unsigned i = 0; i < 256; i++) {
        memset(sent, (int)i, sizeof sent);
        while (VSOCK_BUF_ALLOC - (tx - peer_fwd) < sizeof sent)
            peer_fwd = guest_gets_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE).fwd_cnt;
        guest_sends_data(sent, sizeof sent);
        tx += sizeof sent;
        host_gets(fd, got, sizeof got);
        assert_memory_equal(sent, got, sizeof got);
    }
}

static void a_host_sends_any_amount_to_a_guest_that_gives_credit(void **state)
{
    (void)state;
    static uint8_t sent[1u << 16], got[RX_BYTES];
    uint32_t rx = 0;
    int fd = guest_connects();
    guest_buf_alloc = 8192;
    guest_sends(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 7 + i / 256);
    host_sends(fd, sent, sizeof sent);
    while (rx < sizeof sent) {
        struct vsock_packet p = guest_gets(got);
        if (p.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
            continue;
        assert_int_equal(p.op, VIRTIO_VSOCK_OP_RW);
        assert_memory_equal(got, sent + rx, p.len);
        rx += p.len;
        assert_true(rx - guest_fwd_cnt <= guest_buf_alloc);
        guest_fwd_cnt = rx;
        guest_sends(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    }
}

static void without_credit_the_host_waits_and_asks_once(void **state)
{
    (void)state;
    char data[RX_BYTES];
    guest_buf_alloc = 100;
    int fd = guest_connects();
    memset(data, 'x', 300);
    host_sends(fd, data, 300);
    assert_int_equal(guest_gets(data).len, 100);
    guest_gets_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    assert_true(guest_gets_nothing());
    guest_sends(VIRTIO_VSOCK_OP_CREDIT_UPDATE); // which says nothing new
    assert_true(guest_gets_nothing());
    guest_fwd_cnt = 60;
    guest_sends(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(guest_gets(data).len, 60);
    guest_gets_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
}

static void a_credit_request_is_answered(void **state)
{
    (void)state;
    char data[5];
    int fd = guest_connects();
    guest_sends_data("12345", 5);
    host_gets(fd, data, 5);
    guest_sends(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    struct vsock_packet p = guest_gets_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(p.fwd_cnt, 5);
    assert_int_equal(p.buf_alloc, VSOCK_BUF_ALLOC);
}

// Sends until the host's socket is full and held bytes use all credit up. Returns the number of bytes.
static uint32_t fill_up(void)
{
    static const uint8_t data[4096];
    struct vsock_packet p;
    uint32_t tx = 0, peer_fwd = 0;
    do {
        while (VSOCK_BUF_ALLOC - (tx - peer_fwd) >= sizeof data) {
            guest_sends_data(data, sizeof data);
            tx += sizeof data;
        }
        guest_sends(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        usleep(2000);
        while (guest_gets_now(&p)) {
            assert_int_equal(p.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            peer_fwd = p.fwd_cnt;
        }
    } while (tx - peer_fwd < VSOCK_BUF_ALLOC);
    return tx;
}

static void a_guest_that_overruns_its_credit_is_reset(void **state)
{
    (void)state;
    static const uint8_t data[4096];
    guest_connects();
    uint32_t tx = fill_up();
    assert_true(tx > VSOCK_BUF_ALLOC);
    guest_sends_data(data, sizeof data);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
}

static void a_host_that_reads_late_gets_everything(void **state)
{
    (void)state;
    int fd = guest_connects();
    uint32_t tx = fill_up();
    guest_sends_flags(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    uint8_t *all = malloc(tx);
    host_gets(fd, all, tx);
    free(all);
    host_gets_end(fd);
}

static void the_guest_can_end_its_direction_alone(void **state)
{
    (void)state;
    char data[RX_BYTES];
    int fd = guest_connects();
    guest_sends_data("last", 4);
    guest_sends_flags(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    host_gets(fd, data, 4);
    host_gets_end(fd);
    host_sends(fd, "still there", 11);
    assert_int_equal(guest_gets(data).len, 11);
    guest_sends_data("more", 4); // after it said that there would be none
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
}

static void the_host_can_end_its_direction_alone(void **state)
{
    (void)state;
    char data[RX_BYTES];
    int fd = guest_connects();
    host_sends(fd, "last", 4);
    shutdown(fd, SHUT_WR);
    assert_int_equal(guest_gets(data).len, 4);
    assert_int_equal(guest_gets_op(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_sends_data("still there", 11);
    host_gets(fd, data, 11);
    guest_sends_flags(VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    host_gets_end(fd);
}

static void a_guest_that_receives_no_more_ends_the_hosts_writing(void **state)
{
    (void)state;
    char data[4];
    int fd = guest_connects();
    guest_sends_flags(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
    guest_sends_data("data", 4);
    host_gets(fd, data, 4);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
}

static void a_guest_that_closes_gets_its_reset_and_the_host_its_data(void **state)
{
    (void)state;
    char data[4];
    int fd = guest_connects();
    guest_sends_data("last", 4);
    guest_sends_flags(VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    host_gets(fd, data, 4);
    host_gets_end(fd);
    guest_connects(); // the same ports are free again
}

static void a_host_that_closes_ends_the_connection_after_its_data(void **state)
{
    (void)state;
    char data[RX_BYTES];
    int fd = guest_connects();
    host_sends(fd, "bye", 3);
    close(fd);
    accepted[0] = -1;
    assert_int_equal(guest_gets(data).len, 3);
    assert_int_equal(guest_gets_op(VIRTIO_VSOCK_OP_SHUTDOWN).flags, BOTH);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
    assert_true(guest_gets_nothing());
}

static void a_host_that_closes_after_ending_its_direction_resets(void **state)
{
    (void)state;
    int fd = guest_connects();
    shutdown(fd, SHUT_WR);
    assert_int_equal(guest_gets_op(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    close(fd);
    accepted[0] = -1;
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
}

static void data_for_a_host_that_has_closed_does_not_cost_the_guest_the_hosts_last_words(void **state)
{
    (void)state;
    char data[RX_BYTES];
    guest_buf_alloc = 0; // so that nothing is read from the host yet
    int fd = guest_connects();
    host_sends(fd, "go away", 7);
    close(fd);
    accepted[0] = -1;
    guest_gets_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    guest_sends_data("hello?", 6);
    guest_buf_alloc = 100;
    guest_sends(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    struct vsock_packet p = guest_gets(data);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(data, "go away", 7);
    assert_int_equal(guest_gets_op(VIRTIO_VSOCK_OP_SHUTDOWN).flags, BOTH);
    guest_gets_op(VIRTIO_VSOCK_OP_RST);
}

static void a_reset_by_the_guest_ends_the_hosts_stream(void **state)
{
    (void)state;
    int fd = guest_connects();
    guest_sends(VIRTIO_VSOCK_OP_RST);
    host_gets_end(fd);
    assert_true(guest_gets_nothing());
}

#define VSOCK_TEST(name) cmocka_unit_test_setup_teardown(name, vsock_setup, vsock_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VSOCK_TEST(configuration_space_has_the_guests_cid),
        VSOCK_TEST(a_request_to_the_agents_port_is_accepted_and_handed_out),
        VSOCK_TEST(everything_else_is_answered_by_a_reset),
        VSOCK_TEST(a_reset_is_never_answered_by_a_reset),
        VSOCK_TEST(a_host_that_does_not_accept_resets),
        VSOCK_TEST(one_connection_too_many_is_refused_until_one_ends),
        VSOCK_TEST(the_first_connections_have_more_room_than_the_others),
        VSOCK_TEST(a_thousand_short_connections_leave_nothing_behind),
        VSOCK_TEST(a_bulk_stream_does_not_starve_a_message),
        VSOCK_TEST(data_travels_both_ways),
        VSOCK_TEST(connections_do_not_mix),
        VSOCK_TEST(a_guest_that_minds_its_credit_sends_any_amount),
        VSOCK_TEST(a_host_sends_any_amount_to_a_guest_that_gives_credit),
        VSOCK_TEST(without_credit_the_host_waits_and_asks_once),
        VSOCK_TEST(a_credit_request_is_answered),
        VSOCK_TEST(a_guest_that_overruns_its_credit_is_reset),
        VSOCK_TEST(a_host_that_reads_late_gets_everything),
        VSOCK_TEST(the_guest_can_end_its_direction_alone),
        VSOCK_TEST(the_host_can_end_its_direction_alone),
        VSOCK_TEST(a_guest_that_receives_no_more_ends_the_hosts_writing),
        VSOCK_TEST(a_guest_that_closes_gets_its_reset_and_the_host_its_data),
        VSOCK_TEST(a_host_that_closes_ends_the_connection_after_its_data),
        VSOCK_TEST(a_host_that_closes_after_ending_its_direction_resets),
        VSOCK_TEST(data_for_a_host_that_has_closed_does_not_cost_the_guest_the_hosts_last_words),
        VSOCK_TEST(a_reset_by_the_guest_ends_the_hosts_stream),
    };
    return cmocka_run_group_tests_name("virtio/vsock", tests, NULL, NULL);
}
