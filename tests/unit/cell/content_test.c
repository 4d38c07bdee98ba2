// Tests of file contents in memory (agent/cell/fs/content.c).
#include "testing.h"

#include <errno.h>
#include <string.h>

#include "arena.h"
#include "fs/content.h"

static struct node node;

// One arena for all: the heap keeps pages of it.
static int group_setup(void **state)
{
    (void)state;
    arena_setup(ARENA_PAGES);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    arena_teardown(ARENA_PAGES);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    memset(&node, 0, sizeof node);
    node.kind = NODE_FILE;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    content_free(&node);
    return 0;
}

static void what_is_written_is_read_back_across_blocks(void **state)
{
    (void)state;
    char out[20] = "";
    assert_int_equal(content_write(&node, 4090, "0123456789abc", 13), 13);
    assert_int_equal(node.size_bytes, 4103);
    assert_int_equal(content_read(&node, 4088, out, sizeof out), 15);
    assert_memory_equal(out,
                        "\0\0"
                        "0123456789abc",
                        15);
    assert_int_equal(content_read(&node, 4103, out, sizeof out), 0);
    assert_int_equal(content_read(&node, UINT64_MAX, out, sizeof out), 0);
}

static void shrunk_and_grown_files_read_zeros(void **state)
{
    (void)state;
    char out[10];
    content_write(&node, 0, "0123456789", 10);
    assert_int_equal(content_resize(&node, 4), 0);
    assert_int_equal(content_resize(&node, 10), 0);
    assert_int_equal(content_read(&node, 0, out, 10), 10);
    assert_memory_equal(out, "0123\0\0\0\0\0\0", 10);
}

static void holes_cost_no_pages(void **state)
{
    (void)state;
    size_t before = pages_free_count();
    assert_int_equal(content_resize(&node, 1 << 30), 0);
    assert_int_equal(pages_free_count(), before);
    char out[4] = "xxx";
    assert_int_equal(content_read(&node, 1 << 29, out, 4), 4);
    assert_memory_equal(out, "\0\0\0\0", 4);
}

static void files_of_the_archive_are_copied_at_their_first_change(void **state)
{
    (void)state;
    static const uint8_t archive[] = "archive bytes";
    char out[13];
    node.data = archive;
    node.size_bytes = 13;
    assert_int_equal(content_read(&node, 8, out, 20), 5);
    assert_int_equal(content_write(&node, 0, "A", 1), 1);
    assert_int_equal(content_read(&node, 0, out, 13), 13);
    assert_memory_equal(out, "Archive bytes", 13);
    assert_memory_equal(archive, "archive bytes", 13);
}

static void memory_that_ran_out_is_told_and_given_back(void **state)
{
    (void)state;
    static char block[8 * PAGES_SIZE];
    size_t before = pages_free_count(), total = 0;
    int64_t n;
    while ((n = content_write(&node, total, block, sizeof block)) > 0)
        total += (size_t)n;
    assert_int_equal(n, -ENOSPC);
    assert_true(total >= ARENA_PAGES / 4 * PAGES_SIZE && total <= ARENA_PAGES / 2 * PAGES_SIZE);
    assert_int_equal(node.size_bytes, total);
    content_free(&node);
    assert_true(pages_free_count() >= before - 6); // the heap keeps a page of each class
    assert_int_equal(content_write(&node, 0, block, 10), 10);
}

static void absurd_offsets_are_refused(void **state)
{
    (void)state;
    assert_int_equal(content_write(&node, UINT64_MAX, "x", 1), -EFBIG);
    assert_int_equal(content_write(&node, 1ull << 40, "x", 1), -EFBIG);
    assert_int_equal(content_resize(&node, 1ull << 41), -EFBIG);
    assert_true(content_write(&node, (1ull << 40) - 1, "x", 1) < 0); // its block list alone is too large
    assert_int_equal(node.size_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back_across_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(shrunk_and_grown_files_read_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(holes_cost_no_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(files_of_the_archive_are_copied_at_their_first_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(memory_that_ran_out_is_told_and_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(absurd_offsets_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("content", tests, group_setup, group_teardown);
}
