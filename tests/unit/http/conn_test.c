// Tests of requests, replies and streams over a real socket (server/daemon/http: conn.c, reply.c, request.c,
// route.c).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "fixture.h"

#define CLOSE "Host: h\r\nConnection: close\r\n\r\n"

static int setup(void **state)
{
    fixture_setup(state);
    fixture_start(*state);
    return 0;
}

static void assert_has(const char *got, const char *part)
{
    if (!strstr(got, part))
        fail_msg("\"%s\" has no \"%s\"", got, part);
}

static void assert_status(const char *got, int status)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (strncmp(got, line, strlen(line)) != 0)
        fail_msg("expected %d, got \"%s\"", status, got);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

// --- requests and routes ---

static void a_handler_sees_what_was_sent(void **state)
{
    struct fixture *f = *state;
    const char *got = exchange(
        f, "PUT /things/a%20b?since=3 HTTP/1.1\r\nIf-Match: \"6\"\r\nContent-Length: 4\r\nHost: h\r\n"
           "Connection: close\r\n\r\nbody");
    assert_status(got, 200);
    assert_has(got, "ETag: \"7\"\r\n");
    assert_has(got, "Content-Type: application/json\r\n");
    assert_has(got, "{\"method\":\"PUT\",\"path\":\"/things/a%20b\",\"name\":\"a "
                    "b\",\"since\":\"3\",\"match\":\"\\\"6\\\"\","
                    "\"body\":\"body\"}");
    assert_true(f->peer.has_credentials);
    assert_int_equal(f->peer.uid, getuid());
    assert_int_equal(f->peer.pid, getpid());
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
    struct fixture *f = *state;
    const char *got = exchange(f, "GET /nothing HTTP/1.1\r\n" CLOSE);
    assert_status(got, 404);
    assert_has(got, "Content-Type: application/problem+json");
    assert_has(got, "\"code\":\"no-such-path\"");
    got = exchange(f, "POST /things/x HTTP/1.1\r\n" CLOSE);
    assert_status(got, 405);
    assert_has(got, "Allow: GET, HEAD, PUT, DELETE\r\n");
    assert_status(exchange(f, "GET /things HTTP/1.1\r\n" CLOSE), 404);
    assert_status(exchange(f, "GET /things/x/y HTTP/1.1\r\n" CLOSE), 404);
    assert_status(exchange(f, "GET / HTTP/1.1\r\n" CLOSE), 200);
}

static void head_gets_the_head_of_get(void **state)
{
    struct fixture *f = *state;
    const char *got = exchange(f, "HEAD /constant HTTP/1.1\r\n" CLOSE);
    assert_status(got, 200);
    assert_has(got, "Content-Length: 5\r\n");
    assert_null(strstr(got, "hello"));
}

static void head_of_a_stream_ends_at_its_head(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "HEAD /flood HTTP/1.1\r\nHost: h\r\n\r\nGET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    const char *got = client_expect(f, fd, "hello");
    assert_int_equal(count(got, "HTTP/1.1 200"), 2);
    assert_int_equal(f->n_streamed, 0);
    assert_int_equal(f->n_gone, 1);
    close(fd);
}

static void keep_alive_serves_request_after_request(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    for (int i = 0; i < 3; i++) {
        client_send(f, fd, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_null(strstr(client_expect(f, fd, "hello"), "Connection: close"));
    }
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    const char *got =
        exchange(f, "GET /things/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
                    "PUT /things/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
                    "GET /things/3 HTTP/1.1\r\n" CLOSE);
    const char *one = strstr(got, "\"name\":\"1\""), *two = strstr(got, "\"name\":\"2\"");
    const char *missing = strstr(got, "404"), *three = strstr(got, "\"name\":\"3\"");
    assert_true(one && one < missing && missing < two && two < three);
}

static void a_request_in_single_bytes_is_served(void **state)
{
    struct fixture *f = *state;
    const char *request =
        "PUT /things/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    int fd = client_connect(f);
    for (const char *c = request; *c; c++) {
        client_send(f, fd, (const char[]){*c, '\0'});
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_has(client_expect(f, fd, NULL), "\"body\":\"abc\"");
    close(fd);
}

static void a_client_that_half_closes_gets_its_replies(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /things/1 HTTP/1.1\r\nHost: h\r\n\r\nGET /things/2 HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(fd, SHUT_WR);
    const char *got = client_expect(f, fd, NULL);
    assert_has(got, "\"name\":\"1\"");
    assert_has(got, "\"name\":\"2\"");
    close(fd);
}

// --- bodies ---

static void a_body_over_its_routes_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *got = exchange(f, "PUT /things/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n");
    assert_status(got, 413);
    assert_has(got, "Connection: close");
    char chunked[1400] = "PUT /things/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n";
    memset(chunked + strlen(chunked), 'x', 1001);
    assert_status(exchange(f, chunked), 413);
    assert_int_equal(f->n_handled, 0);
}

static void a_body_where_none_is_taken_is_refused_and_not_run(void **state)
{
    struct fixture *f = *state;
    // The "body" is a request: on a server that leaves it in the stream it would run.
    const char *got = exchange(f, "HEAD /constant HTTP/1.1\r\nHost: h\r\nContent-Length: 37\r\n\r\n"
                                  "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n\r\n");
    assert_status(got, 400);
    assert_int_equal(count(got, "HTTP/1.1"), 1);
    got = exchange(f, "GET /nothing HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(count(got, "HTTP/1.1"), 1);
    assert_int_equal(f->n_handled, 0);
}

static void expect_continue_is_answered_before_the_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "PUT /things/x HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" CLOSE);
    client_expect(f, fd, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(f, fd, "ok");
    assert_has(client_expect(f, fd, NULL), "\"body\":\"ok\"");
    close(fd);
}

static void expect_continue_is_not_granted_to_a_body_that_is_too_large(void **state)
{
    struct fixture *f = *state;
    const char *got =
        exchange(f, "PUT /things/x HTTP/1.1\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n" CLOSE);
    assert_status(got, 413);
}

static void a_streamed_body_reaches_its_handler_in_pieces(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    char *part = calloc(1, 50001);
    memset(part, 'x', 50000);
    client_send(f, fd, part);
    run_until(f, &f->n_handled, 1);
    client_send(f, fd, part);
    free(part);
    assert_has(client_expect(f, fd, "}"), "{\"received\":100000}");
    assert_int_equal(f->n_gone, 0);
    close(fd);
}

static void a_paused_body_holds_the_client_back(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    f->pause_each = true;
    client_send(f, fd, "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
    char block[10000];
    memset(block, 'x', sizeof block);
    size_t sent = 0;
    for (int i = 0; i < 3000; i++) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_true(f->n_body <= 65536);
    assert_true(sent < 2000000); // the rest waits on the client's side
    f->pause_each = false;
    http_body_resume(http_request_find(f->server, f->id));
    while (sent < 10000000) {
        size_t left = 10000000 - sent;
        ssize_t n = send(fd, block, left < sizeof block ? left : sizeof block, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_has(client_expect(f, fd, "}"), "{\"received\":10000000}");
    close(fd);
}

static void a_streamed_body_that_breaks_off_tells_its_handler(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
    run_until(f, &f->n_handled, 1);
    close(fd);
    run_until(f, &f->n_gone, 1);
    assert_null(http_request_find(f->server, f->id));
    assert_int_equal(f->n_body_ended, 0);
}

static void a_malformed_streamed_body_is_refused_and_its_handler_told(void **state)
{
    struct fixture *f = *state;
    const char *got =
        exchange(f, "PUT /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX");
    assert_status(got, 400);
    assert_int_equal(f->n_gone, 1);
    assert_int_equal(f->n_body_ended, 0);
}

static void a_refusal_reaches_a_client_that_is_still_sending(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "PUT /refusing HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc");
    run_until(f, &f->n_handled, 1);
    client_send(f, fd, "more, which nobody reads any longer");
    const char *got = client_expect(f, fd, NULL);
    assert_status(got, 409);
    assert_has(got, "\"type\":\"urn:envd:problem:exists\"");
    close(fd);
}

static void refuse_all(void *arg, struct http_request *req)
{
    (void)arg;
    http_reply_problem(req, 403, "forbidden", json_pack("{s:s}", "who", "you"), "not you");
}

static void admission_comes_before_handler_and_body(void **state)
{
    struct fixture *f = *state;
    http_server_free(f->server);
    f->admit = refuse_all;
    fixture_start(f);
    const char *got =
        exchange(f, "PUT /things/x HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" CLOSE);
    assert_status(got, 403);
    assert_has(got, "\"who\":\"you\"");
    assert_int_equal(f->n_handled, 0);
}

// --- deferred replies ---

static void a_deferred_reply_is_sent_when_it_comes(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /deferred HTTP/1.1\r\nHost: h\r\n\r\nGET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    run_ms(f, 20);
    assert_int_equal(f->n_handled, 1); // the next waits its turn
    http_reply_empty(http_request_find(f->server, f->id), 204);
    assert_null(http_request_find(f->server, f->id));
    const char *got = client_expect(f, fd, "hello");
    assert_status(got, 204);
    assert_int_equal(f->n_gone, 0);
    close(fd);
}

static void a_client_that_goes_during_a_deferred_reply_is_noticed(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /deferred HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    assert_non_null(http_request_find(f->server, f->id));
    assert_null(http_request_find(f->server, f->id + 1));
    assert_null(http_request_find(f->server, 0)); // what "none" is kept as
    close(fd);
    run_until(f, &f->n_gone, 1);
    assert_null(http_request_find(f->server, f->id));
}

static void a_client_that_goes_is_noticed_behind_a_full_input(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /deferred HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    for (int i = 0; i < 100; i++) {
        ssize_t ignored = send(fd, junk, sizeof junk, MSG_NOSIGNAL);
        (void)ignored;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    close(fd);
    run_until(f, &f->n_gone, 1);
}

static void a_handler_that_has_replied_is_not_told_that_its_client_went(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /deferred HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    http_reply_empty(http_request_find(f->server, f->id), 204);
    close(fd);
    run_ms(f, 20);
    assert_int_equal(f->n_gone, 0);
}

static void freeing_the_server_tells_running_requests(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /deferred HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    http_server_free(f->server);
    f->server = NULL;
    assert_int_equal(f->n_gone, 1);
    close(fd);
}

// --- streams ---

static void a_stream_is_chunked_and_ends(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    struct http_request *req = http_request_find(f->server, f->id);
    assert_int_equal(http_stream_write(req, "data: 1\n\n", 9), 0);
    assert_has(client_expect(f, fd, "data: 1"), "Transfer-Encoding: chunked\r\n\r\n9\r\n");
    http_stream_end(req);
    client_expect(f, fd, "0\r\n\r\n");
    client_send(f, fd, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
    client_expect(f, fd, "hello");
    assert_int_equal(f->n_gone, 0);
    close(fd);
}

static void an_aborted_stream_is_seen_as_cut(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    struct http_request *req = http_request_find(f->server, f->id);
    http_stream_write(req, "x", 1);
    client_expect(f, fd, "1\r\nx\r\n");
    http_stream_abort(http_request_find(f->server, f->id));
    assert_null(strstr(client_expect(f, fd, NULL), "0\r\n\r\n"));
    close(fd);
}

static void a_slow_reader_of_a_stream_costs_a_bounded_buffer(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    run_ms(f, 50);
    size_t before = f->n_streamed;
    assert_true(before > 100000 && before < 2000000); // our buffer and the kernel's
    run_ms(f, 50);
    assert_int_equal(f->n_streamed, before);
    char sink[65536];
    for (int i = 0; i < 40; i++) {
        ssize_t ignored = recv(fd, sink, sizeof sink, 0);
        (void)ignored;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_true(f->n_streamed > before); // and goes on when it reads
    close(fd);
    run_until(f, &f->n_gone, 1);
}

static void input_during_a_stream_is_not_taken_in(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    run_until(f, &f->n_handled, 1);
    char block[65536];
    memset(block, 'x', sizeof block);
    size_t taken = 0;
    for (int i = 0; i < 1000; i++) { // 64 MiB on offer
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        taken += n > 0 ? (size_t)n : 0;
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_true(taken < 1 << 20); // the look-ahead and the kernel's buffer
    close(fd);
}

// --- upgrade ---

static void an_upgrade_hands_the_connection_over_with_what_followed(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd,
                "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: envd-exec\r\n\r\nraw");
    assert_status(client_expect(f, fd, "\r\n\r\n"), 101);
    assert_non_null(f->upgraded);
    struct evbuffer *input = bufferevent_get_input(f->upgraded);
    assert_int_equal(evbuffer_get_length(input), 3);
    bufferevent_write(f->upgraded, "pong", 4);
    client_expect(f, fd, "pong");
    close(fd);
}

static void an_upgrade_that_was_not_asked_for_is_none(void **state)
{
    struct fixture *f = *state;
    assert_status(exchange(f, "GET /upgrade HTTP/1.1\r\nUpgrade: envd-exec\r\n" CLOSE), 400);
    assert_null(f->upgraded);
}

// --- what evhttp lets through (the list is in the design's findings) ---

static void requests_that_smuggle_are_refused_once_and_closed(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc"},
        {400, "GET /constant HTTP/1.1\nHost: h\n\n"},
        {400, "GET /constant HTTP/1.1\r\n\r\n"},
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"},
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc"},
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nContent-Length: -0\r\n\r\n"},
        {400, "GET /constant HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"},
        {400, "GET /constant HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n"},
        {400,
         "PUT /things/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"},
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n"},
        {400, "PUT /things/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: "
              "3\r\n\r\n0\r\n\r\n"},
        {400, "GET /cons tant HTTP/1.1\r\nHost: h\r\n\r\n"},
        {505, "GET /constant HTTP/1.9\r\nHost: h\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char twice[1024];
        snprintf(twice, sizeof twice, "%s%s", cases[i].request, "GET /constant HTTP/1.1\r\nHost: h\r\n\r\n");
        const char *got = exchange(f, twice);
        assert_status(got, cases[i].status);
        assert_has(got, "Content-Type: application/problem+json"); // and not HTML
        assert_int_equal(count(got, "Content-Length: "), 1);
    }
    assert_int_equal(f->n_handled, 0);
}

static void a_nul_in_the_head_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "GET /constant HTTP/1.1\r\nHost: h\0\r\n\r\n";
    int fd = client_connect(f);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    assert_status(client_expect(f, fd, NULL), 400);
    close(fd);
}

static void an_endless_chunk_size_is_cut_at_once(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send(f, fd,
                "PUT /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000000000");
    assert_status(client_expect(f, fd, NULL), 400);
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_handler_sees_what_was_sent),
        T(unknown_paths_and_methods_are_told_apart),
        T(head_gets_the_head_of_get),
        T(head_of_a_stream_ends_at_its_head),
        T(keep_alive_serves_request_after_request),
        T(pipelined_requests_are_answered_in_order),
        T(a_request_in_single_bytes_is_served),
        T(a_client_that_half_closes_gets_its_replies),
        T(a_body_over_its_routes_limit_is_refused),
        T(a_body_where_none_is_taken_is_refused_and_not_run),
        T(expect_continue_is_answered_before_the_body),
        T(expect_continue_is_not_granted_to_a_body_that_is_too_large),
        T(a_streamed_body_reaches_its_handler_in_pieces),
        T(a_paused_body_holds_the_client_back),
        T(a_streamed_body_that_breaks_off_tells_its_handler),
        T(a_malformed_streamed_body_is_refused_and_its_handler_told),
        T(a_refusal_reaches_a_client_that_is_still_sending),
        T(admission_comes_before_handler_and_body),
        T(a_deferred_reply_is_sent_when_it_comes),
        T(a_client_that_goes_during_a_deferred_reply_is_noticed),
        T(a_client_that_goes_is_noticed_behind_a_full_input),
        T(a_handler_that_has_replied_is_not_told_that_its_client_went),
        T(freeing_the_server_tells_running_requests),
        T(a_stream_is_chunked_and_ends),
        T(an_aborted_stream_is_seen_as_cut),
        T(a_slow_reader_of_a_stream_costs_a_bounded_buffer),
        T(input_during_a_stream_is_not_taken_in),
        T(an_upgrade_hands_the_connection_over_with_what_followed),
        T(an_upgrade_that_was_not_asked_for_is_none),
        T(requests_that_smuggle_are_refused_once_and_closed),
        T(a_nul_in_the_head_is_refused),
        T(an_endless_chunk_size_is_cut_at_once),
    };
    return cmocka_run_group_tests_name("http/conn", tests, NULL, NULL);
}
