// Tests of the split virtqueue's device side (server/vmm/virtio/ring.c), against rings written as a guest
// writes them.
#include "ring_driver.h"

#include <errno.h>
#include <string.h>

static const struct ring_config good = {
    .size = SIZE, .desc_gpa = DESC_GPA, .avail_gpa = AVAIL_GPA, .used_gpa = USED_GPA};

static int setup(void **state)
{
    (void)state;
    return ring_driver_setup(&good);
}

static void enable_accepts_powers_of_two_up_to_256(void **state)
{
    (void)state;
    for (uint32_t size = 0; size <= UINT16_MAX; size++) {
        struct ring_config c = good;
        c.size = (uint16_t)size;
        bool ok = size >= 1 && size <= 256 && (size & (size - 1)) == 0;
        assert_int_equal(ring_enable(&ring, &memory, &c), ok ? 0 : -EINVAL);
        assert_int_equal(ring_enabled(&ring), ok);
    }
}

static void enable_refuses_misaligned_parts(void **state)
{
    (void)state;
    struct ring_config c = good;
    c.desc_gpa += 8;
    assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
    c = good;
    c.avail_gpa += 1;
    assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
    c = good;
    c.used_gpa += 2;
    assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
}

static void enable_refuses_parts_outside_memory(void **state)
{
    (void)state;
    static const uint64_t wrong[] = {MEMORY_BYTES - 16, MEMORY_BYTES, UINT64_MAX - 15};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ring_config c = good;
        c.desc_gpa = wrong[i];
        assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
        c = good;
        c.avail_gpa = wrong[i];
        assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
        c = good;
        c.used_gpa = wrong[i];
        assert_int_equal(ring_enable(&ring, &memory, &c), -EFAULT);
    }
}

static void an_empty_ring_pops_nothing(void **state)
{
    (void)state;
    assert_int_equal(ring_pop(&ring, &chain), 0);
}

static void a_disabled_ring_does_nothing(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 16, 0, 0);
    make_available(0);
    ring_disable(&ring);
    assert_int_equal(ring_pop(&ring, &chain), 0);
    ring_publish(&ring, 0, 1);
    ring_kicks_off(&ring);
    assert_false(ring_kicks_on(&ring));
    assert_false(ring_take_interrupt(&ring));
    assert_int_equal(used()->idx, 0);
    assert_int_equal(used()->flags, 0);
}

static void a_chain_is_popped_in_order_with_its_addresses(void **state)
{
    (void)state;
    set_desc(5, DATA_GPA, 10, VRING_DESC_F_NEXT, 2);
    set_desc(2, DATA_GPA + 100, 20, VRING_DESC_F_NEXT, 7);
    set_desc(7, DATA_GPA + 200, 30, VRING_DESC_F_WRITE, 0);
    make_available(5);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.head, 5);
    assert_int_equal(chain.n_readable, 2);
    assert_int_equal(chain.n_writable, 1);
    assert_int_equal(chain.readable_bytes, 30);
    assert_int_equal(chain.writable_bytes, 30);
    assert_ptr_equal(chain.iov[0].iov_base, memory.hva + DATA_GPA);
    assert_ptr_equal(chain.iov[1].iov_base, memory.hva + DATA_GPA + 100);
    assert_ptr_equal(chain.iov[2].iov_base, memory.hva + DATA_GPA + 200);
    assert_int_equal(ring_pop(&ring, &chain), 0);
}

static void a_chain_may_be_as_long_as_the_ring(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SIZE; i++)
        set_desc(i, DATA_GPA, 1, i + 1 < SIZE ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.n_readable, SIZE);
}

static void indices_run_freely_through_their_wrap(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 70000; i++) {
        set_desc(i % SIZE, DATA_GPA + i, 1, VRING_DESC_F_WRITE, 0);
        make_available((uint16_t)(i % SIZE));
        assert_int_equal(ring_pop(&ring, &chain), 1);
        assert_int_equal(chain.head, i % SIZE);
        assert_ptr_equal(chain.iov[0].iov_base, memory.hva + DATA_GPA + i);
        ring_publish(&ring, chain.head, i);
        assert_int_equal(used()->idx, (uint16_t)(i + 1));
        assert_int_equal(used()->ring[i % SIZE].id, i % SIZE);
        assert_int_equal(used()->ring[i % SIZE].len, i);
    }
}

static void unpop_makes_the_same_request_come_again(void **state)
{
    (void)state;
    set_desc(3, DATA_GPA, 1, 0, 0);
    make_available(3);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    ring_unpop(&ring);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.head, 3);
    assert_int_equal(ring_pop(&ring, &chain), 0);
}

static void an_index_too_far_ahead_breaks_the_ring(void **state)
{
    (void)state;
    avail()->idx = SIZE + 1;
    assert_broken("more requests available than the queue holds");
}

static void an_index_that_goes_back_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, 0, 0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    avail()->idx = 0;
    assert_broken("more requests available than the queue holds");
}

static void a_head_beyond_the_queue_breaks_the_ring(void **state)
{
    (void)state;
    make_available(SIZE);
    assert_broken("a descriptor index beyond its table");
}

static void a_next_beyond_the_queue_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, VRING_DESC_F_NEXT, 0xffff);
    make_available(0);
    assert_broken("a descriptor index beyond its table");
}

static void a_loop_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, VRING_DESC_F_NEXT, 1);
    set_desc(1, DATA_GPA, 1, VRING_DESC_F_NEXT, 0);
    make_available(0);
    assert_broken("a descriptor chain longer than its queue");
}

static void readable_after_writable_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    set_desc(1, DATA_GPA, 1, 0, 0);
    make_available(0);
    assert_broken("a readable descriptor after a writable one");
}

static void an_indirect_descriptor_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_broken("an indirect descriptor, which was not negotiated");
}

static void a_descriptor_outside_memory_breaks_the_ring(void **state)
{
    (void)state;
    static const struct {
        uint64_t addr;
        uint32_t len;
    } wrong[] = {{MEMORY_BYTES, 1},     {MEMORY_BYTES - 1, 2}, {UINT64_MAX, 1}, {UINT64_MAX - 1, 0xffffffff},
                 {0, MEMORY_BYTES + 1}, {DATA_GPA, 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(avail(), 0, 64);
        assert_int_equal(ring_enable(&ring, &memory, &good), 0);
        set_desc(0, wrong[i].addr, wrong[i].len, 0, 0);
        make_available(0);
        assert_broken("an empty descriptor, or one outside guest memory");
    }
}

static void a_chain_over_4_gib_breaks_the_ring(void **state)
{
    (void)state;
    struct ring_config c = good;
    c.size = 256;
    assert_int_equal(ring_enable(&ring, &memory, &c), 0);
    for (unsigned i = 0; i < 256; i++)
        set_desc(i, 0, MEMORY_BYTES, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, (uint16_t)(i + 1));
    make_available(0);
    assert_broken("a descriptor chain of more than 4 GiB");
}

static void a_broken_ring_stays_broken(void **state)
{
    (void)state;
    make_available(SIZE);
    assert_broken("a descriptor index beyond its table");
    set_desc(0, DATA_GPA, 1, 0, 0);
    avail()->ring[0] = 0;
    assert_broken("a descriptor index beyond its table");
}

static void the_driver_is_interrupted_once_per_batch_unless_it_asked_not_to_be(void **state)
{
    (void)state;
    assert_false(ring_take_interrupt(&ring));
    ring_publish(&ring, 0, 0);
    ring_publish(&ring, 1, 0);
    assert_true(ring_take_interrupt(&ring));
    assert_false(ring_take_interrupt(&ring));
    avail()->flags = VRING_AVAIL_F_NO_INTERRUPT;
    ring_publish(&ring, 2, 0);
    assert_false(ring_take_interrupt(&ring));
}

static void kicks_on_tells_of_requests_that_came_while_they_were_off(void **state)
{
    (void)state;
    ring_kicks_off(&ring);
    assert_int_equal(used()->flags, VRING_USED_F_NO_NOTIFY);
    assert_false(ring_kicks_on(&ring));
    assert_int_equal(used()->flags, 0);
    ring_kicks_off(&ring);
    make_available(0);
    assert_true(ring_kicks_on(&ring));
}

// Readable "abc" + "defg", writable 3 + 5 bytes.
static void pop_four_buffers(void)
{
    memcpy(memory.hva + DATA_GPA, "abc", 3);
    memcpy(memory.hva + DATA_GPA + 100, "defg", 4);
    set_desc(0, DATA_GPA, 3, VRING_DESC_F_NEXT, 1);
    set_desc(1, DATA_GPA + 100, 4, VRING_DESC_F_NEXT, 2);
    set_desc(2, DATA_GPA + 200, 3, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3);
    set_desc(3, DATA_GPA + 300, 5, VRING_DESC_F_WRITE, 0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
}

static void reading_crosses_buffers_and_stops_at_the_end(void **state)
{
    (void)state;
    pop_four_buffers();
    char out[16] = {0};
    assert_int_equal(ring_chain_read(&chain, 0, out, sizeof out), 7);
    assert_string_equal(out, "abcdefg");
    memset(out, 0, sizeof out);
    assert_int_equal(ring_chain_read(&chain, 2, out, 3), 3);
    assert_string_equal(out, "cde");
    assert_int_equal(ring_chain_read(&chain, 7, out, 1), 0);
    assert_int_equal(ring_chain_read(&chain, UINT64_MAX, out, 1), 0);
}

static void writing_crosses_buffers_and_stops_at_the_end(void **state)
{
    (void)state;
    pop_four_buffers();
    assert_int_equal(ring_chain_write(&chain, 1, "123456789", 9), 7);
    assert_memory_equal(memory.hva + DATA_GPA + 200,
                        "\0"
                        "12",
                        3);
    assert_memory_equal(memory.hva + DATA_GPA + 300, "34567\0", 6);
    assert_memory_equal(memory.hva + DATA_GPA, "abc", 3);
}

static void slices_honour_offset_limit_and_capacity(void **state)
{
    (void)state;
    pop_four_buffers();
    struct iovec out[4];
    uint64_t bytes;
    assert_int_equal(ring_chain_readable(&chain, 1, 100, out, 4, &bytes), 2);
    assert_int_equal(bytes, 6);
    assert_ptr_equal(out[0].iov_base, memory.hva + DATA_GPA + 1);
    assert_int_equal(ring_chain_readable(&chain, 1, 3, out, 4, &bytes), 2);
    assert_int_equal(out[1].iov_len, 1);
    assert_int_equal(ring_chain_readable(&chain, 0, 100, out, 1, &bytes), 1);
    assert_int_equal(bytes, 3);
    assert_int_equal(ring_chain_writable(&chain, 4, 100, out, 4, &bytes), 1);
    assert_ptr_equal(out[0].iov_base, memory.hva + DATA_GPA + 301);
    assert_int_equal(bytes, 4);
    assert_int_equal(ring_chain_writable(&chain, 0, 0, out, 4, &bytes), 0);
}

#define RING_TEST(name) cmocka_unit_test_setup_teardown(name, setup, ring_driver_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(enable_accepts_powers_of_two_up_to_256),
        RING_TEST(enable_refuses_misaligned_parts),
        RING_TEST(enable_refuses_parts_outside_memory),
        RING_TEST(an_empty_ring_pops_nothing),
        RING_TEST(a_disabled_ring_does_nothing),
        RING_TEST(a_chain_is_popped_in_order_with_its_addresses),
        RING_TEST(a_chain_may_be_as_long_as_the_ring),
        RING_TEST(indices_run_freely_through_their_wrap),
        RING_TEST(unpop_makes_the_same_request_come_again),
        RING_TEST(an_index_too_far_ahead_breaks_the_ring),
        RING_TEST(an_index_that_goes_back_breaks_the_ring),
        RING_TEST(a_head_beyond_the_queue_breaks_the_ring),
        RING_TEST(a_next_beyond_the_queue_breaks_the_ring),
        RING_TEST(a_loop_breaks_the_ring),
        RING_TEST(readable_after_writable_breaks_the_ring),
        RING_TEST(an_indirect_descriptor_breaks_the_ring),
        RING_TEST(a_descriptor_outside_memory_breaks_the_ring),
        RING_TEST(a_chain_over_4_gib_breaks_the_ring),
        RING_TEST(a_broken_ring_stays_broken),
        RING_TEST(the_driver_is_interrupted_once_per_batch_unless_it_asked_not_to_be),
        RING_TEST(kicks_on_tells_of_requests_that_came_while_they_were_off),
        RING_TEST(reading_crosses_buffers_and_stops_at_the_end),
        RING_TEST(writing_crosses_buffers_and_stops_at_the_end),
        RING_TEST(slices_honour_offset_limit_and_capacity),
    };
    return cmocka_run_group_tests_name("virtio/ring", tests, NULL, NULL);
}
