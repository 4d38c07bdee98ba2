// The HTTP/1.1 server: listeners, routes, requests and replies. Called by main (to listen) and api/ (to
// serve); knows no noun of the product. One thread: everything here belongs to the event loop's.
//
// A handler gets a request once its head (and, for HTTP_BODY_COLLECT, its body) has been read and validated.
// It replies at once, or keeps http_request_id() and replies later through http_request_find(). A struct
// http_request * is valid only until the callback that received it returns: across asynchronous hops keep the
// id. One request at a time runs on a connection; the server stops reading while it runs.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "http/request.h"

struct event_base;
struct http_server;

enum http_body_mode {
    HTTP_BODY_NONE,    // a body is refused with 400
    HTTP_BODY_COLLECT, // read whole before the handler runs, at most body_max bytes, else 413
    HTTP_BODY_STREAM,  // the handler runs at the head and calls http_body_start(), or replies without reading
                       // it
};

typedef void http_handler(void *arg, struct http_request *req);

// A pattern is "/" and segments; {name} matches one segment and becomes a parameter: "/v1/tenants/{tenant}".
// HEAD is served by the GET route. An unknown path gets 404, a known one with another method 405 and Allow.
struct http_route {
    const char *method;
    const char *pattern;
    enum http_body_mode body;
    uint64_t body_max; // bytes
    http_handler *handler;
};

// Limits; a zero takes the default. Deadlines are total, not per read: bodies and replies must move
// window_bytes in each window_ms (or all that is left), time in which the server itself is not ready does not
// count.
struct http_limits {
    uint32_t connections;         // 1024; at the cap a client is answered 503 and closed
    uint32_t connections_per_uid; // 512, so that one local user cannot take them all
    uint32_t head_ms;             // 10 s from a request's first byte to the end of its head
    uint32_t idle_ms;             // 60 s between requests
    uint32_t window_ms;           // 20 s
    uint32_t window_bytes;        // 1 MiB
    uint32_t stream_buffer;       // 256 KiB: http_stream_write() refuses beyond it
};

struct http_server_config {
    struct event_base *base;
    const struct http_route *routes; // outlives the server
    size_t n_routes;
    void *arg; // handed to handlers and admit
    // Optional. Runs after routing, before any of the body is read (and before 100 Continue). To refuse, it
    // replies; the handler does not run then.
    http_handler *admit;
    struct http_limits limits;
};

struct http_server_stats {
    uint64_t accepted;          // connections
    uint64_t refused_cap;       // connections closed at the connection cap
    uint64_t refused_resources; // times that descriptors or memory ran out while accepting
    uint64_t requests;
    uint64_t bad_requests; // refused by the codec
    uint64_t timeouts;     // connections closed by a deadline
    uint32_t connections;  // now
};

// 0 and *ret, or -errno. -EINVAL names the first bad route. SIGPIPE is ignored in the whole process from then
// on.
int http_server_new(const struct http_server_config *config, struct http_server **ret, struct err *err);
// Closes listeners and connections; on_gone of running requests is called. Accepts NULL.
void http_server_free(struct http_server *server);
// Listens on a Unix socket, made with mode; a stale socket file is replaced, one that answers is -EADDRINUSE.
// gid: the file's group, or (gid_t)-1 to leave it. The file is removed by http_server_free().
int http_server_listen_unix(struct http_server *server, const char *path, mode_t mode, gid_t gid,
                            struct err *err);
void http_server_get_stats(const struct http_server *server, struct http_server_stats *ret);
