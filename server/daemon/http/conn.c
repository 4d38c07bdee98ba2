// Owns a connection's life: reading, one request at a time, deadlines, noticing a client that leaves,
// closing. Called by libevent, server.c and reply.c; knows no header but what framing needs.
//
// EV_READ stays on with a high watermark of HTTP_LOOK_AHEAD: while a request runs, what the client sends
// stays in the input and the kernel until both are full, and an end of stream is still seen.
#include "http/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>

#include "common/log.h"
#include "http/route.h"

static const struct http_fault FAULT_TIMEOUT = {408, "timeout", "the request took too long to arrive"};
static const struct http_fault FAULT_BODY = {400, "body-not-allowed", "a body where none is taken"};
static const struct http_fault FAULT_TOO_LARGE = {413, "body-too-large",
                                                  "the body is larger than is taken here"};
static const struct http_fault FAULT_MEMORY = {503, "out-of-memory", "no memory for the body"};

enum deadline {
    DEADLINE_NONE,
    DEADLINE_TOTAL,  // so long in this state, whatever happens
    DEADLINE_WINDOW, // some progress in each window
    DEADLINE_PROBE   // none; but look whether the client is still there
};

static const struct {
    bool parses;       // input goes to the parser
    bool needs_client; // a client that leaves ends it; else what is under way is finished
    enum deadline deadline;
} STATES[CONN_STATE_COUNT] = {
    [CONN_IDLE] = {true, true, DEADLINE_TOTAL},     [CONN_HEAD] = {true, true, DEADLINE_TOTAL},
    [CONN_BODY] = {true, true, DEADLINE_WINDOW},    [CONN_WAIT] = {false, true, DEADLINE_PROBE},
    [CONN_STREAM] = {false, true, DEADLINE_WINDOW}, [CONN_FLUSH] = {false, false, DEADLINE_WINDOW},
    [CONN_LINGER] = {false, true, DEADLINE_TOTAL},  [CONN_CLOSING] = {false, false, DEADLINE_NONE},
};

static struct evbuffer *input_of(struct http_conn *conn)
{
    return bufferevent_get_input(conn->bev);
}

static size_t output_len(struct http_conn *conn)
{
    return evbuffer_get_length(bufferevent_get_output(conn->bev));
}

// A streamed body whose handler takes nothing now.
static bool is_held_back(const struct http_conn *conn)
{
    const struct http_request *req = &conn->request;
    return conn->state == CONN_BODY && req->route->body == HTTP_BODY_STREAM &&
           (!req->body_ops.on_data || req->body_paused);
}

// --- states and deadlines ---

static uint32_t state_ms(const struct http_conn *conn)
{
    const struct http_limits *limits = &conn->server->config.limits;
    switch (conn->state) {
    case CONN_IDLE:
        return limits->idle_ms;
    case CONN_HEAD:
        return limits->head_ms;
    case CONN_LINGER:
        return HTTP_LINGER_MS;
    case CONN_WAIT:
        return HTTP_PROBE_MS;
    default:
        return limits->window_ms;
    }
}

static void set_timer(struct http_conn *conn)
{
    uint32_t ms = state_ms(conn);
    struct timeval after = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};
    evtimer_add(conn->timer, &after);
}

// A window asks for window_bytes, or for all there is to write. A body that ends leaves its state instead.
static void start_window(struct http_conn *conn)
{
    uint64_t bytes = conn->server->config.limits.window_bytes;
    conn->moved = 0;
    conn->target = bytes;
    if (conn->state == CONN_BODY && is_held_back(conn))
        conn->target = 0;
    else if (conn->state != CONN_BODY && output_len(conn) < bytes)
        conn->target = output_len(conn);
}

// The only one that turns reading on and off. A high watermark would not do: libevent calls the read callback
// over and over while the input is at it.
static void arm_reading(struct http_conn *conn)
{
    bool takes = (STATES[conn->state].parses && !is_held_back(conn)) || conn->state == CONN_LINGER;
    if (!conn->bev || conn->state == CONN_CLOSING)
        return;
    if (!conn->eof && (takes || evbuffer_get_length(input_of(conn)) < HTTP_LOOK_AHEAD))
        bufferevent_enable(conn->bev, EV_READ);
    else
        bufferevent_disable(conn->bev, EV_READ);
}

// The only writer of conn->state.
static void set_state(struct http_conn *conn, enum conn_state state)
{
    conn->state = state;
    if (STATES[state].deadline == DEADLINE_NONE) {
        evtimer_del(conn->timer);
        return;
    }
    if (STATES[state].deadline == DEADLINE_WINDOW)
        start_window(conn);
    size_t low = state == CONN_STREAM ? conn->server->config.limits.stream_buffer / 4 : 0;
    bufferevent_setwatermark(conn->bev, EV_WRITE, low, 0);
    arm_reading(conn);
    set_timer(conn);
}

void http_conn_kick(struct http_conn *conn)
{
    event_active(conn->later, EV_TIMEOUT, 0);
}

// What http_request_on_gone() promised, outside of any call of the handler's.
static void call_gone(struct http_request *req)
{
    void (*on_gone)(void *arg) = req->on_gone;
    req->owes_gone = false;
    req->on_gone = NULL;
    if (on_gone)
        on_gone(req->on_gone_arg);
}

void http_conn_fail(struct http_conn *conn, const char *why)
{
    if (conn->state == CONN_CLOSING)
        return;
    if (!conn->request.answered)
        conn->request.owes_gone = true;
    log_debug(NULL, "http: connection of uid %ld closed: %s",
              conn->peer.has_credentials ? (long)conn->peer.uid : -1, why);
    if (conn->bev)
        bufferevent_disable(conn->bev, EV_READ | EV_WRITE);
    set_state(conn, CONN_CLOSING);
    http_conn_kick(conn);
}

// --- the end of a request ---

static void forget_request(struct http_conn *conn)
{
    free(conn->request.body);
    conn->request = (struct http_request){.conn = conn};
    http_parser_reset(&conn->parser);
}

// The client may still be sending: closing now would destroy the reply on its way (RFC 9112 9.6).
static void linger(struct http_conn *conn)
{
    if (conn->eof || shutdown(bufferevent_getfd(conn->bev), SHUT_WR) < 0) {
        http_conn_fail(conn, "done");
        return;
    }
    evbuffer_drain(input_of(conn), evbuffer_get_length(input_of(conn)));
    set_state(conn, CONN_LINGER);
}

static void process(struct http_conn *conn);

static void on_flushed(struct http_conn *conn)
{
    if (conn->request.owes_gone)
        call_gone(&conn->request);
    forget_request(conn);
    if (conn->close_after) {
        linger(conn);
        return;
    }
    set_state(conn, CONN_IDLE);
    process(conn);
}

void http_conn_replied(struct http_conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    conn->request.answered = true;
    if (!conn->request.body_done)
        conn->close_after = true;
    set_state(conn, CONN_FLUSH);
}

void http_conn_streaming(struct http_conn *conn)
{
    if (conn->state == CONN_CLOSING)
        return;
    if (!conn->request.body_done)
        conn->close_after = true;
    set_state(conn, CONN_STREAM);
    http_conn_kick(conn);
}

struct bufferevent *http_conn_detach(struct http_conn *conn)
{
    struct bufferevent *bev = conn->bev;
    conn->request.answered = true;
    bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
    evbuffer_remove_cb(bufferevent_get_output(bev), http_conn_count_output, conn);
    conn->bev = NULL;
    http_conn_fail(conn, "upgraded");
    return bev;
}

// --- the parser's events ---

static void refuse(struct http_conn *conn, const struct http_fault *fault)
{
    conn->server->stats.bad_requests++;
    conn->close_after = true;
    void (*on_gone)(void *arg) = conn->request.on_gone;
    http_reply_fault(&conn->request, fault); // forgets on_gone, as for a handler's own reply
    conn->request.on_gone = on_gone;
    if (on_gone) {
        conn->request.owes_gone = true;
        http_conn_kick(conn);
    }
}

static void on_no_route(struct http_conn *conn, const char *allow)
{
    struct http_request *req = &conn->request;
    const struct http_head *head = conn->parser.head;
    if (*allow) {
        http_reply_header(req, "Allow", allow);
        http_reply_problem(req, 405, "method-not-allowed", NULL, "%s is not possible on %s; possible: %s",
                           head->method, head->path, allow);
    } else {
        http_reply_problem(req, 404, "no-such-path", NULL, "nothing is at %s", head->path);
    }
}

static bool has_body(const struct http_head *head)
{
    return head->framing == HTTP_FRAMING_CHUNKED || head->content_length > 0;
}

static void on_head(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_request *req = &conn->request;
    const struct http_head *head = conn->parser.head;
    char allow[HTTP_ALLOW_CAP];
    server->stats.requests++;
    req->id = ++server->last_serial << 16 | conn->slot;
    req->body_done = !has_body(head);
    conn->close_after = head->close;
    req->route = http_route_find(server->config.routes, server->config.n_routes, head, allow);
    if (!req->route) {
        on_no_route(conn, allow);
        return;
    }
    set_state(conn, CONN_BODY);
    if (server->config.admit)
        server->config.admit(server->config.arg, req);
    if (conn->state != CONN_BODY)
        return;
    if (req->route->body == HTTP_BODY_NONE && has_body(head))
        refuse(conn, &FAULT_BODY);
    else if (req->route->body != HTTP_BODY_NONE && head->content_length > req->route->body_max)
        refuse(conn, &FAULT_TOO_LARGE);
    else if (req->route->body == HTTP_BODY_STREAM)
        req->route->handler(server->config.arg, req);
    else
        http_reply_continue(req);
}

static void on_data(struct http_conn *conn, const uint8_t *data, size_t len)
{
    struct http_request *req = &conn->request;
    conn->moved += len;
    req->body_len += len;
    if (req->body_len > req->route->body_max)
        refuse(conn, &FAULT_TOO_LARGE);
    else if (req->route->body == HTTP_BODY_STREAM)
        req->body_ops.on_data(req->body_arg, req, data, len);
    else if (http_request_collect(req, data, len) < 0)
        refuse(conn, &FAULT_MEMORY);
}

static void on_end(struct http_conn *conn)
{
    struct http_request *req = &conn->request;
    req->body_done = true;
    set_state(conn, CONN_WAIT);
    if (req->route->body == HTTP_BODY_STREAM)
        req->body_ops.on_end(req->body_arg, req);
    else
        req->route->handler(conn->server->config.arg, req);
}

// Feeds one contiguous piece of input up to an event. False when there is nothing more to do now.
static bool step(struct http_conn *conn)
{
    struct evbuffer *input = input_of(conn);
    size_t len = evbuffer_get_contiguous_space(input), consumed, data_len = 0;
    const uint8_t *data = NULL;
    if (conn->state == CONN_IDLE) {
        if (len == 0)
            return false;
        set_state(conn, CONN_HEAD);
    }
    enum http_event event = http_parser_next(&conn->parser, len ? evbuffer_pullup(input, (ssize_t)len) : NULL,
                                             len, &consumed, &data, &data_len);
    if (event == HTTP_EVENT_DATA)
        on_data(conn, data, data_len); // the data is in the input: drained afterwards
    evbuffer_drain(input, consumed);
    if (event == HTTP_EVENT_HEAD)
        on_head(conn);
    else if (event == HTTP_EVENT_END)
        on_end(conn);
    else if (event == HTTP_EVENT_BAD)
        refuse(conn, &conn->parser.fault);
    return event != HTTP_EVENT_NONE || evbuffer_get_length(input) > 0;
}

static void process(struct http_conn *conn)
{
    bool more = true;
    while (more && STATES[conn->state].parses && !is_held_back(conn))
        more = step(conn);
    if (conn->eof && STATES[conn->state].parses && !is_held_back(conn))
        http_conn_fail(conn,
                       conn->state == CONN_IDLE ? "the client is done" : "the client left amid a request");
    arm_reading(conn);
}

// --- libevent's callbacks ---

static void on_read(struct bufferevent *bev, void *arg)
{
    struct http_conn *conn = arg;
    (void)bev;
    if (conn->state != CONN_LINGER) {
        process(conn);
        return;
    }
    conn->linger_len += evbuffer_get_length(input_of(conn));
    evbuffer_drain(input_of(conn), evbuffer_get_length(input_of(conn)));
    if (conn->linger_len > HTTP_LINGER_MAX)
        http_conn_fail(conn, "the client sends on after the last reply");
}

static void offer_room(struct http_conn *conn)
{
    struct http_request *req = &conn->request;
    if (conn->state == CONN_STREAM && req->on_writable && http_stream_room(req) > 0)
        req->on_writable(req->on_writable_arg, req);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    struct http_conn *conn = arg;
    (void)bev;
    if (conn->state == CONN_FLUSH && output_len(conn) == 0)
        on_flushed(conn);
    else
        offer_room(conn);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_conn *conn = arg;
    (void)bev;
    if (!(what & BEV_EVENT_EOF)) {
        http_conn_fail(conn, "the connection broke");
        return;
    }
    conn->eof = true;
    if (STATES[conn->state].parses)
        process(conn);
    else if (STATES[conn->state].needs_client)
        http_conn_fail(conn, "the client left");
}

void http_conn_count_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct http_conn *conn = arg;
    (void)output;
    if (conn->state == CONN_FLUSH || conn->state == CONN_STREAM)
        conn->moved += info->n_deleted;
}

// With a full input reading is off.
static bool client_has_left(struct http_conn *conn)
{
    struct pollfd p = {.fd = bufferevent_getfd(conn->bev), .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_deadline(struct http_conn *conn)
{
    conn->server->stats.timeouts += conn->state != CONN_LINGER;
    if (conn->state == CONN_HEAD || conn->state == CONN_BODY)
        refuse(conn, &FAULT_TIMEOUT);
    else
        http_conn_fail(conn, "too slow, or idle for too long");
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct http_conn *conn = arg;
    (void)fd;
    (void)events;
    enum deadline deadline = STATES[conn->state].deadline;
    if (STATES[conn->state].needs_client && !STATES[conn->state].parses && client_has_left(conn)) {
        http_conn_fail(conn, "the client left");
    } else if (deadline == DEADLINE_TOTAL || (deadline == DEADLINE_WINDOW && conn->moved < conn->target)) {
        on_deadline(conn);
    } else {
        start_window(conn);
        set_timer(conn);
    }
}

static void on_later(evutil_socket_t fd, short events, void *arg)
{
    struct http_conn *conn = arg;
    (void)fd;
    (void)events;
    if (conn->request.owes_gone)
        call_gone(&conn->request);
    if (conn->state == CONN_CLOSING) {
        http_conn_free(conn);
        return;
    }
    offer_room(conn);
    if (STATES[conn->state].parses)
        process(conn);
}

// --- making and freeing ---

int http_conn_open(struct http_server *server, size_t slot, struct bufferevent *bev,
                   const struct http_peer *peer, struct http_conn **ret)
{
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        bufferevent_free(bev);
        return -ENOMEM;
    }
    *conn =
        (struct http_conn){.server = server, .slot = slot, .peer = *peer, .bev = bev, .request.conn = conn};
    http_parser_init(&conn->parser);
    conn->later = event_new(server->config.base, -1, 0, on_later, conn);
    conn->timer = evtimer_new(server->config.base, on_timer, conn);
    if (!conn->later || !conn->timer ||
        !evbuffer_add_cb(bufferevent_get_output(bev), http_conn_count_output, conn)) {
        http_conn_free(conn);
        return -ENOMEM;
    }
    bufferevent_setcb(bev, on_read, on_write, on_event, conn);
    set_state(conn, CONN_IDLE);
    bufferevent_enable(bev, EV_WRITE);
    *ret = conn;
    return 0;
}

void http_conn_free(struct http_conn *conn)
{
    if (conn->request.owes_gone || !conn->request.answered)
        call_gone(&conn->request);
    http_server_forget(conn->server, conn);
    if (conn->later)
        event_free(conn->later);
    if (conn->timer)
        event_free(conn->timer);
    if (conn->bev)
        bufferevent_free(conn->bev);
    http_parser_reset(&conn->parser);
    free(conn->request.body);
    free(conn);
}
