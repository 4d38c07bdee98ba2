// Which route serves a request. Called by conn.c and server.c; pure. Internal to http/.
#pragma once

#include "http/parse.h"
#include "http/server.h"

#define HTTP_ALLOW_CAP 96

// -EINVAL names the first route that is malformed or that an earlier one hides.
int http_routes_check(const struct http_route *routes, size_t n_routes, struct err *err);
// The first matching route, or NULL with ret_allow: the methods that the path has ("GET, HEAD"), "" for an
// unknown path.
const struct http_route *http_route_find(const struct http_route *routes, size_t n_routes,
                                         const struct http_head *head, char ret_allow[HTTP_ALLOW_CAP]);
// The segment that stands for {name} in the route's pattern, or NULL.
const char *http_route_param(const struct http_route *route, const struct http_head *head, const char *name);
