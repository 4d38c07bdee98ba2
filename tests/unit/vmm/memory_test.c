// Tests of guest memory (server/vmm/memory.c): two regions with a hole between them, and nothing else.
#include "testing.h"

#include <string.h>

#include "common/checked.h"
#include "memory.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct guest_memory mem;

static void have(uint64_t bytes)
{
    struct err err;
    guest_memory_done(&mem);
    assert_int_equal(guest_memory_init(&mem, bytes, GUEST_MEMORY_HUGE_PAGES, &err), 0);
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_done(&mem);
    return 0;
}

static void small_memory_is_one_region(void **state)
{
    (void)state;
    have(16 * MIB);
    assert_ptr_equal(guest_memory_at(&mem, 0, 16 * MIB), mem.hva);
    assert_null(guest_memory_at(&mem, 16 * MIB - 1, 2));
    assert_null(guest_memory_at(&mem, GUEST_MEMORY_HIGH_GPA, 1));
}

static void it_lies_as_huge_pages_need_it(void **state)
{
    (void)state;
    // Several at once: one may by luck.
    struct guest_memory all[3];
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(guest_memory_init(&all[i], 6 * MIB + 4096, GUEST_MEMORY_HUGE_PAGES, &err), 0);
        assert_int_equal((uintptr_t)all[i].hva % (2 * MIB), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        memset(all[i].hva, 0x5a, all[i].size_bytes);
        guest_memory_done(&all[i]);
    }
}

static void what_exceeds_3_gib_lies_from_4_gib_on(void **state)
{
    (void)state;
    have(4 * GIB);
    assert_int_equal(mem.size_bytes, 3 * GIB);
    assert_int_equal(mem.high_bytes, GIB);
    assert_ptr_equal(guest_memory_at(&mem, 4 * GIB, GIB), mem.hva + 3 * GIB);
    assert_ptr_equal(guest_memory_at(&mem, 5 * GIB - 1, 1), mem.hva + 4 * GIB - 1);
    assert_null(guest_memory_at(&mem, 5 * GIB, 1));
    assert_null(guest_memory_at(&mem, 5 * GIB - 1, 2));
}

static void a_range_never_spans_the_hole(void **state)
{
    (void)state;
    have(4 * GIB);
    assert_non_null(guest_memory_at(&mem, 3 * GIB - 1, 1));
    assert_null(guest_memory_at(&mem, 3 * GIB - 1, 2));
    assert_null(guest_memory_at(&mem, 3 * GIB, 1));
    assert_null(guest_memory_at(&mem, 4 * GIB - 1, 1));
    assert_null(guest_memory_at(&mem, 4 * GIB - 1, 2));
}

static void sums_that_overflow_are_nowhere(void **state)
{
    (void)state;
    have(4 * GIB);
    assert_null(guest_memory_at(&mem, UINT64_MAX, 2));
    assert_null(guest_memory_at(&mem, 1, UINT64_MAX));
    assert_null(guest_memory_at(&mem, 4 * GIB, UINT64_MAX - 4 * GIB + 1));
    assert_null(guest_memory_at(&mem, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(small_memory_is_one_region, teardown),
        cmocka_unit_test(it_lies_as_huge_pages_need_it),
        cmocka_unit_test_teardown(what_exceeds_3_gib_lies_from_4_gib_on, teardown),
        cmocka_unit_test_teardown(a_range_never_spans_the_hole, teardown),
        cmocka_unit_test_teardown(sums_that_overflow_are_nowhere, teardown),
    };
    return cmocka_run_group_tests_name("vmm/memory", tests, NULL, NULL);
}
