// Tests of descriptor passing and whole-file reads (server/common/io.c).
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"

static int pair[2];

static int setup(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void descriptors_travel_and_are_close_on_exec(void **state)
{
    (void)state;
    assert_int_equal(io_send_fds(pair[0], "hi", 2, (int[]){pair[0], pair[1]}, 2), 0);
    char data[8];
    int fds[4];
    size_t n_fds = 4;
    assert_int_equal(io_recv_fds(pair[1], data, sizeof data, fds, &n_fds), 2);
    assert_int_equal(n_fds, 2);
    for (size_t i = 0; i < n_fds; i++) {
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        close(fds[i]);
    }
}

static void surplus_descriptors_are_closed_and_refused(void **state)
{
    (void)state;
    int before = open_descriptors();
    assert_int_equal(io_send_fds(pair[0], "hi", 2, (int[]){pair[0], pair[1], pair[0]}, 3), 0);
    char data[8];
    int fds[1];
    size_t n_fds = 1;
    assert_int_equal(io_recv_fds(pair[1], data, sizeof data, fds, &n_fds), -EMSGSIZE);
    assert_int_equal(n_fds, 0);
    assert_int_equal(open_descriptors(), before);
}

static void a_truncated_datagram_is_refused(void **state)
{
    (void)state;
    assert_int_equal(io_send_fds(pair[0], "too long", 8, NULL, 0), 0);
    char data[4];
    size_t n_fds = 0;
    assert_int_equal(io_recv_fds(pair[1], data, sizeof data, NULL, &n_fds), -EMSGSIZE);
}

static void end_of_stream_is_zero(void **state)
{
    (void)state;
    shutdown(pair[0], SHUT_WR);
    char data[4];
    size_t n_fds = 0;
    assert_int_equal(io_recv_fds(pair[1], data, sizeof data, NULL, &n_fds), 0);
}

static void last_words_are_read_though_the_peer_left_ours_unread(void **state)
{
    (void)state;
    assert_int_equal(io_send_fds(pair[0], "quit", 4, NULL, 0), 0);
    assert_int_equal(io_send_fds(pair[1], "bye", 3, NULL, 0), 0);
    close(pair[1]);
    pair[1] = dup(pair[0]); // for teardown
    char data[8];
    size_t n_fds = 0;
    assert_int_equal(io_recv_fds(pair[0], data, sizeof data, NULL, &n_fds), 3);
    assert_int_equal(io_recv_fds(pair[0], data, sizeof data, NULL, &n_fds), 0);
}

static void read_file_refuses_what_does_not_fit(void **state)
{
    (void)state;
    char path[] = "/tmp/envd-io-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, "12345678", 8), 0);
    char data[8];
    assert_int_equal(io_read_file(path, data, 8), 8);
    assert_memory_equal(data, "12345678", 8);
    assert_int_equal(io_read_file(path, data, 7), -EFBIG);
    close(fd);
    unlink(path);
    assert_int_equal(io_read_file(path, data, 8), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(descriptors_travel_and_are_close_on_exec, setup, teardown),
        cmocka_unit_test_setup_teardown(surplus_descriptors_are_closed_and_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_truncated_datagram_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(end_of_stream_is_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(last_words_are_read_though_the_peer_left_ours_unread, setup,
                                        teardown),
        cmocka_unit_test(read_file_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests_name("common/io", tests, NULL, NULL);
}
