// Tests of the packing of folders (client/pack.c): read back with libarchive, and byte for byte the same each
// time.
#include "testing.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pack.h"

static char folder[64];

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/envd-pack-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    char path[256];
    snprintf(path, sizeof path, "%s/etc", folder);
    mkdir(path, 0755);
    put("b", "second");
    put("a", "first");
    put("etc/x", "deep");
    snprintf(path, sizeof path, "%s/link", folder);
    return symlink("etc/x", path);
}

static int teardown(void **state)
{
    (void)state;
    static const char *names[] = {"b", "a", "etc/x", "link", "pipe", "etc", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    return 0;
}

static int pack(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    struct err err;
    assert_true(fd >= 0);
    assert_int_equal(pack_folder(folder, fd, &err), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void names_come_sorted_and_with_their_contents(void **state)
{
    (void)state;
    static const char *expected[] = {"a", "b", "etc", "etc/x", "link"};
    int fd = pack();
    struct archive *a = archive_read_new();
    archive_read_support_format_cpio(a);
    assert_int_equal(archive_read_open_fd(a, fd, 4096), ARCHIVE_OK);
    struct archive_entry *e;
    size_t n = 0;
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        assert_true(n < 5);
        assert_string_equal(archive_entry_pathname(e), expected[n]);
        assert_int_equal(archive_entry_uid(e), 0);
        assert_int_equal(archive_entry_mtime(e), 0);
        char data[16] = "";
        if (strcmp(expected[n], "etc/x") == 0) {
            assert_int_equal(archive_read_data(a, data, sizeof data), 4);
            assert_string_equal(data, "deep");
        }
        if (strcmp(expected[n], "link") == 0)
            assert_string_equal(archive_entry_symlink(e), "etc/x");
        n++;
    }
    assert_int_equal(n, 5);
    archive_read_free(a);
    close(fd);
}

static void the_same_files_give_the_same_bytes(void **state)
{
    (void)state;
    int one = pack();
    put("a", "first"); // a new modification time
    int two = pack();
    char x[4096], y[4096];
    ssize_t n = read(one, x, sizeof x);
    assert_true(n > 0);
    assert_int_equal(read(two, y, sizeof y), n);
    assert_memory_equal(x, y, (size_t)n);
    close(one);
    close(two);
}

static void pipes_and_devices_are_refused(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    struct err err;
    assert_int_equal(pack_folder(folder, fd, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/pipe"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_come_sorted_and_with_their_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_files_give_the_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(pipes_and_devices_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("ctl/pack", tests, NULL, NULL);
}
