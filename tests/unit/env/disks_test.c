// The files of environments' disks (server/daemon/env/disks.c), in a folder of their own.
#include "../testing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checked.h"
#include "env/disks.h"

#define UID_A "01890000-0000-7000-8000-00000000000a"
#define MIB   (1 << 20)

static char folder[64];
static struct disks_owner owner = {folder, "acme", "web", UID_A};
static struct err err;
static int fds[DISKS_FDS_MAX];
static size_t n_fds;

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/disks-test-XXXXXX");
    n_fds = 0;
    return mkdtemp(folder) ? 0 : -1;
}

static void close_disks(void)
{
    while (n_fds > 0)
        close(fds[--n_fds]);
}

static int teardown(void **state)
{
    (void)state;
    char path[PATH_MAX];
    close_disks();
    disks_remove(&owner);
    static const char *const inner[] = {"disks", "volumes", ""};
    for (size_t i = 0; i < ARRAY_LEN(inner); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, inner[i]);
        rmdir(path);
    }
    return access(folder, F_OK) == 0 ? -1 : 0; // everything was removed
}

static int base_of(off_t bytes)
{
    int fd = memfd_create("base", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    return fd;
}

static bool there(const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    return access(full, F_OK) == 0;
}

static void disks_are_made_at_their_places_and_sizes(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = base_of(4 * MIB), .bytes = 16 * MIB};
    const struct env_volume volumes[] = {{"data", 8}, {"log", 1}};
    struct stat st;
    assert_int_equal(disks_open(&owner, &root, volumes, 2, fds, &n_fds, &err), 0);
    close(root.base_fd);
    assert_int_equal(n_fds, 3);
    assert_true(there("disks/" UID_A "/root.overlay"));
    assert_true(there("volumes/acme/web/data.raw"));
    assert_int_equal(fstat(fds[0], &st), 0);
    assert_true(st.st_size > 16 * MIB);
    assert_int_equal(fstat(fds[1], &st), 0);
    assert_int_equal(st.st_size, 8 * MIB);
    assert_true(st.st_blocks * 512 < MIB); // sparse
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void what_was_written_is_found_again(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = -1};
    const struct env_volume volume = {"data", 1};
    char text[5] = "";
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    assert_int_equal(n_fds, 1);
    assert_int_equal(pwrite(fds[0], "kept", 4, 4096), 4);
    close_disks();
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    assert_int_equal(pread(fds[0], text, 4, 4096), 4);
    assert_string_equal(text, "kept");
}

static void a_file_that_was_cut_short_is_made_anew(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = -1};
    const struct env_volume volume = {"data", 1};
    char path[PATH_MAX];
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    close_disks();
    snprintf(path, sizeof path, "%s/volumes/acme/web/data.raw", folder);
    char new[PATH_MAX + 8];
    snprintf(new, sizeof new, "%s.new", path);
    assert_int_equal(rename(path, new), 0); // as after a stop of the host while it was made
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    assert_int_equal(access(new, F_OK), -1);
}

static void a_disk_smaller_than_its_image_is_refused_and_leaves_nothing_open(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = base_of(4 * MIB), .bytes = MIB};
    const struct env_volume volume = {"data", 1};
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), -EINVAL);
    close(root.base_fd);
    assert_int_equal(n_fds, 0);
    assert_false(there("disks/" UID_A "/root.overlay"));
    assert_false(there("volumes/acme/web/data.raw"));
}

static void a_link_in_the_place_of_a_volume_is_not_followed(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = -1};
    const struct env_volume volume = {"data", 1};
    char path[PATH_MAX];
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    close_disks();
    snprintf(path, sizeof path, "%s/volumes/acme/web/data.raw", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), -ELOOP);
}

static void removal_takes_all_of_one_environment_and_nothing_else(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = base_of(MIB)};
    const struct env_volume volume = {"data", 1};
    const struct disks_owner other = {folder, "acme", "db", "01890000-0000-7000-8000-00000000000b"};
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    close_disks();
    assert_int_equal(disks_open(&other, &root, &volume, 1, fds, &n_fds, &err), 0);
    close(root.base_fd);
    disks_remove(&owner);
    assert_false(there("disks/" UID_A));
    assert_false(there("volumes/acme/web"));
    assert_true(there("volumes/acme/db/data.raw"));
    disks_remove(&other);
    assert_false(there("volumes/acme"));
}

static bool keep_db(void *arg, const char *tenant, const char *name, const char *uid)
{
    (void)arg;
    (void)tenant;
    return name ? strcmp(name, "db") == 0 : strcmp(uid, UID_A) != 0;
}

static void a_sweep_removes_what_belongs_to_nobody(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = base_of(MIB)};
    const struct env_volume volume = {"data", 1};
    const struct disks_owner other = {folder, "acme", "db", "01890000-0000-7000-8000-00000000000b"};
    assert_int_equal(disks_open(&owner, &root, &volume, 1, fds, &n_fds, &err), 0);
    close_disks();
    assert_int_equal(disks_open(&other, &root, &volume, 1, fds, &n_fds, &err), 0);
    close(root.base_fd);
    disks_sweep(folder, keep_db, NULL);
    assert_false(there("disks/" UID_A));
    assert_false(there("volumes/acme/web"));
    assert_true(there("disks/01890000-0000-7000-8000-00000000000b/root.overlay"));
    assert_true(there("volumes/acme/db/data.raw"));
    disks_remove(&other);
}

static void what_disks_take_grows_with_what_is_written(void **state)
{
    (void)state;
    struct disks_root root = {.base_fd = -1};
    static char block[1 << 16] = "x";
    struct env_spec spec = {.n_volumes = 1, .volumes = {{"data", 4}}};
    assert_int_equal(disks_used_bytes(&owner, &spec), 0);
    assert_int_equal(disks_open(&owner, &root, spec.volumes, 1, fds, &n_fds, &err), 0);
    assert_int_equal(pwrite(fds[0], block, sizeof block, MIB), sizeof block);
    assert_int_equal(fsync(fds[0]), 0);
    assert_true(disks_used_bytes(&owner, &spec) >= sizeof block);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(disks_are_made_at_their_places_and_sizes),
        WITH_FOLDER(what_was_written_is_found_again),
        WITH_FOLDER(a_file_that_was_cut_short_is_made_anew),
        WITH_FOLDER(a_disk_smaller_than_its_image_is_refused_and_leaves_nothing_open),
        WITH_FOLDER(a_link_in_the_place_of_a_volume_is_not_followed),
        WITH_FOLDER(removal_takes_all_of_one_environment_and_nothing_else),
        WITH_FOLDER(a_sweep_removes_what_belongs_to_nobody),
        WITH_FOLDER(what_disks_take_grows_with_what_is_written),
    };
    return cmocka_run_group_tests_name("env_disks", tests, NULL, NULL);
}
