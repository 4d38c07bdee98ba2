// Tests of the database file: what opening refuses and says, a full disk, a kill at any moment
// (server/daemon/store).
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void closed(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void sql(struct fixture *f, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void assert_refused(struct fixture *f, int rc, const char *part)
{
    struct err err = {.text = ""};
    assert_int_equal(fixture_open(f, &err), rc);
    if (!strstr(err.text, part) || !strstr(err.text, f->path))
        fail_msg("\"%s\" does not say \"%s\" and the path", err.text, part);
}

static void the_file_is_private(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void open_refuses_what_is_no_database(void **state)
{
    struct fixture *f = *state;
    closed(f);
    write_file(f->path,
               "This is a letter to a friend, and long enough to be mistaken for a header of a database, "
               "were it not for its first words.");
    assert_refused(f, -EBADMSG, "not a store");
}

static void open_refuses_another_programs_database_and_leaves_it_alone(void **state)
{
    struct fixture *f = *state;
    closed(f);
    unlink(f->path);
    sql(f, "CREATE TABLE bookmarks(url TEXT)");
    assert_refused(f, -EBADMSG, "another program");
    sqlite3 *db;
    char *mode = NULL;
    sqlite3_stmt *stmt;
    sqlite3_open(f->path, &db);
    sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &stmt, NULL);
    sqlite3_step(stmt);
    mode = strdup((const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    assert_string_equal(mode, "delete");
    free(mode);
}

static void open_refuses_a_newer_schema(void **state)
{
    struct fixture *f = *state;
    closed(f);
    sql(f, "PRAGMA user_version = 2");
    assert_refused(f, -EPROTO, "newer envd");
}

static void open_refuses_a_damaged_database(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        char key[32];
        snprintf(key, sizeof key, "environments/acme/e%d", i);
        put(f, key, "0123456789012345678901234567890123456789");
    }
    closed(f);
    int fd = open(f->path, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    assert_int_equal(pwrite(fd, junk, sizeof junk, 4096L * 3), sizeof junk);
    close(fd);
    assert_refused(f, -EBADMSG, "damaged");
}

static void open_refuses_a_store_that_is_open_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct store *first = f->store;
    assert_refused(f, -EBUSY, "second envd");
    f->store = first;
}

static void open_says_what_is_wrong_with_the_path(void **state)
{
    struct fixture *f = *state;
    closed(f);
    char path[96];
    memcpy(path, f->path, sizeof path);
    snprintf(f->path, sizeof f->path, "%s/no/such/store.db", f->dir);
    assert_refused(f, -ENOENT, "No such file or directory");
    memcpy(f->path, path, sizeof path);
}

static void open_refuses_a_folder_in_place_of_a_file(void **state)
{
    struct fixture *f = *state;
    closed(f);
    unlink(f->path);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_refused(f, -EISDIR, "Is a directory");
    rmdir(f->path);
}

// --- a full disk: a tmpfs of its own, in a mount namespace that dies with the child ---

#define SKIP_STATUS 77

static void enter_small_disk(const char *dir)
{
    int flags = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (unshare(flags) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", dir, "tmpfs", 0, "size=1m") < 0)
        _exit(SKIP_STATUS);
}

static int fill(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    char block[4096] = {0};
    while (write(fd, block, sizeof block) > 0)
        ;
    return close(fd);
}

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "full disk: not so: %s\n", #condition);                                          \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static void full_disk_story(struct fixture *f)
{
    enter_small_disk(f->dir);
    char filler[128];
    struct err err;
    struct store_result result;
    snprintf(filler, sizeof filler, "%s/filler", f->dir);
    f->base = event_base_new();
    CHECK(fixture_open(f, &err) == 0);
    CHECK(put(f, "before", "1") == 0);
    fill(filler);
    struct store_txn *txn = store_txn_new(f->store);
    char *big = calloc(1, 100000);
    store_txn_put(txn, "during", big, 100000);
    free(big);
    CHECK(commit(f, txn, &result) == -ENOSPC);
    CHECK(strstr(result.err.text, "no space left"));
    CHECK(!store_get(f->store, "during") && store_revision(f->store) == 1);
    unlink(filler);
    CHECK(put(f, "after", "2") == 0);
    fixture_reopen(f);
    CHECK(store_get(f->store, "before") && store_get(f->store, "after") && !store_get(f->store, "during"));
    CHECK(store_revision(f->store) == 2);
    store_close(f->store);
    event_base_free(f->base);
}

static void a_full_disk_fails_the_transaction_and_is_survived(void **state)
{
    struct fixture *f = *state;
    closed(f);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        full_disk_story(f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIP_STATUS) {
        print_message("SKIPPED: no rights to mount a small file system in an own namespace\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

// --- a kill at any moment ---

static void report(void *arg, const struct store_result *result)
{
    int *pipe_fd = arg;
    if (result->rc < 0 || write(*pipe_fd, &result->revision, sizeof result->revision) < 0)
        _exit(1);
}

// Commits without end, several at once, and reports each acknowledged revision; revision r wrote key r.
static void commit_until_killed(struct fixture *f, int pipe_fd)
{
    struct err err;
    f->base = event_base_new();
    if (fixture_open(f, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
    for (uint64_t r = store_revision(f->store) + 1;; r++) {
        struct store_txn *txn = store_txn_new(f->store);
        char key[32];
        snprintf(key, sizeof key, "k%llu", (unsigned long long)r);
        store_txn_put(txn, key, key, strlen(key));
        store_txn_commit(txn, report, &pipe_fd);
        event_base_loop(f->base, r % 3 ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
    }
}

// Returns the newest revision that the child reported before it died.
static uint64_t run_and_kill(struct fixture *f, long after_us)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        commit_until_killed(f, fds[1]);
    close(fds[1]);
    uint64_t revision = 0, newest = 0;
    assert_int_equal(read(fds[0], &newest, sizeof newest), sizeof newest); // it is under way
    nanosleep(&(struct timespec){.tv_nsec = after_us * 1000}, NULL);
    kill(pid, SIGKILL);
    while (read(fds[0], &revision, sizeof revision) == sizeof revision)
        newest = revision;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return newest;
}

static void what_was_acknowledged_survives_sigkill_at_any_moment(void **state)
{
    struct fixture *f = *state;
    closed(f);
    srandom((unsigned)getpid());
    for (int round = 0; round < 12; round++) {
        uint64_t acknowledged = run_and_kill(f, random() % 40000);
        struct err err;
        if (fixture_open(f, &err) < 0)
            fail_msg("%s", err.text);
        assert_true(store_revision(f->store) >= acknowledged);
        // Nothing is missing, and nothing is there by half.
        assert_int_equal(store_count(f->store, "k"), store_revision(f->store));
        for (uint64_t r = 1; r <= store_revision(f->store); r++) {
            char key[32];
            snprintf(key, sizeof key, "k%llu", (unsigned long long)r);
            assert_non_null(store_get(f->store, key));
            assert_int_equal(store_get(f->store, key)->revision, r);
        }
        closed(f);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(the_file_is_private),
        T(open_refuses_what_is_no_database),
        T(open_refuses_another_programs_database_and_leaves_it_alone),
        T(open_refuses_a_newer_schema),
        T(open_refuses_a_damaged_database),
        T(open_refuses_a_store_that_is_open_elsewhere),
        T(open_says_what_is_wrong_with_the_path),
        T(open_refuses_a_folder_in_place_of_a_file),
        T(a_full_disk_fails_the_transaction_and_is_survived),
        T(what_was_acknowledged_survives_sigkill_at_any_moment),
    };
    return cmocka_run_group_tests_name("store/file", tests, NULL, NULL);
}
