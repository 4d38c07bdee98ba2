// A connection on a live server: any bytes, in any pieces, against every kind of handler. The invariants: as
// many on_gone as requests that were left without an answer, bodies within their limit, and nothing is left
// behind.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/event.h>

#include "http/conn.h"

#define BODY_MAX 64

struct counts {
    struct http_server *server;
    uint64_t deferred; // id of the last deferred request
    int n_open;        // requests with an on_gone that were neither answered nor told
};

static void on_gone(void *arg)
{
    struct counts *c = arg;
    if (--c->n_open < 0)
        abort();
}

static void on_echo(void *arg, struct http_request *req)
{
    size_t len;
    const void *body = http_request_body(req, &len);
    (void)arg;
    if (len > BODY_MAX)
        abort();
    http_reply_bytes(req, 200, "text/plain", body ? body : "", len);
}

static void on_defer(void *arg, struct http_request *req)
{
    struct counts *c = arg;
    c->deferred = http_request_id(req);
    c->n_open++;
    http_request_on_gone(req, on_gone, c);
}

static void on_data(void *arg, struct http_request *req, const void *data, size_t len)
{
    (void)arg;
    if (((const char *)data)[len - 1] == 'p')
        http_body_pause(req);
    if (((const char *)data)[0] == 'r') {
        ((struct counts *)arg)->n_open--;
        http_reply_empty(req, 409);
    }
}

static void on_end(void *arg, struct http_request *req)
{
    ((struct counts *)arg)->n_open--;
    http_reply_empty(req, 204);
}

static void on_upload(void *arg, struct http_request *req)
{
    static const struct http_body_ops ops = {on_data, on_end};
    on_defer(arg, req);
    http_body_start(req, &ops, arg);
}

static void on_writable(void *arg, struct http_request *req)
{
    (void)arg;
    (void)http_stream_write(req, "tick", 4);
}

static void on_stream(void *arg, struct http_request *req)
{
    on_defer(arg, req);
    http_stream_start(req, 200, "text/plain", on_writable, arg);
}

static void on_upgrade(void *arg, struct http_request *req)
{
    (void)arg;
    struct bufferevent *bev = http_upgrade(req, "raw");
    if (bev)
        bufferevent_free(bev);
    else
        http_reply_problem(req, 400, "no-upgrade", NULL, "ask for raw");
}

static const struct http_route ROUTES[] = {
    {"GET", "/e", HTTP_BODY_NONE, 0, on_echo},   {"PUT", "/e/{x}", HTTP_BODY_COLLECT, BODY_MAX, on_echo},
    {"GET", "/d", HTTP_BODY_NONE, 0, on_defer},  {"PUT", "/u", HTTP_BODY_STREAM, BODY_MAX, on_upload},
    {"GET", "/s", HTTP_BODY_NONE, 0, on_stream}, {"GET", "/r", HTTP_BODY_NONE, 0, on_upgrade},
};

// What the daemon does meanwhile: 0 nothing, 1 resumes, 2 answers, 3 aborts.
static void act(struct counts *c, unsigned what)
{
    struct http_request *req = http_request_find(c->server, c->deferred);
    if (!req || what == 0)
        return;
    if (what == 1) {
        http_body_resume(req);
        return;
    }
    c->n_open--;
    if (req->conn->state != CONN_STREAM)
        http_reply_empty(req, 204);
    else if (what == 2)
        http_stream_end(req);
    else
        http_stream_abort(req);
}

static void drop_output(int fd)
{
    char sink[4096];
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
        ;
}

// Chunks of input: a byte that says how long the piece is and what happens after it, then the piece.
static void feed(struct event_base *base, struct counts *c, int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t len = (size_t)(*data & 0x3f) * 4 + 1;
        unsigned what = *data >> 6;
        data++;
        size--;
        len = len < size ? len : size;
        if (send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        data += len;
        size -= len;
        event_base_loop(base, EVLOOP_NONBLOCK);
        act(c, what);
        event_base_loop(base, EVLOOP_NONBLOCK);
        drop_output(fd);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event_base *base;
    struct counts c = {0};
    int fds[2];
    if (!base)
        base = event_base_new();
    const struct http_server_config config = {.base = base,
                                              .routes = ROUTES,
                                              .n_routes = sizeof ROUTES / sizeof ROUTES[0],
                                              .arg = &c,
                                              .limits.connections = 1};
    struct err err;
    const struct http_peer peer = {.has_credentials = false};
    if (http_server_new(&config, &c.server, &err) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    struct bufferevent *bev = bufferevent_socket_new(base, fds[0], BEV_OPT_CLOSE_ON_FREE);
    if (http_conn_open(c.server, 0, bev, &peer, &c.server->slots[0]) < 0)
        abort();
    c.server->stats.connections++;
    feed(base, &c, fds[1], data, size);
    if (size > 0 && data[0] & 1)
        shutdown(fds[1], SHUT_WR);
    event_base_loop(base, EVLOOP_NONBLOCK);
    http_server_free(c.server);
    close(fds[1]);
    if (c.n_open != 0)
        abort();
    return 0;
}
