// Owns what handlers read from a request. Called by api/ through request.h.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/conn.h"
#include "http/route.h"

static const struct http_head *head_of(const struct http_request *req)
{
    return req->conn->parser.head;
}

uint64_t http_request_id(const struct http_request *req)
{
    return req->id;
}

struct http_request *http_request_find(struct http_server *server, uint64_t id)
{
    size_t slot = id & 0xffff;
    struct http_conn *conn = slot < server->config.limits.connections ? server->slots[slot] : NULL;
    if (id == 0 || !conn || conn->state == CONN_CLOSING || conn->request.id != id || conn->request.answered)
        return NULL;
    return &conn->request;
}

void http_request_on_gone(struct http_request *req, void (*on_gone)(void *arg), void *arg)
{
    req->on_gone = on_gone;
    req->on_gone_arg = arg;
}

const char *http_request_method(const struct http_request *req)
{
    return head_of(req)->method;
}

const char *http_request_path(const struct http_request *req)
{
    return head_of(req)->path;
}

const struct http_route *http_request_route(const struct http_request *req)
{
    return req->route;
}

const struct http_peer *http_request_peer(const struct http_request *req)
{
    return &req->conn->peer;
}

const char *http_request_param(const struct http_request *req, const char *name)
{
    return http_route_param(req->route, head_of(req), name);
}

const char *http_request_query(const struct http_request *req, const char *name)
{
    const struct http_head *head = head_of(req);
    for (size_t i = 0; i < head->n_query; i++)
        if (strcmp(head->query[i].name, name) == 0)
            return head->query[i].value;
    return NULL;
}

size_t http_request_n_query(const struct http_request *req)
{
    return head_of(req)->n_query;
}

void http_request_query_at(const struct http_request *req, size_t i, const char **ret_name,
                           const char **ret_value)
{
    *ret_name = head_of(req)->query[i].name;
    *ret_value = head_of(req)->query[i].value;
}

const char *http_request_header(const struct http_request *req, const char *name)
{
    const struct http_head *head = head_of(req);
    for (size_t i = 0; i < head->n_headers; i++)
        if (strcasecmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

const void *http_request_body(const struct http_request *req, size_t *ret_len)
{
    *ret_len = req->body ? (size_t)req->body_len : 0;
    return req->body;
}

int64_t http_request_content_length(const struct http_request *req)
{
    return head_of(req)->framing == HTTP_FRAMING_CHUNKED ? -1 : (int64_t)head_of(req)->content_length;
}

int http_request_collect(struct http_request *req, const uint8_t *data, size_t len)
{
    size_t used = (size_t)(req->body_len - len);
    if (req->body_len > req->body_cap) {
        size_t cap = req->body_cap ? req->body_cap * 2 : 4096;
        while (cap < req->body_len)
            cap *= 2;
        uint8_t *grown = realloc(req->body, cap);
        if (!grown)
            return -ENOMEM;
        req->body = grown;
        req->body_cap = cap;
    }
    memcpy(req->body + used, data, len);
    return 0;
}

void http_body_start(struct http_request *req, const struct http_body_ops *ops, void *arg)
{
    if (req->answered || req->conn->state == CONN_CLOSING)
        return;
    req->body_ops = *ops;
    req->body_arg = arg;
    http_reply_continue(req);
    http_conn_kick(req->conn);
}

void http_body_pause(struct http_request *req)
{
    req->body_paused = true;
    req->conn->target = 0; // this window is not the client's fault
}

void http_body_resume(struct http_request *req)
{
    req->body_paused = false;
    http_conn_kick(req->conn);
}
