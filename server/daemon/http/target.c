// Owns the request target: origin form only, split into decoded path segments and query parameters (RFC 3986
// with the form encoding's "+" in the query). Called by head.c; pure. Decoding cannot make a new "/", NUL or
// control character: what would is refused.
#include <ctype.h>
#include <string.h>

#include "http/parse.h"

static const struct http_fault FAULT_FORM = {400, "bad-request",
                                             "the target is not an absolute path (origin form)"};
static const struct http_fault FAULT_BYTE = {400, "bad-request",
                                             "a byte in the target that has to be percent-encoded"};
static const struct http_fault FAULT_PERCENT = {400, "bad-request",
                                                "a malformed percent-encoding in the target"};
static const struct http_fault FAULT_DECODED = {
    400, "bad-request", "the target decodes to a slash, a control character or no UTF-8"};
static const struct http_fault FAULT_SEGMENT = {400, "bad-request", "an empty or dot segment in the path"};
static const struct http_fault FAULT_SEGMENTS = {414, "uri-too-long", "too many segments in the path"};
static const struct http_fault FAULT_QUERY = {400, "bad-request", "a query parameter without a name"};
static const struct http_fault FAULT_QUERIES = {414, "uri-too-long", "too many query parameters"};

// Where decoded text goes: it never grows, so the head's room is enough.
struct decoder {
    char *out;
    bool in_query;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// pchar without percent-encoding; the query's extra "/" and "?" too.
static bool is_plain(unsigned char c, bool in_query)
{
    return isalnum(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@", c)) ||
           (in_query && (c == '/' || c == '?'));
}

// Decodes [from, to) to a string of its own at out. *ret is untouched on failure.
static const struct http_fault *decode(struct decoder *d, const char *from, const char *to, const char **ret)
{
    char *start = d->out;
    while (from < to) {
        char c = *from++;
        if (c == '%') {
            if (to - from < 2 || hex_value(from[0]) < 0 || hex_value(from[1]) < 0)
                return &FAULT_PERCENT;
            c = (char)(hex_value(from[0]) << 4 | hex_value(from[1]));
            if (c == '\0' || (c == '/' && !d->in_query))
                return &FAULT_DECODED;
            from += 2;
        } else if (!is_plain((unsigned char)c, d->in_query)) {
            return &FAULT_BYTE;
        } else if (c == '+' && d->in_query) {
            c = ' ';
        }
        *d->out++ = c;
    }
    *d->out++ = '\0';
    if (!http_is_text(start))
        return &FAULT_DECODED;
    *ret = start;
    return NULL;
}

// The path starts with "/"; "/" alone has no segments.
static const struct http_fault *parse_path(struct http_head *head, struct decoder *d, const char *path)
{
    if (path[1] == '\0')
        return NULL;
    while (*path == '/') {
        const char *end = path + 1 + strcspn(path + 1, "/");
        const char *segment = NULL;
        const struct http_fault *fault = decode(d, path + 1, end, &segment);
        if (fault)
            return fault;
        if (*segment == '\0' || strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0)
            return &FAULT_SEGMENT;
        if (head->n_segments == HTTP_SEGMENTS_MAX)
            return &FAULT_SEGMENTS;
        head->segments[head->n_segments++] = segment;
        path = end;
    }
    return NULL;
}

static const struct http_fault *parse_pair(struct http_head *head, struct decoder *d, const char *pair,
                                           const char *end)
{
    const char *equals = memchr(pair, '=', (size_t)(end - pair));
    struct http_field field = {.name = NULL, .value = ""};
    const struct http_fault *fault = decode(d, pair, equals ? equals : end, &field.name);
    if (!fault && equals)
        fault = decode(d, equals + 1, end, &field.value);
    if (fault)
        return fault;
    if (*field.name == '\0')
        return &FAULT_QUERY;
    if (head->n_query == HTTP_QUERY_MAX)
        return &FAULT_QUERIES;
    head->query[head->n_query++] = field;
    return NULL;
}

static const struct http_fault *parse_query(struct http_head *head, struct decoder *d, const char *query)
{
    if (*query == '\0') // "/path?" asks for nothing
        return NULL;
    for (;;) {
        const char *end = query + strcspn(query, "&");
        const struct http_fault *fault = parse_pair(head, d, query, end);
        if (fault || *end == '\0')
            return fault;
        query = end + 1;
    }
}

const struct http_fault *http_target_parse(struct http_head *head, char *untrusted_target)
{
    if (untrusted_target[0] != '/')
        return &FAULT_FORM;
    char *query = strchr(untrusted_target, '?');
    if (query)
        *query++ = '\0';
    head->path = untrusted_target;
    struct decoder d = {.out = head->decoded};
    const struct http_fault *fault = parse_path(head, &d, untrusted_target);
    d.in_query = true;
    return fault || !query ? fault : parse_query(head, &d, query);
}
