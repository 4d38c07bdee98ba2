// Archives become trees: paths, links, layers and whiteouts, limits (client/image/layer.c, tree.c, source.c).
#include "../testing.h"

#include <errno.h>
#include <stdio.h>

#include "common/cleanup.h"
#include "image/layer.h"
#include "image/source.h"
#include "tar.h"

struct fixture {
    struct tree tree;
    struct spool spool;
    struct tar tar;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(spool_open(&f->spool, 1 << 20, &f->err), 0);
    assert_int_equal(tree_open(&f->tree, 100, &f->err), 0);
    tar_begin(&f->tar);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tree_close(&f->tree);
    spool_close(&f->spool);
    free(f->tar.data);
    free(f);
    return 0;
}

// Ends the archive, reads it as the next layer, begins another.
static int read_layer(struct fixture *f)
{
    struct archive *a;
    tar_end(&f->tar);
    assert_int_equal(layer_open_memory(f->tar.data, f->tar.len, &a, &f->err), 0);
    f->tree.layer++;
    int rc = layer_read(a, true, &f->tree, &f->spool, &f->err);
    archive_read_free(a);
    free(f->tar.data);
    tar_begin(&f->tar);
    return rc;
}

static void finish(struct fixture *f)
{
    tar_end(&f->tar);
}

static void refused(struct fixture *f, int rc, const char *part_of_reason)
{
    assert_int_equal(read_layer(f), rc);
    if (!strstr(f->err.text, part_of_reason))
        fail_msg("no \"%s\" in: %s", part_of_reason, f->err.text);
    finish(f);
}

static bool is_there(struct fixture *f, const char *path)
{
    return tree_find(&f->tree, path, false) != NULL;
}

static void content_is(struct fixture *f, const char *path, const char *text)
{
    char data[64] = "";
    struct tree_inode *inode = tree_find(&f->tree, path, true);
    assert_non_null(inode);
    assert_true(S_ISREG(inode->mode));
    assert_int_equal(inode->content.size, strlen(text));
    assert_int_equal(spool_read(&f->spool, &inode->content, 0, data, sizeof data), strlen(text));
    assert_string_equal(data, text);
}

static void files_links_and_attributes_are_read(void **state)
{
    struct fixture *f = *state;
    struct archive_entry *e = tar_entry("./etc/a", S_IFREG | 04751);
    archive_entry_set_uid(e, 1234567);
    archive_entry_set_gid(e, 42);
    archive_entry_xattr_add_entry(e, "security.capability", "x\0y", 3);
    archive_entry_xattr_add_entry(e, "odd.name", "z", 1);
    tar_add(&f->tar, e, "abc", 3);
    tar_hardlink(&f->tar, "b", "etc/a");
    tar_symlink(&f->tar, "c", "/etc/a");
    assert_int_equal(read_layer(f), 0);
    const struct tree_inode *a = tree_find(&f->tree, "/etc/a", false);
    assert_int_equal(a->mode, S_IFREG | 04751);
    assert_int_equal(a->uid, 1234567);
    assert_int_equal(a->gid, 42);
    assert_int_equal(a->mtime_s, 1000);
    assert_int_equal(a->n_links, 2);
    assert_ptr_equal(a, tree_find(&f->tree, "b", false));
    assert_ptr_equal(a, tree_find(&f->tree, "c", true));
    assert_string_equal(a->xattrs->name, "security.capability");
    assert_int_equal(a->xattrs->len, 3);
    assert_null(a->xattrs->next);
    content_is(f, "b", "abc");
    finish(f);
}

static void absolute_paths_are_paths_of_the_image(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "//etc/./passwd", "x");
    assert_int_equal(read_layer(f), 0);
    content_is(f, "etc/passwd", "x");
    finish(f);
}

static void paths_that_climb_out_are_refused(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a/../../etc/passwd", "x");
    refused(f, -EINVAL, "climbs out");
}

static void a_path_that_ends_in_dots_is_refused(void **state)
{
    struct fixture *f = *state;
    tar_folder(&f->tar, "a/..");
    refused(f, -EINVAL, "climbs out");
}

static void links_on_the_way_stay_inside_the_image(void **state)
{
    struct fixture *f = *state;
    tar_folder(&f->tar, "tmp");
    tar_symlink(&f->tar, "out", "../../../../tmp");
    tar_symlink(&f->tar, "abs", "/tmp");
    tar_file(&f->tar, "out/one", "1");
    tar_file(&f->tar, "abs/two", "2");
    assert_int_equal(read_layer(f), 0);
    content_is(f, "tmp/one", "1");
    content_is(f, "tmp/two", "2");
    finish(f);
}

static void cycles_of_links_end(void **state)
{
    struct fixture *f = *state;
    tar_symlink(&f->tar, "a", "b");
    tar_symlink(&f->tar, "b", "a");
    tar_file(&f->tar, "a/x", "1");
    refused(f, -ELOOP, "too many symbolic links");
    assert_null(tree_find(&f->tree, "a", true));
}

static void a_hard_link_to_nothing_is_refused(void **state)
{
    struct fixture *f = *state;
    tar_hardlink(&f->tar, "b", "/etc/shadow");
    refused(f, -ENOENT, "not in the image");
}

static void a_hard_link_to_itself_is_kept(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a", "1");
    tar_hardlink(&f->tar, "a", "a");
    assert_int_equal(read_layer(f), 0);
    content_is(f, "a", "1");
    assert_int_equal(tree_find(&f->tree, "a", false)->n_links, 1);
    finish(f);
}

static void files_become_folders_and_back(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a", "1");
    tar_folder(&f->tar, "b");
    tar_file(&f->tar, "b/x", "1");
    assert_int_equal(read_layer(f), 0);
    tar_folder(&f->tar, "a");
    tar_file(&f->tar, "a/y", "2");
    tar_file(&f->tar, "b", "2");
    assert_int_equal(read_layer(f), 0);
    content_is(f, "a/y", "2");
    content_is(f, "b", "2");
    assert_int_equal(f->tree.n_nodes, 3);
    finish(f);
}

static void a_file_on_the_way_is_no_folder(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a", "1");
    tar_file(&f->tar, "a/b", "1");
    refused(f, -ENOTDIR, "no folder");
}

static void a_folder_again_keeps_its_children(void **state)
{
    struct fixture *f = *state;
    tar_folder(&f->tar, "a");
    tar_file(&f->tar, "a/x", "1");
    assert_int_equal(read_layer(f), 0);
    tar_add(&f->tar, tar_entry("a", S_IFDIR | 0700), NULL, 0);
    assert_int_equal(read_layer(f), 0);
    content_is(f, "a/x", "1");
    assert_int_equal(tree_find(&f->tree, "a", false)->mode & 07777, 0700);
    finish(f);
}

static void a_whiteout_hides_what_is_below(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a/x", "1");
    tar_file(&f->tar, "a/y", "1");
    tar_file(&f->tar, "b/c/d", "1");
    assert_int_equal(read_layer(f), 0);
    tar_file(&f->tar, "a/.wh.x", "");
    tar_file(&f->tar, "b/.wh.c", "");
    tar_file(&f->tar, "no/such/.wh.x", "");
    assert_int_equal(read_layer(f), 0);
    assert_false(is_there(f, "a/x"));
    assert_true(is_there(f, "a/y"));
    assert_true(is_there(f, "b"));
    assert_false(is_there(f, "b/c"));
    assert_false(is_there(f, "no"));
    assert_false(is_there(f, "a/.wh.x"));
    finish(f);
}

static void an_opaque_folder_keeps_its_own_layer(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a/x", "1");
    tar_file(&f->tar, "a/deep/old", "1");
    assert_int_equal(read_layer(f), 0);
    tar_file(&f->tar, "a/new", "2"); // before its mark
    tar_file(&f->tar, "a/deep/new", "2");
    tar_file(&f->tar, "a/.wh..wh..opq", "");
    tar_file(&f->tar, "a/later", "2");
    assert_int_equal(read_layer(f), 0);
    assert_false(is_there(f, "a/x"));
    assert_false(is_there(f, "a/deep/old"));
    assert_true(is_there(f, "a/deep/new"));
    assert_true(is_there(f, "a/new"));
    assert_true(is_there(f, "a/later"));
    finish(f);
}

static void a_whiteout_spares_its_own_layer(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a", "1");
    assert_int_equal(read_layer(f), 0);
    tar_file(&f->tar, "a", "2");
    tar_file(&f->tar, ".wh.a", "");
    assert_int_equal(read_layer(f), 0);
    content_is(f, "a", "2");
    finish(f);
}

static void a_whiteout_of_dots_is_refused(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a/.wh...", "");
    refused(f, -EBADMSG, "hides nothing");
}

static void one_of_two_names_can_be_hidden(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "a", "1");
    tar_hardlink(&f->tar, "b", "a");
    assert_int_equal(read_layer(f), 0);
    tar_file(&f->tar, ".wh.a", "");
    tar_hardlink(&f->tar, "c", "b"); // of a lower layer
    assert_int_equal(read_layer(f), 0);
    content_is(f, "c", "1");
    assert_int_equal(tree_find(&f->tree, "b", false)->n_links, 2);
    finish(f);
}

static void too_many_files_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[32];
    for (int i = 0; i < 101; i++) {
        snprintf(name, sizeof name, "f%d", i);
        tar_file(&f->tar, name, "");
    }
    refused(f, -EFBIG, "--max-files");
}

static void too_many_bytes_are_refused_before_they_are_read(void **state)
{
    struct fixture *f = *state;
    struct archive *a;
    tar_file(&f->tar, "bomb", "x");
    tar_end(&f->tar);
    // The size field of a header that begins at the entry (there is no pax header for plain attributes but
    // the time's fraction): 2^50 bytes as a binary number.
    char *header = f->tar.data + f->tar.len;
    for (char *p = f->tar.data; p + 512 <= f->tar.data + f->tar.len; p += 512)
        if (strcmp(p, "bomb") == 0)
            header = p;
    memset(header + 124, 0, 12);
    header[124] = (char)0x80;
    header[129] = 4;
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    assert_int_equal(layer_open_memory(f->tar.data, f->tar.len, &a, &f->err), 0);
    assert_int_equal(layer_read(a, true, &f->tree, &f->spool, &f->err), -EFBIG);
    assert_non_null(strstr(f->err.text, "--max-size"));
    archive_read_free(a);
}

static void deep_nesting_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[4000];
    size_t n = 0;
    f->tree.max_nodes = 10000;
    while (n + 3 < sizeof path)
        n += (size_t)snprintf(path + n, sizeof path - n, "d/");
    tar_folder(&f->tar, path);
    refused(f, -ENAMETOOLONG, "nested too deeply");
}

static void truncated_archives_are_refused(void **state)
{
    struct fixture *f = *state;
    char big[3000];
    memset(big, 'x', sizeof big);
    tar_add(&f->tar, tar_entry("a", S_IFREG | 0644), big, sizeof big);
    tar_end(&f->tar);
    struct archive *a;
    assert_int_equal(layer_open_memory(f->tar.data, 1700, &a, &f->err), 0);
    assert_int_equal(layer_read(a, true, &f->tree, &f->spool, &f->err), -EBADMSG);
    archive_read_free(a);
}

// --- OCI ---

#define CONFIG        "{\"os\":\"linux\",\"architecture\":\"amd64\"}"
#define CONFIG_DIGEST "2a95ba9bb9cfd1a1c5fcbb1f9d5e5d2a8b7b1b7f5b0b6f0f8f7f6e5d4c3b2a19"

static int read_source(struct fixture *f)
{
    struct source_limits limits = {.max_bytes = 1 << 20, .max_files = 100};
    tar_end(&f->tar);
    tree_close(&f->tree);
    spool_close(&f->spool);
    int rc = source_read_memory(f->tar.data, f->tar.len, &limits, &f->tree, &f->spool, &f->err);
    free(f->tar.data);
    tar_begin(&f->tar);
    tar_end(&f->tar);
    return rc;
}

static void a_blob_with_another_digest_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[128], index[400];
    snprintf(path, sizeof path, "blobs/sha256/" CONFIG_DIGEST);
    snprintf(index, sizeof index, "{\"manifests\":[{\"digest\":\"sha256:" CONFIG_DIGEST "\",\"size\":%zu}]}",
             strlen(CONFIG));
    tar_file(&f->tar, "oci-layout", "{}");
    tar_file(&f->tar, path, CONFIG);
    tar_file(&f->tar, "index.json", index);
    assert_int_equal(read_source(f), -EBADMSG);
    assert_non_null(strstr(f->err.text, "has the digest"));
}

static void an_index_without_our_platform_is_refused(void **state)
{
    struct fixture *f = *state;
    tar_folder(&f->tar, "blobs");
    tar_file(&f->tar, "index.json",
             "{\"manifests\":[{\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}}]}");
    assert_int_equal(read_source(f), -EINVAL);
    assert_non_null(strstr(f->err.text, "0 images for linux/amd64"));
}

static void a_saved_image_without_its_layer_is_refused(void **state)
{
    struct fixture *f = *state;
    tar_file(&f->tar, "manifest.json", "[{\"Layers\":[\"x/layer.tar\"]}]");
    assert_int_equal(read_source(f), -ENOENT);
    assert_non_null(strstr(f->err.text, "x/layer.tar"));
}

static void a_root_file_system_with_an_index_is_no_oci_image(void **state)
{
    struct fixture *f = *state;
    tar_folder(&f->tar, "etc");
    tar_folder(&f->tar, "blobs");
    tar_file(&f->tar, "index.json", "{}");
    assert_int_equal(read_source(f), 0);
    content_is(f, "index.json", "{}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_links_and_attributes_are_read),
        TEST(absolute_paths_are_paths_of_the_image),
        TEST(paths_that_climb_out_are_refused),
        TEST(a_path_that_ends_in_dots_is_refused),
        TEST(links_on_the_way_stay_inside_the_image),
        TEST(cycles_of_links_end),
        TEST(a_hard_link_to_nothing_is_refused),
        TEST(a_hard_link_to_itself_is_kept),
        TEST(files_become_folders_and_back),
        TEST(a_file_on_the_way_is_no_folder),
        TEST(a_folder_again_keeps_its_children),
        TEST(a_whiteout_hides_what_is_below),
        TEST(an_opaque_folder_keeps_its_own_layer),
        TEST(a_whiteout_spares_its_own_layer),
        TEST(a_whiteout_of_dots_is_refused),
        TEST(one_of_two_names_can_be_hidden),
        TEST(too_many_files_are_refused),
        TEST(too_many_bytes_are_refused_before_they_are_read),
        TEST(deep_nesting_is_refused),
        TEST(truncated_archives_are_refused),
        TEST(a_blob_with_another_digest_is_refused),
        TEST(an_index_without_our_platform_is_refused),
        TEST(a_saved_image_without_its_layer_is_refused),
        TEST(a_root_file_system_with_an_index_is_no_oci_image),
    };
    return cmocka_run_group_tests_name("image_layer", tests, NULL, NULL);
}
