// Log files (server/daemon/env/logfile.c).
#include "../testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "env/logfile.h"

#define CAPACITY 8192

static char folder[64];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/envd-logs-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int open_log(void)
{
    struct err err;
    int fd = logfile_open(folder, "acme", "web", CAPACITY, &err);
    assert_true(fd >= 0);
    return fd;
}

// What envvm does: data, then the header.
static void print(int fd, const char *text)
{
    struct logring ring;
    struct logring_span spans[2];
    uint8_t raw[32];
    size_t len = strlen(text), done = 0;
    assert_int_equal(logfile_header(fd, &ring), 0);
    uint64_t from = ring.total;
    ring.total += len;
    size_t n = logring_spans(&ring, from, len, spans);
    for (size_t i = 0; i < n; done += spans[i].len, i++)
        assert_int_equal(pwrite(fd, text + done, spans[i].len, (off_t)spans[i].file_offset), spans[i].len);
    logring_header_write(&ring, raw);
    assert_int_equal(pwrite(fd, raw, sizeof raw, 0), sizeof raw);
}

static void assert_read(int fd, uint64_t from, const char *want)
{
    struct logring ring;
    char text[CAPACITY + 1];
    assert_int_equal(logfile_header(fd, &ring), 0);
    ssize_t n = logfile_read(fd, &ring, &from, text, CAPACITY);
    assert_true(n >= 0);
    text[n] = '\0';
    assert_string_equal(text, want);
}

static uint64_t tail(int fd, uint32_t n_lines)
{
    struct logring ring;
    assert_int_equal(logfile_header(fd, &ring), 0);
    return logfile_tail(fd, &ring, n_lines);
}

static void a_new_log_is_empty_and_its_blocks_are_taken(void **state)
{
    (void)state;
    struct stat st;
    _cleanup_close_ int fd = open_log();
    assert_read(fd, 0, "");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, LOGRING_HEADER + CAPACITY);
    assert_true(st.st_blocks * 512 >= CAPACITY);
    assert_int_equal(st.st_mode & 077, 0);
}

static void what_was_printed_is_read_and_survives_reopening(void **state)
{
    (void)state;
    int fd = open_log();
    print(fd, "hello\n");
    close(fd);
    _cleanup_close_ int again = open_log();
    print(again, "there\n");
    assert_read(again, 0, "hello\nthere\n");
    assert_read(again, 6, "there\n");
    assert_read(again, 12, "");
    assert_read(again, 99, "");
}

static void an_older_byte_means_the_oldest_kept(void **state)
{
    (void)state;
    char line[1001];
    struct logring ring;
    _cleanup_close_ int fd = open_log();
    memset(line, 'x', 999);
    line[999] = '\n';
    line[1000] = '\0';
    for (int i = 0; i < 20; i++)
        print(fd, line);
    uint64_t from = 0;
    char text[CAPACITY];
    assert_int_equal(logfile_header(fd, &ring), 0);
    assert_int_equal(logfile_read(fd, &ring, &from, text, sizeof text), CAPACITY);
    assert_int_equal(from, 20000 - CAPACITY);
}

static void the_last_lines_are_found(void **state)
{
    (void)state;
    _cleanup_close_ int fd = open_log();
    print(fd, "one\ntwo\nthree\n");
    assert_int_equal(tail(fd, 0), 14);
    assert_int_equal(tail(fd, 1), 8);
    assert_int_equal(tail(fd, 2), 4);
    assert_int_equal(tail(fd, 3), 0);
    assert_int_equal(tail(fd, 100), 0);
    print(fd, "unfinished");
    assert_int_equal(tail(fd, 1), 14);
    assert_int_equal(tail(fd, 2), 8);
}

static void a_log_of_another_size_begins_anew(void **state)
{
    (void)state;
    struct err err;
    int fd = open_log();
    print(fd, "old\n");
    close(fd);
    _cleanup_close_ int again = logfile_open(folder, "acme", "web", 2 * CAPACITY, &err);
    assert_true(again >= 0);
    assert_read(again, 0, "");
}

static void a_header_that_lies_is_refused(void **state)
{
    (void)state;
    struct logring ring;
    _cleanup_close_ int fd = open_log();
    static const struct {
        off_t at;
        uint64_t value;
    } lies[] = {{0, 0}, {8, 0}, {8, UINT64_MAX}, {8, 1}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t good[32];
        assert_int_equal(pread(fd, good, sizeof good, 0), sizeof good);
        assert_int_equal(pwrite(fd, &lies[i].value, 8, lies[i].at), 8);
        assert_int_equal(logfile_header(fd, &ring), -EBADMSG);
        assert_int_equal(pwrite(fd, good, sizeof good, 0), sizeof good);
    }
}

static void a_log_that_was_cut_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    struct logring ring;
    uint64_t from = 0;
    char text[CAPACITY];
    _cleanup_close_ int fd = open_log();
    print(fd, "hello\n");
    assert_int_equal(logfile_header(fd, &ring), 0);
    assert_int_equal(ftruncate(fd, LOGRING_HEADER + 2), 0);
    assert_int_equal(logfile_read(fd, &ring, &from, text, sizeof text), 2);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(logfile_header(fd, &ring), -EIO);
}

static void a_removed_log_and_its_folder_are_gone(void **state)
{
    (void)state;
    char path[96];
    close(open_log());
    logfile_remove(folder, "acme", "web");
    assert_int_equal(logfile_open_read(folder, "acme", "web"), -ENOENT);
    snprintf(path, sizeof path, "%s/acme", folder);
    assert_int_equal(access(path, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_empty_and_its_blocks_are_taken),
        TEST(what_was_printed_is_read_and_survives_reopening),
        TEST(an_older_byte_means_the_oldest_kept),
        TEST(the_last_lines_are_found),
        TEST(a_log_of_another_size_begins_anew),
        TEST(a_header_that_lies_is_refused),
        TEST(a_log_that_was_cut_is_read_as_far_as_it_goes),
        TEST(a_removed_log_and_its_folder_are_gone),
    };
    return cmocka_run_group_tests_name("env_logfile", tests, NULL, NULL);
}
