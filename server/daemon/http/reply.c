// Owns what is written to a client: status lines, headers, bodies, chunks, problem documents. Called by api/
// through request.h and by conn.c; the connection's life is conn.c's.
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/checked.h"
#include "http/conn.h"

#define NO_LENGTH ((size_t)-1) // chunked

static const struct {
    int status;
    const char *phrase;
} PHRASES[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {424, "Failed Dependency"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

static const char *phrase_of(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(PHRASES); i++)
        if (PHRASES[i].status == status)
            return PHRASES[i].phrase;
    return "Other";
}

static struct evbuffer *output_of(struct http_request *req)
{
    return bufferevent_get_output(req->conn->bev);
}

static bool is_head(const struct http_request *req)
{
    const struct http_head *head = req->conn->parser.head;
    return head && head->method && strcmp(head->method, "HEAD") == 0;
}

// A connection that is being closed takes no reply; the handler will be told by on_gone.
static bool is_gone(const struct http_request *req)
{
    return req->conn->state == CONN_CLOSING;
}

int http_reply_header(struct http_request *req, const char *name, const char *value)
{
    if (!http_is_token(name) || !http_is_text(value))
        return -EINVAL;
    size_t room = sizeof req->extra - req->extra_len;
    int n = snprintf(req->extra + req->extra_len, room, "%s: %s\r\n", name, value);
    if (n < 0 || (size_t)n >= room)
        return -ENOSPC;
    req->extra_len += (size_t)n;
    return 0;
}

// Status line and headers. No Content-Length where RFC 9110 8.6 forbids it.
static int write_head(struct http_request *req, int status, const char *content_type, size_t len)
{
    struct http_conn *conn = req->conn;
    char date[40], length[48] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (!req->body_done)
        conn->close_after = true;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    if (len == NO_LENGTH)
        snprintf(length, sizeof length, "Transfer-Encoding: chunked\r\n");
    else if (status >= 200 && status != 204 && status != 304)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", len);
    return evbuffer_add_printf(output_of(req), "HTTP/1.1 %d %s\r\nDate: %s\r\n%s%s%s%s%s%.*s\r\n", status,
                               phrase_of(status), date, content_type ? "Content-Type: " : "",
                               content_type ? content_type : "", content_type ? "\r\n" : "", length,
                               conn->close_after && status >= 200 ? "Connection: close\r\n" : "",
                               (int)req->extra_len, req->extra) < 0
               ? -ENOMEM
               : 0;
}

static void reply(struct http_request *req, int status, const char *content_type, const void *data,
                  size_t len)
{
    assert(!req->answered);
    req->on_gone = NULL; // its handler has done its part
    if (is_gone(req))
        return;
    bool has_data = len > 0 && !is_head(req);
    if (write_head(req, status, content_type, len) < 0 ||
        (has_data && evbuffer_add(output_of(req), data, len) < 0)) {
        http_conn_fail(req->conn, "no memory for a reply");
        return;
    }
    http_conn_replied(req->conn);
}

void http_reply_bytes(struct http_request *req, int status, const char *content_type, const void *data,
                      size_t len)
{
    reply(req, status, content_type, data, len);
}

void http_reply_empty(struct http_request *req, int status)
{
    reply(req, status, NULL, NULL, 0);
}

// Takes the reference.
static void reply_document(struct http_request *req, int status, const char *content_type, json_t *document)
{
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (text)
        reply(req, status, content_type, text, strlen(text));
    else // no memory, or a document that is none: no problem document can be made either
        reply(req, 500, NULL, NULL, 0);
    free(text);
}

void http_reply_json(struct http_request *req, int status, json_t *body)
{
    reply_document(req, status, "application/json", body);
}

void http_reply_problem(struct http_request *req, int status, const char *code, json_t *extra,
                        const char *detail_format, ...)
{
    char detail[ERR_TEXT_CAP], type[96];
    va_list ap;
    va_start(ap, detail_format);
    vsnprintf(detail, sizeof detail, detail_format, ap);
    va_end(ap);
    snprintf(type, sizeof type, "urn:envd:problem:%s", code);
    for (char *c = detail; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    // A text that was cut amid a character is not UTF-8 any more.
    for (size_t len = strlen(detail); len > 0 && !http_is_text(detail); len--)
        detail[len - 1] = '\0';
    json_t *problem = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", phrase_of(status),
                                "status", status, "detail", detail, "code", code);
    if (problem && extra)
        json_object_update_missing(problem, extra);
    json_decref(extra);
    reply_document(req, status, "application/problem+json", problem);
}

void http_reply_fault(struct http_request *req, const struct http_fault *fault)
{
    http_reply_problem(req, fault->status, fault->code, NULL, "%s", fault->detail);
}

void http_reply_continue(struct http_request *req)
{
    struct http_conn *conn = req->conn;
    bool is_sending = evbuffer_get_length(bufferevent_get_input(conn->bev)) > 0;
    if (conn->parser.head->expect_continue && !req->continued && !req->body_done && !is_sending)
        evbuffer_add_printf(output_of(req), "HTTP/1.1 100 Continue\r\n\r\n");
    req->continued = true;
}

// --- streams ---

void http_stream_start(struct http_request *req, int status, const char *content_type,
                       void (*on_writable)(void *arg, struct http_request *req), void *arg)
{
    assert(!req->answered);
    if (is_gone(req))
        return;
    if (write_head(req, status, content_type, NO_LENGTH) < 0) {
        http_conn_fail(req->conn, "no memory for a reply");
        return;
    }
    if (is_head(req)) {
        req->owes_gone = true;
        http_conn_replied(req->conn);
        http_conn_kick(req->conn);
        return;
    }
    req->on_writable = on_writable;
    req->on_writable_arg = arg;
    http_conn_streaming(req->conn);
}

size_t http_stream_room(const struct http_request *req)
{
    const struct http_conn *conn = req->conn;
    if (conn->state != CONN_STREAM)
        return 0;
    size_t used = evbuffer_get_length(bufferevent_get_output(conn->bev));
    size_t cap = conn->server->config.limits.stream_buffer;
    return used < cap ? cap - used : 0;
}

int http_stream_write(struct http_request *req, const void *data, size_t len)
{
    if (len == 0) // an empty chunk would be the last
        return 0;
    if (len > http_stream_room(req))
        return -EAGAIN;
    struct evbuffer *output = output_of(req);
    if (evbuffer_add_printf(output, "%zx\r\n", len) < 0 || evbuffer_add(output, data, len) < 0 ||
        evbuffer_add(output, "\r\n", 2) < 0)
        http_conn_fail(req->conn, "no memory for a stream"); // half a chunk is in there
    return 0;
}

void http_stream_end(struct http_request *req)
{
    req->on_gone = NULL;
    if (req->conn->state != CONN_STREAM)
        return;
    if (evbuffer_add(output_of(req), "0\r\n\r\n", 5) < 0)
        http_conn_fail(req->conn, "no memory for a stream");
    http_conn_replied(req->conn);
}

void http_stream_abort(struct http_request *req)
{
    req->on_gone = NULL;
    http_conn_fail(req->conn, "a stream was aborted");
}

// --- upgrade ---

bool http_request_wants_upgrade(const struct http_request *req, const char *protocol)
{
    const char *wanted = http_request_header(req, "upgrade");
    return req->conn->parser.head->upgrade && wanted && strcasecmp(wanted, protocol) == 0;
}

struct bufferevent *http_upgrade(struct http_request *req, const char *protocol)
{
    assert(!req->answered);
    if (is_gone(req) || !req->body_done || !http_request_wants_upgrade(req, protocol))
        return NULL;
    if (http_reply_header(req, "Connection", "upgrade") < 0 ||
        http_reply_header(req, "Upgrade", protocol) < 0 || write_head(req, 101, NULL, 0) < 0)
        return NULL;
    return http_conn_detach(req->conn);
}
