// Tests of the journal on a disk that is full: intake is refused with the cause, nothing is lost, forgetting
// works, and it heals when there is room. The small disk is a tmpfs in a mount namespace of the test's own; a
// limit on file sizes is the way that needs no rights.
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

static struct fixture *f;
static char ballast[96];

static int setup(void **state)
{
    (void)state;
    f = fixture_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(f);
    return 0;
}

static bool mount_small_disk(const char *options)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", f->folder, "tmpfs", 0, options) < 0) {
        print_message("SKIPPED: cannot mount a small disk: %s\n", strerror(errno));
        return false;
    }
    snprintf(ballast, sizeof ballast, "%s/ballast", f->folder);
    return true;
}

static uint64_t append_until_refused(uint64_t n)
{
    while (n < 5000 && fixture_append(f, n + 1, 1500) == 0) {
        n++;
        assert_true(fixture_wait(f, n, 5000));
        if (f->failed > 0)
            break;
    }
    return n;
}

static void a_full_disk_refuses_with_its_cause_and_heals(void **state)
{
    (void)state;
    if (!mount_small_disk("size=1m")) {
        skip();
        return;
    }
    int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(posix_fallocate(fd, 0, 512 << 10), 0);
    close(fd);
    fixture_open(f);
    uint64_t n = append_until_refused(0), kept = f->done;
    assert_int_equal(f->state, JOURNAL_FULL);
    assert_int_equal(f->last_rc, -ENOSPC);
    assert_non_null(strstr(fixture_stats(f).why, "No space left"));
    assert_true(kept > 50);
    fixture_forget(f, 1);
    fixture_reopen(f); // still full
    assert_int_equal(f->n_live, kept - 1);
    assert_int_equal(unlink(ballast), 0);
    for (unsigned i = 0; i < 200 && fixture_append(f, n + 1, 1500) < 0; i++)
        fixture_run(f, 20);
    assert_true(fixture_wait(f, 1, 5000));
    assert_int_equal(f->done, 1);
    fixture_reopen(f);
    assert_int_equal(f->n_live, kept);
    fixture_close(f);
    umount(f->folder);
}

static void forgetting_makes_room_on_a_full_disk(void **state)
{
    (void)state;
    if (!mount_small_disk("size=1m")) {
        skip();
        return;
    }
    fixture_open(f);
    uint64_t n = append_until_refused(0), kept = f->done;
    assert_int_equal(f->state, JOURNAL_FULL);
    for (uint64_t i = 1; i <= kept; i++)
        fixture_forget(f, i);
    assert_true(fixture_wait_state(f, JOURNAL_WRITABLE, 5000));
    f->done = f->failed = 0;
    assert_int_equal(fixture_append(f, n + 1, 1500), 0);
    assert_true(fixture_wait(f, 1, 5000));
    assert_int_equal(f->done, 1);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 1);
    fixture_close(f);
    umount(f->folder);
}

static void a_limit_on_file_sizes_is_said(void **state)
{
    (void)state;
    struct rlimit before, small = {.rlim_cur = 1000};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    fixture_open(f);
    if (fixture_append(f, 1, 64) == 0)
        assert_true(fixture_wait(f, 1, 5000));
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(f->done, 0);
    assert_int_equal(f->state, JOURNAL_FULL);
    assert_int_equal(fixture_append(f, 2, 64), -EFBIG);
    assert_true(fixture_wait_state(f, JOURNAL_WRITABLE, 5000));
    f->failed = 0;
    assert_int_equal(fixture_append(f, 3, 64), 0);
    assert_true(fixture_wait(f, 1, 5000));
    assert_int_equal(f->done, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(a_limit_on_file_sizes_is_said),
        TEST(a_full_disk_refuses_with_its_cause_and_heals),
        TEST(forgetting_makes_room_on_a_full_disk),
    };
    return cmocka_run_group_tests_name("journal/full", tests, NULL, NULL);
}
