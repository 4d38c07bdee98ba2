// The HTTP server's test fixture: see fixture.h.
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/bufferevent.h>

#include "common/io.h"

#define PATIENCE_NS 10000000000u

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/envd-http-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/s", f->dir);
    f->base = event_base_new();
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    http_server_free(f->server);
    if (f->upgraded)
        bufferevent_free(f->upgraded);
    event_base_free(f->base);
    unlink(f->path);
    rmdir(f->dir);
    free(f);
    return 0;
}

void fixture_start(struct fixture *f)
{
    struct err err;
    const struct http_server_config config = {.base = f->base,
                                              .routes = FIXTURE_ROUTES,
                                              .n_routes = FIXTURE_N_ROUTES,
                                              .arg = f,
                                              .admit = f->admit,
                                              .limits = f->limits};
    if (http_server_new(&config, &f->server, &err) < 0 ||
        http_server_listen_unix(f->server, f->path, 0600, (gid_t)-1, &err) < 0)
        fail_msg("%s", err.text);
}

int client_connect(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

void client_send(struct fixture *f, int fd, const char *text)
{
    size_t len = strlen(text);
    uint64_t start = io_monotonic_ns();
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
            start = io_monotonic_ns();
        } else {
            assert_int_equal(errno, EAGAIN);
            assert_true(io_monotonic_ns() - start < PATIENCE_NS);
            event_base_loop(f->base, EVLOOP_NONBLOCK);
        }
    }
}

const char *client_expect(struct fixture *f, int fd, const char *until)
{
    static char got[1 << 20];
    size_t len = 0;
    uint64_t start = io_monotonic_ns();
    got[0] = '\0';
    for (;;) {
        event_base_loop(f->base, EVLOOP_NONBLOCK);
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, 0);
        if (n > 0) {
            len += (size_t)n;
            got[len] = '\0';
        }
        if (until && strstr(got, until))
            return got;
        if (n == 0 && !until)
            return got;
        if (n == 0)
            fail_msg("the stream ended after \"%s\", expected \"%s\"", got, until);
        if (n < 0 && errno != EAGAIN)
            fail_msg("receive: %s, after \"%s\"", strerror(errno), got);
        if (io_monotonic_ns() - start > PATIENCE_NS)
            fail_msg("waited too long for \"%s\" after \"%s\"", until ? until : "the end", got);
    }
}

const char *exchange(struct fixture *f, const char *request)
{
    int fd = client_connect(f);
    client_send(f, fd, request);
    const char *got = client_expect(f, fd, NULL);
    close(fd);
    return got;
}

static void on_time(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    *(int *)arg = 1;
}

void run_ms(struct fixture *f, unsigned ms)
{
    int over = 0;
    struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};
    struct event *timer = evtimer_new(f->base, on_time, &over);
    evtimer_add(timer, &after);
    while (!over)
        event_base_loop(f->base, EVLOOP_ONCE);
    event_free(timer);
}

void run_until(struct fixture *f, const int *value, int n)
{
    uint64_t start = io_monotonic_ns();
    while (*value < n) {
        assert_true(io_monotonic_ns() - start < PATIENCE_NS);
        run_ms(f, 1);
    }
}
