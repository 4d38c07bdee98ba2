// Tests of what the split virtqueue does with VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX
// (server/vmm/virtio/ring.c), against rings written as a guest writes them.
#include "ring_driver.h"

#include <errno.h>
#include <string.h>

#define TABLE_GPA 0x8003u // tables may lie anywhere

static const struct ring_config config = {.size = SIZE,
                                          .event_idx = true,
                                          .indirect = true,
                                          .desc_gpa = DESC_GPA,
                                          .avail_gpa = AVAIL_GPA,
                                          .used_gpa = USED_GPA};

static uint16_t *used_event(void)
{
    return &avail()->ring[SIZE];
}

static uint16_t avail_event(void)
{
    uint16_t v;
    memcpy(&v, &used()->ring[SIZE], sizeof v);
    return v;
}

static int setup(void **state)
{
    (void)state;
    return ring_driver_setup(&config);
}

static void set_entry(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    struct vring_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};
    memcpy(memory.hva + TABLE_GPA + i * sizeof d, &d, sizeof d);
}

static void an_indirect_table_is_popped_in_the_order_of_its_links(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA, 10, VRING_DESC_F_NEXT, 2);
    set_entry(1, DATA_GPA + 200, 30, VRING_DESC_F_WRITE, 0);
    set_entry(2, DATA_GPA + 100, 20, VRING_DESC_F_NEXT, 1);
    set_desc(6, TABLE_GPA, 48, VRING_DESC_F_INDIRECT, 0);
    make_available(6);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.head, 6);
    assert_int_equal(chain.n_readable, 2);
    assert_int_equal(chain.n_writable, 1);
    assert_ptr_equal(chain.iov[1].iov_base, memory.hva + DATA_GPA + 100);
    assert_ptr_equal(chain.iov[2].iov_base, memory.hva + DATA_GPA + 200);
    assert_int_equal(chain.readable_bytes, 30);
    assert_int_equal(chain.writable_bytes, 30);
}

static void direct_descriptors_may_come_before_the_table(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA + 100, 5, VRING_DESC_F_WRITE, 0);
    set_desc(0, DATA_GPA, 7, VRING_DESC_F_NEXT, 3);
    set_desc(3, TABLE_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.readable_bytes, 7);
    assert_int_equal(chain.writable_bytes, 5);
}

static void the_write_flag_of_a_table_means_nothing(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA, 5, 0, 0);
    set_desc(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.n_readable, 1);
}

static void a_table_may_hold_more_than_the_ring_and_at_most_the_longest_chain(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RING_CHAIN_MAX; i++)
        set_entry(i, DATA_GPA, 1, i + 1 < RING_CHAIN_MAX ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    set_desc(0, TABLE_GPA, 16 * (RING_CHAIN_MAX + 1), VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(chain.n_readable, RING_CHAIN_MAX);
    set_entry(RING_CHAIN_MAX - 1, DATA_GPA, 1, VRING_DESC_F_NEXT, RING_CHAIN_MAX);
    set_entry(RING_CHAIN_MAX, DATA_GPA, 1, 0, 0);
    make_available(0);
    assert_broken("a descriptor chain longer than its queue");
}

static void direct_and_indirect_buffers_together_are_bounded_too(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, VRING_DESC_F_NEXT, 1);
    set_desc(1, TABLE_GPA, 16 * RING_CHAIN_MAX, VRING_DESC_F_INDIRECT, 0);
    for (unsigned i = 0; i < RING_CHAIN_MAX; i++)
        set_entry(i, DATA_GPA, 1, i + 1 < RING_CHAIN_MAX ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
    make_available(0);
    assert_broken("a descriptor chain longer than any queue");
}

static void a_table_that_loops_breaks_the_ring(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA, 1, VRING_DESC_F_NEXT, 0);
    set_desc(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_broken("a descriptor chain longer than its queue");
}

static void tables_of_wrong_lengths_break_the_ring(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {0, 8, 15, 17, (1u << 20) + 16, UINT32_MAX - 15};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(avail(), 0, 64);
        assert_int_equal(ring_enable(&ring, &memory, &config), 0);
        set_desc(0, TABLE_GPA, wrong[i], VRING_DESC_F_INDIRECT, 0);
        make_available(0);
        assert_broken("an indirect table of a wrong length");
    }
}

static void tables_outside_memory_break_the_ring(void **state)
{
    (void)state;
    static const uint64_t wrong[] = {MEMORY_BYTES - 16, MEMORY_BYTES, UINT64_MAX - 15, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(avail(), 0, 64);
        assert_int_equal(ring_enable(&ring, &memory, &config), 0);
        set_desc(0, wrong[i], 32, VRING_DESC_F_INDIRECT, 0);
        make_available(0);
        assert_broken("an indirect table outside guest memory");
    }
}

static void a_table_with_a_next_breaks_the_ring(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA, 1, 0, 0);
    set_desc(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
    make_available(0);
    assert_broken("an indirect descriptor with a next one");
}

static void a_table_inside_a_table_breaks_the_ring(void **state)
{
    (void)state;
    set_entry(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    set_desc(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_broken("an indirect descriptor inside an indirect table");
}

static void the_rings_own_table_named_as_an_indirect_one_breaks_the_ring(void **state)
{
    (void)state;
    set_desc(0, DESC_GPA, 16 * SIZE, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_broken("an indirect descriptor inside an indirect table");
}

static void a_link_beyond_its_table_breaks_the_ring(void **state)
{
    (void)state;
    set_entry(0, DATA_GPA, 1, VRING_DESC_F_NEXT, 1); // inside the ring's table, but not inside this one
    set_desc(0, TABLE_GPA, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(0);
    assert_broken("a descriptor index beyond its table");
}

// All of used_event, at all distances from the index, around the wrap: section 2.7.10's comparison says that
// the driver is told when its event is among the entries published since it was last told.
static void the_driver_is_told_exactly_when_its_event_was_passed(void **state)
{
    (void)state;
    for (uint32_t from = 65530; from <= 65542; from++) {
        for (uint32_t n = 0; n <= SIZE; n++) {
            for (uint32_t event = from - 12; event <= from + 12; event++) {
                assert_int_equal(ring_enable(&ring, &memory, &config), 0);
                ring.next_used = ring.told_used = (uint16_t)from;
                *used_event() = (uint16_t)event;
                for (uint32_t i = 0; i < n; i++)
                    ring_publish(&ring, 0, 0);
                assert_int_equal(ring_take_interrupt(&ring), event >= from && event < from + n);
                assert_false(ring_take_interrupt(&ring));
            }
        }
    }
}

static void with_events_the_flags_mean_nothing(void **state)
{
    (void)state;
    avail()->flags = VRING_AVAIL_F_NO_INTERRUPT;
    ring_publish(&ring, 0, 0);
    assert_true(ring_take_interrupt(&ring));
    ring_kicks_off(&ring);
    assert_int_equal(used()->flags, 0);
}

static void kicks_on_asks_for_the_next_request_and_off_for_none_soon(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, 0, 0);
    for (unsigned i = 1; i <= 3; i++) {
        make_available(0);
        assert_true(ring_kicks_on(&ring));
        assert_int_equal(ring_pop(&ring, &chain), 1);
        ring_publish(&ring, 0, 0);
        assert_false(ring_kicks_on(&ring));
        assert_int_equal(avail_event(), i);
        ring_kicks_off(&ring);
        assert_int_equal(avail_event(), i); // the driver kicks once when it passes it, and then no more
    }
}

static void a_request_that_was_taken_back_is_asked_for_again(void **state)
{
    (void)state;
    set_desc(0, DATA_GPA, 1, 0, 0);
    make_available(0);
    make_available(0);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    assert_int_equal(ring_pop(&ring, &chain), 1);
    ring_unpop_n(&ring, 2);
    assert_true(ring_kicks_on(&ring));
    assert_int_equal(avail_event(), 0);
}

static void requests_put_together_are_seen_together(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SIZE - 1; i++) // so that the entries wrap
        ring_publish(&ring, 0, 0);
    ring_put(&ring, 0, 5, 50);
    ring_put(&ring, 1, 6, 60);
    assert_int_equal(used()->idx, SIZE - 1);
    ring_publish_put(&ring, 2);
    assert_int_equal(used()->idx, SIZE + 1);
    assert_int_equal(used()->ring[SIZE - 1].id, 5);
    assert_int_equal(used()->ring[0].id, 6);
    assert_int_equal(used()->ring[0].len, 60);
}

#define RING_TEST(name) cmocka_unit_test_setup_teardown(name, setup, ring_driver_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(an_indirect_table_is_popped_in_the_order_of_its_links),
        RING_TEST(direct_descriptors_may_come_before_the_table),
        RING_TEST(the_write_flag_of_a_table_means_nothing),
        RING_TEST(a_table_may_hold_more_than_the_ring_and_at_most_the_longest_chain),
        RING_TEST(direct_and_indirect_buffers_together_are_bounded_too),
        RING_TEST(a_table_that_loops_breaks_the_ring),
        RING_TEST(tables_of_wrong_lengths_break_the_ring),
        RING_TEST(tables_outside_memory_break_the_ring),
        RING_TEST(a_table_with_a_next_breaks_the_ring),
        RING_TEST(a_table_inside_a_table_breaks_the_ring),
        RING_TEST(the_rings_own_table_named_as_an_indirect_one_breaks_the_ring),
        RING_TEST(a_link_beyond_its_table_breaks_the_ring),
        RING_TEST(the_driver_is_told_exactly_when_its_event_was_passed),
        RING_TEST(with_events_the_flags_mean_nothing),
        RING_TEST(kicks_on_asks_for_the_next_request_and_off_for_none_soon),
        RING_TEST(a_request_that_was_taken_back_is_asked_for_again),
        RING_TEST(requests_put_together_are_seen_together),
    };
    return cmocka_run_group_tests_name("virtio/ring_feature", tests, NULL, NULL);
}
