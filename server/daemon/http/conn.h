// One connection and the request that runs on it. Made by server.c, answered through reply.c; internal to
// http/.
#pragma once

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "http/parse.h"
#include "http/server.h"

#define HTTP_LOOK_AHEAD 65536u // bytes read beyond the request that runs: how a client that leaves is noticed
#define HTTP_EXTRA_CAP  2048u  // reply headers that a handler adds
#define HTTP_LINGER_MS                                                                                       \
    2000u // after a last reply, what the client still sends is read and dropped for so long,
#define HTTP_LINGER_MAX (1u << 20) // and so many bytes of it
#define HTTP_PROBE_MS   1000u

enum conn_state {
    CONN_IDLE,    // between requests
    CONN_HEAD,    // in a request's head
    CONN_BODY,    // in its body
    CONN_WAIT,    // the handler has it, no reply yet
    CONN_STREAM,  // a streamed reply is under way
    CONN_FLUSH,   // the reply is complete and being written
    CONN_LINGER,  // the last reply is written
    CONN_CLOSING, // nothing happens any more; freed by the deferred event
    CONN_STATE_COUNT
};

struct http_request {
    uint64_t id; // 0: none
    struct http_conn *conn;
    const struct http_route *route;
    bool body_done; // read and well-formed
    bool answered;  // a reply was made or a stream ended: the handler is done with it
    bool owes_gone; // on_gone is to be called by the deferred event
    bool body_paused;
    bool continued; // 100 Continue was sent, or is not wanted
    struct http_body_ops body_ops;
    void *body_arg;
    uint64_t body_len; // so far
    uint8_t *body;     // collected
    size_t body_cap;
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    void (*on_writable)(void *arg, struct http_request *req);
    void *on_writable_arg;
    size_t extra_len;
    char extra[HTTP_EXTRA_CAP]; // complete header lines
};

struct http_conn {
    struct http_server *server;
    size_t slot; // in the server's table; part of request ids
    struct http_peer peer;
    struct bufferevent *bev; // NULL after an upgrade
    struct event *later;     // the deferred event: on_gone, freeing, going on after a pause
    struct event *timer;     // the state's deadline
    enum conn_state state;
    struct http_parser parser;
    struct http_request request;
    bool eof;         // the client has shut its side
    bool close_after; // the reply under way is the last
    uint64_t moved;   // bytes in the deadline's window: body bytes in, or reply bytes out
    uint64_t target;  // what the window has to move
    uint64_t linger_len;
};

// Takes bev in any case. 0 or -ENOMEM.
int http_conn_open(struct http_server *server, size_t slot, struct bufferevent *bev,
                   const struct http_peer *peer, struct http_conn **ret);
// At once, without deferring; on_gone of a running request is called. Server shutdown only.
void http_conn_free(struct http_conn *conn);
// The one exit: drops the connection, now dead, and frees it from the loop. why: for the log.
void http_conn_fail(struct http_conn *conn, const char *why);
// The reply is in the output, whole.
void http_conn_replied(struct http_conn *conn);
// A streamed reply's head is in the output.
void http_conn_streaming(struct http_conn *conn);
// The bufferevent is the caller's now.
struct bufferevent *http_conn_detach(struct http_conn *conn);
// Runs the deferred event soon.
void http_conn_kick(struct http_conn *conn);
// The evbuffer callback by which windows see the output shrink; arg is the connection.
void http_conn_count_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg);

// --- server.c's side ---

struct http_server {
    struct http_server_config config;
    struct http_server_stats stats;
    uint64_t last_serial; // of request ids
    struct http_conn **slots;
    struct listener *listener;
};

void http_server_forget(struct http_server *server, struct http_conn *conn);

// --- request.c's side ---

// Adds to the collected body, which body_len already counts. Grows by doubling: a client is believed about
// its Content-Length only as far as it sends. 0 or -ENOMEM.
int http_request_collect(struct http_request *req, const uint8_t *data, size_t len);

// --- reply.c's side ---

// Refuses what the codec found wrong; the connection closes after it.
void http_reply_fault(struct http_request *req, const struct http_fault *fault);
void http_reply_continue(struct http_request *req);
