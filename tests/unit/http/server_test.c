// Tests of the listener, the caps, the deadlines and the route table (server/daemon/http: server.c, conn.c,
// route.c).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "fixture.h"

static void assert_has(const char *got, const char *part)
{
    if (!strstr(got, part))
        fail_msg("\"%s\" has no \"%s\"", got, part);
}

static struct http_server_stats stats_of(struct fixture *f)
{
    struct http_server_stats stats;
    http_server_get_stats(f->server, &stats);
    return stats;
}

// --- listening ---

static void the_socket_has_the_mode_asked_for_and_goes_with_the_server(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    fixture_start(f);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    http_server_free(f->server);
    f->server = NULL;
    assert_int_equal(stat(f->path, &st), -1);
}

static int listen_again(struct fixture *f, struct http_server **ret, struct err *err)
{
    const struct http_server_config config = {
        .base = f->base, .routes = FIXTURE_ROUTES, .n_routes = FIXTURE_N_ROUTES};
    assert_int_equal(http_server_new(&config, ret, err), 0);
    return http_server_listen_unix(*ret, f->path, 0600, (gid_t)-1, err);
}

static void a_socket_that_is_in_use_is_not_taken_over(void **state)
{
    struct fixture *f = *state;
    struct http_server *second;
    struct err err;
    fixture_start(f);
    assert_int_equal(listen_again(f, &second, &err), -EADDRINUSE);
    assert_has(err.text, "is envd running already?");
    assert_has(err.text, f->path);
    http_server_free(second);
    close(client_connect(f)); // the first goes on
}

static void a_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct http_server *server;
    struct err err;
    fixture_start(f);
    char saved[128];
    snprintf(saved, sizeof saved, "%s/saved", f->dir);
    assert_int_equal(rename(f->path, saved), 0); // survives the server, as after a crash
    http_server_free(f->server);
    assert_int_equal(rename(saved, f->path), 0);
    assert_int_equal(listen_again(f, &server, &err), 0);
    f->server = server;
    close(client_connect(f));
}

static void another_file_in_the_sockets_place_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct err err;
    close(open(f->path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(listen_again(f, &f->server, &err), -EEXIST);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    char path[200];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    const struct http_server_config config = {
        .base = f->base, .routes = FIXTURE_ROUTES, .n_routes = FIXTURE_N_ROUTES};
    assert_int_equal(http_server_new(&config, &f->server, &err), 0);
    assert_int_equal(http_server_listen_unix(f->server, path, 0600, (gid_t)-1, &err), -ENAMETOOLONG);
}

// --- routes ---

static void handle_nothing(void *arg, struct http_request *req)
{
    (void)arg;
    http_reply_empty(req, 204);
}

static int check_routes(struct fixture *f, const struct http_route *routes, size_t n, struct err *err)
{
    struct http_server *server = NULL;
    const struct http_server_config config = {.base = f->base, .routes = routes, .n_routes = n};
    int rc = http_server_new(&config, &server, err);
    http_server_free(server);
    return rc;
}

static void a_malformed_or_hidden_route_is_named(void **state)
{
    struct fixture *f = *state;
    struct err err;
    const struct http_route bad[] = {
        {"GET", "a", HTTP_BODY_NONE, 0, handle_nothing},
        {"GET", "/a/", HTTP_BODY_NONE, 0, handle_nothing},
        {"GET", "//a", HTTP_BODY_NONE, 0, handle_nothing},
        {"GE T", "/a", HTTP_BODY_NONE, 0, handle_nothing},
        {"GET", "/a", HTTP_BODY_NONE, 0, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(check_routes(f, &bad[i], 1, &err), -EINVAL);
    const struct http_route hidden[] = {
        {"GET", "/a/{x}", HTTP_BODY_NONE, 0, handle_nothing},
        {"PUT", "/a/{y}", HTTP_BODY_NONE, 0, handle_nothing},
        {"GET", "/a/{y}", HTTP_BODY_NONE, 0, handle_nothing},
    };
    assert_int_equal(check_routes(f, hidden, 2, &err), 0);
    assert_int_equal(check_routes(f, hidden, 3, &err), -EINVAL);
    assert_has(err.text, "GET /a/{y} is hidden by /a/{x}");
}

// --- caps ---

static void connections_beyond_the_cap_are_told_so(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.connections = 2};
    fixture_start(f);
    int a = client_connect(f), b = client_connect(f);
    run_ms(f, 10);
    const char *got = exchange(f, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_has(got, "HTTP/1.1 503 ");
    assert_has(got, "\"code\":\"too-many-connections\"}");
    assert_int_equal(stats_of(f).refused_cap, 1);
    close(a);
    run_ms(f, 10);
    int c = client_connect(f); // there is room again
    client_send(f, c, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(f, c, "hello");
    close(b);
    close(c);
}

static void one_user_cannot_take_all_connections(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.connections = 10, .connections_per_uid = 1};
    fixture_start(f);
    int a = client_connect(f);
    run_ms(f, 10);
    assert_has(exchange(f, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n"), "HTTP/1.1 503 ");
    close(a);
}

static void running_out_of_descriptors_refuses_rests_and_recovers(void **state)
{
    struct fixture *f = *state;
    fixture_start(f);
    int clients[4], hogs[64];
    size_t n_hogs = 0;
    for (size_t i = 0; i < 4; i++)
        clients[i] = client_connect(f);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)clients[3] + 8;
    setrlimit(RLIMIT_NOFILE, &low);
    while (n_hogs < 64 && (hogs[n_hogs] = dup(clients[0])) >= 0)
        n_hogs++;
    run_ms(f, 100);
    uint64_t exhausted = stats_of(f).refused_resources;
    assert_true(exhausted >= 1 && exhausted <= 3); // it rests instead of spinning
    while (n_hogs > 0)
        close(hogs[--n_hogs]);
    setrlimit(RLIMIT_NOFILE, &before);
    client_send(f, clients[3], "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(f, clients[3], "hello"); // the timer has re-armed the listener
    for (size_t i = 0; i < 4; i++)
        close(clients[i]);
}

// --- deadlines are total ---

// Sends a byte every few milliseconds until the server ends it; returns what it said, NULL if it endured for
// `ms`.
static const char *drip(struct fixture *f, int fd, const char *byte, unsigned ms)
{
    uint64_t end = io_monotonic_ns() + ms * 1000000ull;
    static char got[4096];
    while (io_monotonic_ns() < end) {
        ssize_t ignored = send(fd, byte, 1, MSG_NOSIGNAL);
        (void)ignored;
        run_ms(f, 5);
        ssize_t n = recv(fd, got, sizeof got - 1, 0);
        if (n >= 0) {
            got[n] = '\0';
            return got;
        }
    }
    return NULL;
}

static void a_head_that_drips_is_ended_in_time(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.head_ms = 100};
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "GET /constant HTTP/1.1\r\nHost: h\r\nX: ");
    const char *got = drip(f, fd, "x", 3000);
    assert_non_null(got);
    assert_has(got, "HTTP/1.1 408 ");
    close(fd);
}

static void a_body_that_drips_is_ended_in_time(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.window_ms = 100, .window_bytes = 1000};
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n");
    const char *got = drip(f, fd, "x", 3000);
    assert_non_null(got);
    assert_has(got, "HTTP/1.1 408 ");
    assert_int_equal(f->n_gone, 1);
    assert_int_equal(stats_of(f).timeouts, 1);
    close(fd);
}

static void time_in_which_the_handler_pauses_does_not_count(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.window_ms = 50, .window_bytes = 1000};
    f->pause_each = true;
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    run_ms(f, 200);
    assert_int_equal(f->n_gone, 0);
    f->pause_each = false;
    http_body_resume(http_request_find(f->server, f->id));
    client_send(f, fd, "def");
    client_expect(f, fd, "{\"received\":6}");
    close(fd);
}

static void an_idle_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.idle_ms = 50};
    fixture_start(f);
    int fd = client_connect(f);
    assert_string_equal(client_expect(f, fd, NULL), "");
    close(fd);
}

static void a_reply_that_is_not_read_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.window_ms = 50};
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    run_ms(f, 300);
    assert_int_equal(stats_of(f).timeouts, 1);
    assert_int_equal(stats_of(f).connections, 0);
    close(fd);
}

static void a_stream_without_data_outlives_every_window(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.window_ms = 20, .idle_ms = 20, .head_ms = 20};
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(f, fd, "\r\n\r\n");
    run_ms(f, 200);
    assert_int_equal(f->n_gone, 0);
    assert_int_equal(http_stream_write(http_request_find(f->server, f->id), "x", 1), 0);
    client_expect(f, fd, "1\r\nx\r\n");
    close(fd);
}

static void a_stream_whose_client_stops_reading_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->limits = (struct http_limits){.window_ms = 50};
    fixture_start(f);
    int fd = client_connect(f);
    client_send(f, fd, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_gone, 1);
    assert_int_equal(stats_of(f).timeouts, 1);
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(the_socket_has_the_mode_asked_for_and_goes_with_the_server),
        T(a_socket_that_is_in_use_is_not_taken_over),
        T(a_stale_socket_is_replaced),
        T(another_file_in_the_sockets_place_is_left_alone),
        T(a_path_that_is_too_long_is_refused),
        T(a_malformed_or_hidden_route_is_named),
        T(connections_beyond_the_cap_are_told_so),
        T(one_user_cannot_take_all_connections),
        T(running_out_of_descriptors_refuses_rests_and_recovers),
        T(a_head_that_drips_is_ended_in_time),
        T(a_body_that_drips_is_ended_in_time),
        T(time_in_which_the_handler_pauses_does_not_count),
        T(an_idle_connection_is_closed),
        T(a_reply_that_is_not_read_is_given_up),
        T(a_stream_without_data_outlives_every_window),
        T(a_stream_whose_client_stops_reading_is_given_up),
    };
    return cmocka_run_group_tests_name("http/server", tests, NULL, NULL);
}
