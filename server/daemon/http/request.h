// One request and its reply, as handlers see them. Called by api/; knows no noun of the product. See
// http/server.h for when a handler runs and how long a struct http_request * is valid.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bufferevent;
struct http_request;
struct http_route;
struct http_server;

// Who is at the other end of a Unix socket (SO_PEERCRED at connect time).
struct http_peer {
    bool has_credentials; // false: not a Unix socket
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

// --- the request ---

uint64_t http_request_id(const struct http_request *req); // never 0, never reused
// NULL when the request has been answered or its client is gone.
struct http_request *http_request_find(struct http_server *server, uint64_t id);
// Called at most once, when the request ends before its handler replied or ended its stream (client gone,
// deadline, malformed body, server freed); never after that. Never runs inside another call of this header;
// the request can no longer be found then.
void http_request_on_gone(struct http_request *req, void (*on_gone)(void *arg), void *arg);
const char *http_request_method(const struct http_request *req); // "HEAD" stays "HEAD"
const char *http_request_path(const struct http_request *req);   // as sent, without the query
const struct http_route *http_request_route(const struct http_request *req);
const struct http_peer *http_request_peer(const struct http_request *req);
// Strings below are decoded, without NUL or control characters, valid UTF-8, and live as long as the request.
const char *http_request_param(const struct http_request *req, const char *name); // of the pattern; else NULL
const char *http_request_query(const struct http_request *req,
                               const char *name); // the first of that name, or NULL
size_t http_request_n_query(const struct http_request *req);
void http_request_query_at(const struct http_request *req, size_t i, const char **ret_name,
                           const char **ret_value);
const char *http_request_header(const struct http_request *req,
                                const char *name); // any case; the first, or NULL
// The collected body, not terminated. NULL and 0 when there is none.
const void *http_request_body(const struct http_request *req, size_t *ret_len);
int64_t http_request_content_length(const struct http_request *req); // -1: chunked, not known yet

// --- a streamed body (HTTP_BODY_STREAM) ---

struct http_body_ops {
    void (*on_data)(void *arg, struct http_request *req, const void *data, size_t len); // takes all of it
    void (*on_end)(void *arg, struct http_request *req); // complete and well-formed: reply now or later
};
// From the handler. Replying before on_end stops the body: no further call, and the connection closes after
// the reply.
void http_body_start(struct http_request *req, const struct http_body_ops *ops, void *arg);
void http_body_pause(struct http_request *req); // no on_data until resume; the client is held back
void http_body_resume(struct http_request *req);

// --- the reply: exactly one of http_reply_*, http_stream_start, http_upgrade per request ---

// Adds a header to the coming reply. -EINVAL for a name or value that is not one, -ENOSPC past 2 KiB of them.
int http_reply_header(struct http_request *req, const char *name, const char *value);
void http_reply_json(struct http_request *req, int status,
                     json_t *body); // takes the reference, NULL included (500)
void http_reply_bytes(struct http_request *req, int status, const char *content_type, const void *data,
                      size_t len);
void http_reply_empty(struct http_request *req, int status);
// application/problem+json (RFC 9457): type "urn:envd:problem:CODE", title, status, detail, code, and the
// members of extra, whose reference is taken (NULL: none).
__attribute__((format(printf, 5, 6))) void http_reply_problem(struct http_request *req, int status,
                                                              const char *code, json_t *extra,
                                                              const char *detail_format, ...);

// A chunked reply. on_writable runs from the loop whenever there is room again, and once soon after the
// start. For HEAD the head is sent and the request ends as if its client had gone.
void http_stream_start(struct http_request *req, int status, const char *content_type,
                       void (*on_writable)(void *arg, struct http_request *req), void *arg);
// How many bytes http_stream_write() takes now.
size_t http_stream_room(const struct http_request *req);
// All or nothing: 0, or -EAGAIN when there is no room for len bytes.
int http_stream_write(struct http_request *req, const void *data, size_t len);
void http_stream_end(struct http_request *req);
void http_stream_abort(struct http_request *req); // the client sees a cut reply, not a complete one

// Whether the client asked for that protocol (Connection: upgrade, Upgrade: protocol).
bool http_request_wants_upgrade(const struct http_request *req, const char *protocol);
// Answers 101 and hands the connection's bufferevent over, with any bytes that followed the request in its
// input. NULL when the request did not ask for protocol; then reply otherwise.
struct bufferevent *http_upgrade(struct http_request *req, const char *protocol);
