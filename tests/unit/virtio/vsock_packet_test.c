// Tests of vsock headers, their check and the credit arithmetic (server/vmm/virtio/vsock_packet.c).
#include "testing.h"

#include <linux/virtio_vsock.h>
#include <string.h>

#include "virtio/vsock_packet.h"

#define CID 3u

static const struct vsock_packet good = {.src_cid = CID,
                                         .dst_cid = 2,
                                         .src_port = 7,
                                         .dst_port = 8,
                                         .type = 1,
                                         .op = VIRTIO_VSOCK_OP_RW,
                                         .len = 10};

static void a_header_survives_writing_and_reading(void **state)
{
    (void)state;
    uint8_t raw[VSOCK_HEADER_BYTES];
    struct vsock_packet in = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, out;
    vsock_header_write(raw, &in);
    vsock_header_read(raw, &out);
    assert_memory_equal(&in, &out, VSOCK_HEADER_BYTES); // without the padding at its end
    assert_int_equal(raw[16], 3);                       // src_port, little endian
    assert_int_equal(raw[40], 10);
}

static void flows_that_cannot_exist_are_refused(void **state)
{
    (void)state;
    struct vsock_packet p = good;
    p.src_cid = CID + 1;
    assert_int_equal(vsock_packet_check(&p, 10, CID), VSOCK_REFUSE);
    p = good;
    p.src_cid |= 1ull << 32;
    assert_int_equal(vsock_packet_check(&p, 10, CID), VSOCK_REFUSE);
    p = good;
    p.dst_cid = 1;
    assert_int_equal(vsock_packet_check(&p, 10, CID), VSOCK_REFUSE);
    p = good;
    p.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    assert_int_equal(vsock_packet_check(&p, 10, CID), VSOCK_REFUSE);
}

static void a_length_beyond_the_payload_or_the_largest_packet_is_a_lie(void **state)
{
    (void)state;
    struct vsock_packet p = good;
    assert_int_equal(vsock_packet_check(&p, 10, CID), VSOCK_GOOD);
    assert_int_equal(vsock_packet_check(&p, 11, CID), VSOCK_GOOD); // the rest is not used
    assert_int_equal(vsock_packet_check(&p, 9, CID), VSOCK_LYING);
    p.len = VSOCK_PAYLOAD_MAX;
    assert_int_equal(vsock_packet_check(&p, UINT32_MAX, CID), VSOCK_GOOD);
    p.len++;
    assert_int_equal(vsock_packet_check(&p, UINT32_MAX, CID), VSOCK_LYING);
}

static void only_known_operations_with_their_own_flags_and_payload_are_good(void **state)
{
    (void)state;
    for (unsigned op = 0; op < 65536; op++) {
        struct vsock_packet p = good;
        p.op = (uint16_t)op;
        p.len = 0;
        bool known = op >= VIRTIO_VSOCK_OP_REQUEST && op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST;
        assert_int_equal(vsock_packet_check(&p, 0, CID), known ? VSOCK_GOOD : VSOCK_LYING);
        p.len = 1;
        assert_int_equal(vsock_packet_check(&p, 1, CID), op == VIRTIO_VSOCK_OP_RW ? VSOCK_GOOD : VSOCK_LYING);
        p.len = 0;
        p.flags = 3;
        assert_int_equal(vsock_packet_check(&p, 0, CID),
                         op == VIRTIO_VSOCK_OP_SHUTDOWN ? VSOCK_GOOD : VSOCK_LYING);
        p.flags = 4;
        assert_int_equal(vsock_packet_check(&p, 0, CID), VSOCK_LYING);
    }
}

static struct vsock_packet saying(uint32_t buf_alloc, uint32_t fwd_cnt)
{
    struct vsock_packet p = good;
    p.buf_alloc = buf_alloc;
    p.fwd_cnt = fwd_cnt;
    return p;
}

static void the_guests_credit_is_what_it_has_less_what_is_under_way(void **state)
{
    (void)state;
    struct vsock_credit c = {.tx_cnt = UINT32_MAX - 5, .peer_fwd_cnt = UINT32_MAX - 15};
    struct vsock_packet p = saying(100, UINT32_MAX - 10);
    assert_true(vsock_credit_heard(&c, &p));
    assert_int_equal(vsock_credit_free(&c), 95);
    c.tx_cnt += 95; // wraps
    assert_int_equal(vsock_credit_free(&c), 0);
    p = saying(50, UINT32_MAX - 10); // it may shrink: then there is none for a while
    assert_true(vsock_credit_heard(&c, &p));
    assert_int_equal(vsock_credit_free(&c), 0);
    p = saying(50, c.tx_cnt);
    assert_true(vsock_credit_heard(&c, &p));
    assert_int_equal(vsock_credit_free(&c), 50);
}

static void a_guest_cannot_have_forwarded_more_than_was_sent(void **state)
{
    (void)state;
    struct vsock_credit c = {.tx_cnt = 100, .peer_fwd_cnt = 50, .peer_buf_alloc = 10};
    struct vsock_packet p = saying(1000, 101);
    assert_false(vsock_credit_heard(&c, &p));
    assert_int_equal(c.peer_buf_alloc, 10); // untouched
    p = saying(1000, 50);
    assert_true(vsock_credit_heard(&c, &p));
    p = saying(1000, 100);
    assert_true(vsock_credit_heard(&c, &p));
}

static void what_is_older_than_the_newest_heard_changes_nothing(void **state)
{
    (void)state;
    struct vsock_credit c = {.tx_cnt = 20, .peer_fwd_cnt = 10, .peer_buf_alloc = 100};
    struct vsock_packet p = saying(1000, 9);
    assert_true(vsock_credit_heard(&c, &p));
    p = saying(1000, UINT32_MAX - 5); // before the counter wrapped
    assert_true(vsock_credit_heard(&c, &p));
    assert_int_equal(c.peer_buf_alloc, 100);
    assert_int_equal(c.peer_fwd_cnt, 10);
}

static void a_guest_may_send_as_much_as_it_was_given(void **state)
{
    (void)state;
    struct vsock_credit c = {.buf_alloc = VSOCK_BUF_ALLOC, .rx_cnt = UINT32_MAX, .fwd_cnt = UINT32_MAX};
    assert_true(vsock_credit_received(&c, VSOCK_BUF_ALLOC));
    assert_false(vsock_credit_received(&c, 1));
    c.fwd_cnt += 10;
    assert_true(vsock_credit_received(&c, 10));
    assert_false(vsock_credit_received(&c, UINT32_MAX));
}

static void an_update_is_due_when_the_guest_believes_that_half_is_used(void **state)
{
    (void)state;
    struct vsock_credit c = {.buf_alloc = VSOCK_BUF_ALLOC};
    assert_false(vsock_credit_update_due(&c));
    c.rx_cnt = c.fwd_cnt = VSOCK_BUF_ALLOC / 2 - 1;
    assert_false(vsock_credit_update_due(&c));
    c.rx_cnt = c.fwd_cnt = VSOCK_BUF_ALLOC / 2;
    assert_true(vsock_credit_update_due(&c));
    c.told_fwd_cnt = c.fwd_cnt;
    assert_false(vsock_credit_update_due(&c));
    c.rx_cnt += VSOCK_BUF_ALLOC; // nothing of it forwarded: nothing new to say
    assert_false(vsock_credit_update_due(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_survives_writing_and_reading),
        cmocka_unit_test(flows_that_cannot_exist_are_refused),
        cmocka_unit_test(a_length_beyond_the_payload_or_the_largest_packet_is_a_lie),
        cmocka_unit_test(only_known_operations_with_their_own_flags_and_payload_are_good),
        cmocka_unit_test(the_guests_credit_is_what_it_has_less_what_is_under_way),
        cmocka_unit_test(a_guest_cannot_have_forwarded_more_than_was_sent),
        cmocka_unit_test(what_is_older_than_the_newest_heard_changes_nothing),
        cmocka_unit_test(a_guest_may_send_as_much_as_it_was_given),
        cmocka_unit_test(an_update_is_due_when_the_guest_believes_that_half_is_used),
    };
    return cmocka_run_group_tests_name("virtio/vsock_packet", tests, NULL, NULL);
}
