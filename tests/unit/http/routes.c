// The routes that the HTTP server's tests serve: one per shape of handler.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static void on_gone(void *arg)
{
    ((struct fixture *)arg)->n_gone++;
}

static void on_constant(void *arg, struct http_request *req)
{
    ((struct fixture *)arg)->n_handled++;
    http_reply_bytes(req, 200, "text/plain", "hello", 5);
}

// Says what it got, as JSON.
static void on_echo(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    size_t len;
    const char *body = http_request_body(req, &len);
    const char *name = http_request_param(req, "name");
    const char *since = http_request_query(req, "since");
    const char *match = http_request_header(req, "If-Match");
    f->n_handled++;
    f->peer = *http_request_peer(req);
    http_reply_header(req, "ETag", "\"7\"");
    http_reply_json(req, 200,
                    json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s%}", "method", http_request_method(req),
                              "path", http_request_path(req), "name", name, "since", since, "match", match,
                              "body", body ? body : "", len));
}

static void on_deferred(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_handled++;
    f->id = http_request_id(req);
    http_request_on_gone(req, on_gone, f);
}

static void on_upload_data(void *arg, struct http_request *req, const void *data, size_t len)
{
    struct fixture *f = arg;
    (void)data;
    f->n_body += len;
    if (f->pause_each)
        http_body_pause(req);
}

static void on_upload_end(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_body_ended++;
    http_reply_json(req, 201, json_pack("{s:I}", "received", (json_int_t)f->n_body));
}

static const struct http_body_ops UPLOAD = {.on_data = on_upload_data, .on_end = on_upload_end};

static void on_upload(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_handled++;
    f->id = http_request_id(req);
    http_request_on_gone(req, on_gone, f);
    http_body_start(req, &UPLOAD, f);
}

// Does not want the body.
static void on_refusing(void *arg, struct http_request *req)
{
    ((struct fixture *)arg)->n_handled++;
    http_reply_problem(req, 409, "exists", NULL, "it is here already");
}

static void on_flood_writable(void *arg, struct http_request *req)
{
    static const char block[1000] = {'x'};
    struct fixture *f = arg;
    while (http_stream_write(req, block, sizeof block) == 0)
        f->n_streamed += sizeof block;
}

// Streams without end.
static void on_flood(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_handled++;
    f->id = http_request_id(req);
    http_request_on_gone(req, on_gone, f);
    http_stream_start(req, 200, "text/plain", on_flood_writable, f);
}

static void on_quiet_writable(void *arg, struct http_request *req)
{
    (void)arg;
    (void)req;
}

// Streams what the test writes.
static void on_stream(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_handled++;
    f->id = http_request_id(req);
    http_request_on_gone(req, on_gone, f);
    http_stream_start(req, 200, "text/event-stream", on_quiet_writable, f);
}

static void on_upgrade(void *arg, struct http_request *req)
{
    struct fixture *f = arg;
    f->n_handled++;
    f->upgraded = http_upgrade(req, "envd-exec");
    if (!f->upgraded)
        http_reply_problem(req, 400, "upgrade-wanted", NULL, "ask for envd-exec");
}

// Too large for one write.
static void on_large(void *arg, struct http_request *req)
{
    ((struct fixture *)arg)->n_handled++;
    char *bytes = calloc(1, 8u << 20);
    http_reply_bytes(req, 200, "application/octet-stream", bytes, 8u << 20);
    free(bytes);
}

const struct http_route FIXTURE_ROUTES[] = {
    {"GET", "/constant", HTTP_BODY_NONE, 0, on_constant},
    {"GET", "/", HTTP_BODY_NONE, 0, on_constant},
    {"GET", "/things/{name}", HTTP_BODY_NONE, 0, on_echo},
    {"PUT", "/things/{name}", HTTP_BODY_COLLECT, 1000, on_echo},
    {"DELETE", "/things/{name}", HTTP_BODY_NONE, 0, on_echo},
    {"GET", "/deferred", HTTP_BODY_NONE, 0, on_deferred},
    {"PUT", "/upload", HTTP_BODY_STREAM, 64u << 20, on_upload},
    {"PUT", "/refusing", HTTP_BODY_STREAM, 1000, on_refusing},
    {"GET", "/flood", HTTP_BODY_NONE, 0, on_flood},
    {"GET", "/stream", HTTP_BODY_NONE, 0, on_stream},
    {"GET", "/upgrade", HTTP_BODY_NONE, 0, on_upgrade},
    {"GET", "/large", HTTP_BODY_NONE, 0, on_large},
};
const size_t FIXTURE_N_ROUTES = sizeof FIXTURE_ROUTES / sizeof FIXTURE_ROUTES[0];
