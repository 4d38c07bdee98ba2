// Owns the matching of paths to patterns. A table of routes is walked in order: there are some dozens.
#include "http/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// The segment of a pattern that starts after *pattern's "/", its length; advances past it. NULL at the end.
static const char *next_segment(const char **pattern, size_t *ret_len)
{
    if (**pattern != '/')
        return NULL;
    const char *segment = *pattern + 1;
    *ret_len = strcspn(segment, "/");
    *pattern = segment + *ret_len;
    return *ret_len > 0 ? segment : NULL;
}

static bool is_param(const char *segment, size_t len)
{
    return len > 2 && segment[0] == '{' && segment[len - 1] == '}';
}

static bool matches(const char *pattern, const struct http_head *head)
{
    const char *segment;
    size_t len, i = 0;
    for (; (segment = next_segment(&pattern, &len)); i++) {
        if (i == head->n_segments)
            return false;
        bool same = strlen(head->segments[i]) == len && memcmp(head->segments[i], segment, len) == 0;
        if (!same && !is_param(segment, len))
            return false;
    }
    return i == head->n_segments;
}

static bool serves(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void add_allowed(char allow[HTTP_ALLOW_CAP], const char *method)
{
    size_t used = strlen(allow);
    const char *head = strcmp(method, "GET") == 0 ? ", HEAD" : "";
    snprintf(allow + used, HTTP_ALLOW_CAP - used, "%s%s%s", used ? ", " : "", method, head);
}

const struct http_route *http_route_find(const struct http_route *routes, size_t n_routes,
                                         const struct http_head *head, char ret_allow[HTTP_ALLOW_CAP])
{
    ret_allow[0] = '\0';
    for (size_t i = 0; i < n_routes; i++) {
        if (!matches(routes[i].pattern, head))
            continue;
        if (serves(&routes[i], head->method))
            return &routes[i];
        add_allowed(ret_allow, routes[i].method);
    }
    return NULL;
}

const char *http_route_param(const struct http_route *route, const struct http_head *head, const char *name)
{
    const char *pattern = route->pattern, *segment;
    size_t len;
    for (size_t i = 0; (segment = next_segment(&pattern, &len)); i++)
        if (is_param(segment, len) && strlen(name) == len - 2 && memcmp(segment + 1, name, len - 2) == 0)
            return head->segments[i];
    return NULL;
}

// Whether the patterns match the same paths: equal, whatever their parameters are called.
static bool same_shape(const char *a, const char *b)
{
    const char *segment_a, *segment_b;
    size_t len_a, len_b;
    for (;;) {
        segment_a = next_segment(&a, &len_a);
        segment_b = next_segment(&b, &len_b);
        if (!segment_a || !segment_b)
            return segment_a == segment_b;
        if (is_param(segment_a, len_a) && is_param(segment_b, len_b))
            continue;
        if (len_a != len_b || memcmp(segment_a, segment_b, len_a) != 0)
            return false;
    }
}

static bool well_formed(const char *pattern)
{
    size_t len, n = 0;
    if (strcmp(pattern, "/") == 0)
        return true;
    while (next_segment(&pattern, &len))
        n++;
    return *pattern == '\0' && pattern[-1] != '/' && n > 0 && n <= HTTP_SEGMENTS_MAX;
}

int http_routes_check(const struct http_route *routes, size_t n_routes, struct err *err)
{
    for (size_t i = 0; i < n_routes; i++) {
        const struct http_route *route = &routes[i];
        if (!http_is_token(route->method) || !route->handler || !well_formed(route->pattern))
            return err_set(err, -EINVAL, "route %s %s is malformed", route->method, route->pattern);
        for (size_t j = 0; j < i; j++)
            if (strcmp(routes[j].method, route->method) == 0 && same_shape(routes[j].pattern, route->pattern))
                return err_set(err, -EINVAL, "route %s %s is hidden by %s", route->method, route->pattern,
                               routes[j].pattern);
    }
    return 0;
}
