// Tests of the page allocator (agent/cell/mem/pages.c).
#include "testing.h"

#include <string.h>

#include "arena.h"

static int setup(void **state)
{
    (void)state;
    arena_setup(ARENA_PAGES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_teardown(ARENA_PAGES);
    return 0;
}

static int is_zero(uintptr_t p, size_t n)
{
    const unsigned char *c = (const unsigned char *)p;
    for (size_t i = 0; i < n; i++)
        if (c[i])
            return 0;
    return 1;
}

static void bookkeeping_takes_one_page_of_a_small_memory(void **state)
{
    (void)state;
    assert_int_equal(pages_total(), ARENA_PAGES);
    assert_int_equal(pages_free_count(), ARENA_PAGES);
    assert_int_equal(pages_end() - pages_start(), ARENA_PAGES * PAGES_SIZE);
}

static void alloc_takes_the_highest_run(void **state)
{
    (void)state;
    assert_int_equal(pages_alloc(3), pages_end() - 3 * PAGES_SIZE);
    assert_int_equal(pages_alloc(1), pages_end() - 4 * PAGES_SIZE);
    assert_int_equal(pages_free_count(), ARENA_PAGES - 4);
}

static void alloc_gives_every_page_once_and_then_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARENA_PAGES; i++) {
        uintptr_t p = pages_alloc(1);
        assert_int_not_equal(p, 0);
        assert_int_equal(*(unsigned char *)p, 0);
        memset((void *)p, 0xaa, PAGES_SIZE);
    }
    assert_int_equal(pages_alloc(1), 0);
    assert_int_equal(pages_free_count(), 0);
}

static void alloc_fails_when_no_run_is_long_enough(void **state)
{
    (void)state;
    uintptr_t all = pages_alloc(ARENA_PAGES);
    assert_int_equal(all, pages_start());
    for (size_t i = 0; i < ARENA_PAGES; i += 2)
        pages_free(all + i * PAGES_SIZE, 1);
    assert_int_equal(pages_free_count(), ARENA_PAGES / 2);
    assert_int_equal(pages_alloc(2), 0);
    assert_int_not_equal(pages_alloc(1), 0);
}

static void alloc_refuses_zero_and_absurd_counts(void **state)
{
    (void)state;
    assert_int_equal(pages_alloc(0), 0);
    assert_int_equal(pages_alloc(ARENA_PAGES + 1), 0);
    assert_int_equal(pages_alloc(SIZE_MAX), 0);
}

static void alloc_finds_a_hole_between_taken_pages(void **state)
{
    (void)state;
    uintptr_t all = pages_alloc(ARENA_PAGES);
    pages_free(all + 70 * PAGES_SIZE, 65);
    assert_int_equal(pages_alloc(66), 0);
    assert_int_equal(pages_alloc(65), all + 70 * PAGES_SIZE);
}

static void used_pages_come_back_zeroed(void **state)
{
    (void)state;
    uintptr_t p = pages_alloc(5);
    memset((void *)p, 0xff, 5 * PAGES_SIZE);
    pages_free(p, 5);
    uintptr_t q = pages_map(5);
    assert_int_equal(p, q);
    assert_true(is_zero(q, 5 * PAGES_SIZE));
    memset((void *)q, 0xff, 5 * PAGES_SIZE);
    pages_unmap(q, 5);
    assert_true(pages_map_at(q + PAGES_SIZE, 2));
    assert_true(is_zero(q + PAGES_SIZE, 2 * PAGES_SIZE));
}

static void map_at_refuses_what_is_taken_foreign_or_misaligned(void **state)
{
    (void)state;
    uintptr_t base = pages_start();
    assert_true(pages_map_at(base, 10));
    assert_false(pages_map_at(base + 9 * PAGES_SIZE, 2));
    assert_false(pages_map_at(base - PAGES_SIZE, 1));
    assert_false(pages_map_at(pages_end() - PAGES_SIZE, 2));
    assert_false(pages_map_at(pages_end(), 1));
    assert_false(pages_map_at(base + 100, 1));
    assert_false(pages_map_at(base + 20 * PAGES_SIZE, 0));
    assert_false(pages_map_at(base + 20 * PAGES_SIZE, SIZE_MAX));
    assert_false(pages_map_at(0, SIZE_MAX / PAGES_SIZE));
    assert_int_equal(pages_free_count(), ARENA_PAGES - 10);
}

static void unmap_leaves_holes_and_kernel_pages_alone(void **state)
{
    (void)state;
    uintptr_t kernel = pages_alloc(1), program = pages_map(4);
    assert_int_equal(program, kernel - 4 * PAGES_SIZE);
    pages_unmap(program + PAGES_SIZE, 1);
    pages_unmap(0, SIZE_MAX);
    assert_int_equal(pages_free_count(), ARENA_PAGES - 1);
    pages_unmap(kernel, 1);
    assert_int_equal(pages_free_count(), ARENA_PAGES - 1);
    pages_free(kernel, 1);
    assert_int_equal(pages_free_count(), ARENA_PAGES);
}

static void all_mapped_sees_every_hole(void **state)
{
    (void)state;
    uintptr_t p = pages_map(130);
    assert_true(pages_all_mapped(p, 130));
    assert_false(pages_all_mapped(p - PAGES_SIZE, 2));
    pages_unmap(p + 64 * PAGES_SIZE, 1);
    assert_false(pages_all_mapped(p, 130));
    assert_true(pages_all_mapped(p, 64));
    assert_true(pages_all_mapped(p + 65 * PAGES_SIZE, 65));
}

// The allocator against an array of flags, for many random steps.
static void random_steps_agree_with_a_simple_model(void **state)
{
    (void)state;
    static unsigned char model[256];
    unsigned seed = 1;
    memset(model, 0, sizeof model);
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1103515245 + 12345;
        size_t first = (seed >> 8) % ARENA_PAGES, n = 1 + (seed >> 20) % 9;
        if (first + n > ARENA_PAGES)
            n = ARENA_PAGES - first;
        uintptr_t at = pages_start() + first * PAGES_SIZE;
        if (step % 3 == 0) {
            pages_unmap(at, n);
            memset(model + first, 0, n);
            continue;
        }
        int clear = 1;
        for (size_t i = 0; i < n; i++)
            clear &= !model[first + i];
        assert_int_equal(pages_map_at(at, n), clear);
        if (clear)
            memset(model + first, 1, n);
        size_t used = 0;
        for (size_t i = 0; i < ARENA_PAGES; i++)
            used += model[i];
        assert_int_equal(pages_free_count(), ARENA_PAGES - used);
    }
}

static void a_memory_too_small_for_itself_has_no_pages(void **state)
{
    (void)state;
    pages_init(pages_start(), pages_start() + PAGES_SIZE);
    assert_int_equal(pages_total(), 0);
    assert_int_equal(pages_alloc(1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bookkeeping_takes_one_page_of_a_small_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(alloc_takes_the_highest_run, setup, teardown),
        cmocka_unit_test_setup_teardown(alloc_gives_every_page_once_and_then_none, setup, teardown),
        cmocka_unit_test_setup_teardown(alloc_fails_when_no_run_is_long_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(alloc_refuses_zero_and_absurd_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(alloc_finds_a_hole_between_taken_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(used_pages_come_back_zeroed, setup, teardown),
        cmocka_unit_test_setup_teardown(map_at_refuses_what_is_taken_foreign_or_misaligned, setup, teardown),
        cmocka_unit_test_setup_teardown(unmap_leaves_holes_and_kernel_pages_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(all_mapped_sees_every_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(random_steps_agree_with_a_simple_model, setup, teardown),
        cmocka_unit_test_setup_teardown(a_memory_too_small_for_itself_has_no_pages, setup, teardown),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
