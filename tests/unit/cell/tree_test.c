// Tests of the name space (agent/cell/fs: tree.c, walk.c, build.c) over one archive; the tree is built once,
// as in a cell.
#include "testing.h"

#include <errno.h>
#include <string.h>

#include "archive.h"
#include "arena.h"
#include "fs/tree.h"

#define TREE_PAGES 4096

static struct archive a;

static int group_setup(void **state)
{
    (void)state;
    arena_setup(TREE_PAGES);
    archive_add(&a, ".", 040755, NULL);
    archive_add(&a, "etc", 040700, NULL);
    archive_add(&a, "./etc/file", 0100644, "text");
    archive_add(&a, "/etc/link", 0120777, "file");
    archive_add(&a, "etc/absolute", 0120777, "/etc/file");
    archive_add(&a, "etc/to-dir", 0120777, "../deep/er");
    archive_add(&a, "etc/loop1", 0120777, "loop2");
    archive_add(&a, "etc/loop2", 0120777, "loop1");
    archive_add(&a, "etc/empty-link", 0120777, "");
    archive_add(&a, "deep/er/implied", 0100600, "x"); // its directories have no entries
    archive_add(&a, "../outside", 0100644, "no");
    archive_add(&a, "etc/file/below", 0100644, "no");
    archive_add(&a, "etc/twice", 0100644, "first");
    archive_add(&a, "etc/twice", 0100644, "second!");
    archive_add_link(&a, "hard1", 0100644, NULL, 0, 7, 3);
    archive_add_link(&a, "hard2", 0100644, NULL, 0, 7, 3);
    archive_add_link(&a, "hard3", 0100644, "shared", 6, 7, 3);
    archive_add_link(&a, "alone", 0100644, "other", 5, 8, 2); // its other names are not in the archive
    archive_add(&a, "tmp/given", 0100644, "given");
    archive_add(&a, "dev/pipe", 0010644, NULL);
    archive_end(&a);
    tree_init(a.data, a.len);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    arena_teardown(TREE_PAGES);
    return 0;
}

static int find_from(struct node *base, const char *path, unsigned flags, struct node **ret)
{
    return tree_find(base, path, strlen(path), flags, ret);
}

static struct node *must_find(const char *path)
{
    struct node *node = NULL;
    assert_int_equal(find_from(NULL, path, 0, &node), 0);
    assert_non_null(node);
    return node;
}

static void assert_holds(const char *path, const char *text)
{
    struct node *node = must_find(path);
    assert_int_equal(node->size_bytes, strlen(text));
    assert_memory_equal(node->data, text, strlen(text));
}

static void assert_fails(const char *path, int rc)
{
    struct node *node;
    assert_int_equal(find_from(NULL, path, 0, &node), rc);
}

static void files_of_the_archive_are_found_however_the_path_is_written(void **state)
{
    (void)state;
    assert_holds("/etc/file", "text");
    assert_holds("etc/file", "text");
    assert_holds("//etc/.//file", "text");
    assert_holds("/etc/../etc/../../etc/file", "text");
    assert_holds("/deep/er/implied", "x");
    assert_int_equal(must_find("/etc")->permissions, 0700);
    assert_int_equal(must_find("/etc/")->kind, NODE_DIRECTORY);
    assert_ptr_equal(must_find("/"), tree_root());
}

static void symbolic_links_are_followed(void **state)
{
    (void)state;
    assert_holds("/etc/link", "text");
    assert_holds("/etc/absolute", "text");
    assert_holds("/etc/to-dir/implied", "x");
    assert_holds("/etc/to-dir/../er/implied", "x");
    struct node *node;
    assert_int_equal(find_from(NULL, "/etc/link", TREE_NO_FOLLOW, &node), 0);
    assert_int_equal(node->kind, NODE_SYMLINK);
    assert_int_equal(find_from(NULL, "/etc/to-dir/", TREE_NO_FOLLOW, &node), 0);
    assert_int_equal(node->kind, NODE_DIRECTORY);
}

static void what_is_not_there_has_its_error(void **state)
{
    (void)state;
    assert_fails("/etc/none", -ENOENT);
    assert_fails("/none/file", -ENOENT);
    assert_fails("/etc/file/x", -ENOTDIR);
    assert_fails("/etc/file/", -ENOTDIR);
    assert_fails("/etc/link/", -ENOTDIR);
    assert_fails("/etc/loop1", -ELOOP);
    assert_fails("/etc/empty-link", -ENOENT);
    assert_fails("", -ENOENT);
    assert_fails("/outside", -ENOENT);
    assert_fails("/etc/file/below", -ENOTDIR);
    assert_fails("/dev/pipe", -ENOENT);
    static char longest[TREE_PATH_MAX + 1];
    memset(longest, 'x', TREE_PATH_MAX);
    assert_fails(longest, -ENAMETOOLONG);
    longest[300] = 0;
    assert_fails(longest, -ENAMETOOLONG);
}

static void entries_that_cannot_be_placed_are_complained_of(void **state)
{
    (void)state;
    assert_non_null(tree_root());
    assert_string_equal(tree_archive_error(),
                        "an entry was left out: no memory, or a name that is not below the root");
}

static void the_later_of_two_entries_counts(void **state)
{
    (void)state;
    assert_holds("/etc/twice", "second!");
}

static void hard_links_share_the_data_of_the_last(void **state)
{
    (void)state;
    assert_holds("/hard1", "shared");
    assert_holds("/hard2", "shared");
    assert_holds("/hard3", "shared");
    assert_holds("/alone", "other");
}

static void relative_paths_start_at_the_base(void **state)
{
    (void)state;
    struct node *node;
    assert_int_equal(find_from(must_find("/deep"), "er/implied", 0, &node), 0);
    assert_int_equal(find_from(must_find("/deep/er"), "../../etc/file", 0, &node), 0);
    assert_int_equal(find_from(must_find("/deep"), "/etc/file", 0, &node), 0);
    assert_int_equal(find_from(must_find("/etc/file"), "x", 0, &node), -ENOTDIR);
}

static void every_cell_has_its_devices_and_folders(void **state)
{
    (void)state;
    assert_int_equal(must_find("/dev/null")->kind, NODE_DEVICE);
    assert_int_equal(must_find("/dev/urandom")->device, DEVICE_RANDOM);
    assert_int_equal(must_find("/run/env/agent.sock")->kind, NODE_SOCKET);
    assert_true(must_find("/tmp")->writable);
    assert_true(must_find("/tmp/given")->writable);
    assert_true(must_find("/dev/shm")->writable);
    assert_false(must_find("/etc")->writable);
    assert_false(must_find("/dev")->writable);
}

static struct node *make(const char *directory, const char *name, enum node_kind kind)
{
    struct node *node = NULL;
    assert_int_equal(tree_create(must_find(directory), name, strlen(name), kind, 0644, &node), 0);
    return node;
}

static void nodes_are_made_renamed_and_removed_below_tmp(void **state)
{
    (void)state;
    struct node *dir = make("/tmp", "d", NODE_DIRECTORY), *file = make("/tmp/d", "f", NODE_FILE);
    assert_ptr_equal(must_find("/tmp/d/f"), file);
    assert_int_equal(tree_remove(dir), -ENOTEMPTY);
    assert_int_equal(tree_rename(file, must_find("/tmp"), "g", 1), 0);
    assert_ptr_equal(must_find("/tmp/g"), file);
    assert_fails("/tmp/d/f", -ENOENT);
    assert_int_equal(tree_rename(dir, dir, "x", 1), -EINVAL);
    assert_int_equal(tree_remove(dir), 0);
    assert_int_equal(tree_remove(file), 0);
    assert_fails("/tmp/g", -ENOENT);
}

static void nothing_changes_outside_of_writable_folders(void **state)
{
    (void)state;
    struct node *node, *etc = must_find("/etc"), *given = must_find("/tmp/given");
    assert_int_equal(tree_create(etc, "x", 1, NODE_FILE, 0644, &node), -EROFS);
    assert_int_equal(tree_remove(must_find("/etc/file")), -EROFS);
    assert_int_equal(tree_rename(must_find("/etc/file"), must_find("/tmp"), "x", 1), -EROFS);
    assert_int_equal(tree_rename(given, etc, "x", 1), -EROFS);
    assert_int_equal(tree_remove(tree_root()), -EBUSY);
}

static void removed_nodes_live_until_their_last_reference(void **state)
{
    (void)state;
    struct node *dir = make("/tmp", "gone", NODE_DIRECTORY), *node;
    node_ref(dir);
    assert_int_equal(tree_remove(dir), 0);
    char path[16];
    assert_int_equal(tree_path(dir, path, sizeof path), -ENOENT);
    assert_int_equal(tree_create(dir, "x", 1, NODE_FILE, 0644, &node), -ENOENT);
    assert_int_equal(find_from(dir, "..", 0, &node), 0); // no crash, wherever that leads
    node_unref(dir);
}

static void paths_of_directories_are_absolute(void **state)
{
    (void)state;
    char path[16];
    assert_int_equal(tree_path(must_find("/deep/er"), path, sizeof path), 9);
    assert_string_equal(path, "/deep/er");
    assert_int_equal(tree_path(must_find("/deep/er"), path, 9), 9);
    assert_int_equal(tree_path(must_find("/deep/er"), path, 8), -ERANGE);
    assert_int_equal(tree_path(tree_root(), path, 2), 2);
    assert_string_equal(path, "/");
    assert_int_equal(tree_path(tree_root(), path, 1), -ERANGE);
    assert_int_equal(tree_path(tree_root(), path, 0), -ERANGE);
}

static void find_parent_splits_off_the_last_component(void **state)
{
    (void)state;
    struct node *dir;
    const char *name;
    size_t len;
    bool slash;
    assert_int_equal(tree_find_parent(NULL, "/etc/new//", 10, &dir, &name, &len, &slash), 0);
    assert_ptr_equal(dir, must_find("/etc"));
    assert_int_equal(len, 3);
    assert_memory_equal(name, "new", 3);
    assert_true(slash);
    assert_int_equal(tree_find_parent(NULL, "new", 3, &dir, &name, &len, &slash), 0);
    assert_ptr_equal(dir, tree_root());
    assert_int_equal(tree_find_parent(must_find("/etc"), "new", 3, &dir, &name, &len, &slash), 0);
    assert_ptr_equal(dir, must_find("/etc"));
    assert_int_equal(tree_find_parent(NULL, "/", 1, &dir, &name, &len, &slash), -EEXIST);
    assert_int_equal(tree_find_parent(NULL, "etc/..", 6, &dir, &name, &len, &slash), -EEXIST);
    assert_int_equal(tree_find_parent(NULL, "", 0, &dir, &name, &len, &slash), -ENOENT);
    assert_int_equal(tree_find_parent(NULL, "none/x", 6, &dir, &name, &len, &slash), -ENOENT);
    assert_int_equal(tree_find_parent(NULL, "etc/file/x", 10, &dir, &name, &len, &slash), -ENOTDIR);
}

static void thousands_of_names_in_one_folder_stay_findable(void **state)
{
    (void)state;
    char name[16];
    struct node *made[3000];
    for (int i = 0; i < 3000; i++)
        made[i] = (snprintf(name, sizeof name, "n%d", i), make("/tmp", name, NODE_FILE));
    uint64_t place = 0;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_ptr_equal(tree_child(must_find("/tmp"), name, strlen(name)), made[i]);
        assert_true(made[i]->place > place);
        place = made[i]->place;
    }
    for (int i = 0; i < 3000; i++)
        assert_int_equal(tree_remove(made[i]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_the_archive_are_found_however_the_path_is_written),
        cmocka_unit_test(symbolic_links_are_followed),
        cmocka_unit_test(what_is_not_there_has_its_error),
        cmocka_unit_test(entries_that_cannot_be_placed_are_complained_of),
        cmocka_unit_test(the_later_of_two_entries_counts),
        cmocka_unit_test(hard_links_share_the_data_of_the_last),
        cmocka_unit_test(relative_paths_start_at_the_base),
        cmocka_unit_test(every_cell_has_its_devices_and_folders),
        cmocka_unit_test(nodes_are_made_renamed_and_removed_below_tmp),
        cmocka_unit_test(nothing_changes_outside_of_writable_folders),
        cmocka_unit_test(removed_nodes_live_until_their_last_reference),
        cmocka_unit_test(paths_of_directories_are_absolute),
        cmocka_unit_test(find_parent_splits_off_the_last_component),
        cmocka_unit_test(thousands_of_names_in_one_folder_stay_findable),
    };
    return cmocka_run_group_tests_name("tree", tests, group_setup, group_teardown);
}
