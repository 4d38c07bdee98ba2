// Tests of the kernel heap (agent/cell/mem/heap.c). The heap's lists live in the library: each test gives
// back what it took.
#include "testing.h"

#include <string.h>

#include "arena.h"

static int group_setup(void **state)
{
    (void)state;
    arena_setup(ARENA_PAGES);
    heap_init(ARENA_PAGES / 2);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    arena_teardown(ARENA_PAGES);
    return 0;
}

static void blocks_are_aligned_distinct_and_keep_their_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 31, 32, 33, 100, 512, 1000, 1024, 1025, 4000, 4064, 4065, 20000};
    enum { N = sizeof sizes / sizeof sizes[0] };
    unsigned char *p[N];
    for (size_t i = 0; i < N; i++) {
        p[i] = heap_alloc(sizes[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(p[i][k], i);
        heap_free(p[i]);
    }
}

static void zeroed_blocks_are_zero_after_use(void **state)
{
    (void)state;
    unsigned char *p = heap_alloc(200);
    memset(p, 0xff, 200);
    heap_free(p);
    p = heap_alloc_zeroed(200);
    for (int i = 0; i < 200; i++)
        assert_int_equal(p[i], 0);
    heap_free(p);
}

static void resize_keeps_the_bytes_up_and_down(void **state)
{
    (void)state;
    unsigned char *p = heap_resize(NULL, 10);
    for (int i = 0; i < 10; i++)
        p[i] = (unsigned char)i;
    static const size_t sizes[] = {30, 100, 5000, 50000, 600, 20};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        p = heap_resize(p, sizes[k]);
        assert_non_null(p);
        for (int i = 0; i < 10; i++)
            assert_int_equal(p[i], i);
    }
    heap_free(p);
}

static void limit_holds_and_memory_comes_back(void **state)
{
    (void)state;
    size_t before = heap_pages_used();
    assert_null(heap_alloc(ARENA_PAGES / 2 * PAGES_SIZE));
    assert_null(heap_alloc(SIZE_MAX));
    assert_null(heap_alloc(SIZE_MAX - 40));
    void *p = heap_alloc(ARENA_PAGES / 4 * PAGES_SIZE);
    assert_non_null(p);
    assert_null(heap_alloc(ARENA_PAGES / 4 * PAGES_SIZE));
    unsigned char *kept = p;
    kept[5] = 55;
    assert_null(heap_resize(p, ARENA_PAGES * PAGES_SIZE));
    assert_int_equal(kept[5], 55);
    heap_free(p);
    assert_int_equal(heap_pages_used(), before);
}

static void many_small_blocks_share_pages_and_give_them_back(void **state)
{
    (void)state;
    enum { N = 1000 };
    static void *p[N];
    size_t before = heap_pages_used();
    for (int i = 0; i < N; i++)
        assert_non_null(p[i] = heap_alloc(32));
    assert_true(heap_pages_used() - before <= N / 127 + 1);
    for (int i = 0; i < N; i += 2)
        heap_free(p[i]);
    for (int i = 0; i < N; i += 2)
        assert_non_null(p[i] = heap_alloc(20)); // the freed slots serve again
    assert_true(heap_pages_used() - before <= N / 127 + 1);
    for (int i = 0; i < N; i++)
        heap_free(p[(i * 7) % N]);
    assert_true(heap_pages_used() <= before + 1); // the class keeps one page
}

static void free_of_null_is_fine(void **state)
{
    (void)state;
    heap_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_distinct_and_keep_their_bytes),
        cmocka_unit_test(zeroed_blocks_are_zero_after_use),
        cmocka_unit_test(resize_keeps_the_bytes_up_and_down),
        cmocka_unit_test(limit_holds_and_memory_comes_back),
        cmocka_unit_test(many_small_blocks_share_pages_and_give_them_back),
        cmocka_unit_test(free_of_null_is_fine),
    };
    return cmocka_run_group_tests_name("heap", tests, group_setup, group_teardown);
}
