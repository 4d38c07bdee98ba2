// Owns what a request's lines mean: method, version, header fields, framing. Called by parse.c line by line;
// pure.
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/checked.h"
#include "http/parse.h"

static const struct http_fault FAULT_REQUEST_LINE = {400, "bad-request",
                                                     "the request line is not METHOD SP TARGET SP HTTP/1.1"};
static const struct http_fault FAULT_METHOD = {400, "bad-request", "the method is not a token"};
static const struct http_fault FAULT_VERSION = {505, "http-version", "only HTTP/1.1 is spoken here"};
static const struct http_fault FAULT_FOLD = {400, "bad-request", "a folded header line"};
static const struct http_fault FAULT_NAME = {400, "bad-request",
                                             "a header name that is not a token before its colon"};
static const struct http_fault FAULT_VALUE = {400, "bad-request", "a header value that is not UTF-8 text"};
static const struct http_fault FAULT_COUNT = {431, "headers-too-large", "too many headers"};
static const struct http_fault FAULT_TWICE = {400, "bad-request",
                                              "a header that may occur once occurs twice"};
static const struct http_fault FAULT_NO_HOST = {400, "bad-request", "no Host header"};
static const struct http_fault FAULT_HOST = {400, "bad-request", "a malformed Host header"};
static const struct http_fault FAULT_LENGTH = {400, "bad-request", "a malformed Content-Length"};
static const struct http_fault FAULT_BOTH = {400, "bad-request",
                                             "Content-Length and Transfer-Encoding together"};
static const struct http_fault FAULT_CODING = {501, "transfer-encoding",
                                               "the only transfer coding here is chunked"};
static const struct http_fault FAULT_CONNECTION = {400, "bad-request", "a malformed Connection header"};
static const struct http_fault FAULT_EXPECT = {417, "expectation-failed",
                                               "the only expectation here is 100-continue"};

// Two of these would mean different things to different readers.
static const char *const ONCE[] = {
    "authorization", "content-length",  "content-type",      "expect",
    "host",          "if-match",        "if-none-match",     "upgrade",
    "last-event-id", "idempotency-key", "transfer-encoding",
};

static bool is_token_byte(unsigned char c)
{
    return isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(const char *s)
{
    size_t n = 0;
    while (is_token_byte((unsigned char)s[n]))
        n++;
    return n > 0 && s[n] == '\0';
}

// Bytes that must follow the lead byte c, and the range of the first of them; -1 for no lead byte (RFC 3629
// table).
static int utf8_tail(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80)
        return 0;
    if (c >= 0xc2 && c <= 0xdf)
        return 1;
    if (c >= 0xe0 && c <= 0xef)
        return 2;
    return c >= 0xf0 && c <= 0xf4 ? 3 : -1;
}

bool http_is_text(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    while (*p) {
        unsigned char low, high, c = *p++;
        int tail = utf8_tail(c, &low, &high);
        if (c < 0x20 || c == 0x7f || tail < 0)
            return false;
        for (; tail > 0; tail--, p++, low = 0x80, high = 0xbf)
            if (*p < low || *p > high)
                return false;
    }
    return true;
}

const struct http_fault *http_head_request_line(struct http_head *head, char *untrusted_line)
{
    char *target = strchr(untrusted_line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || strchr(version + 1, ' '))
        return &FAULT_REQUEST_LINE;
    *target++ = '\0';
    *version++ = '\0';
    if (!http_is_token(untrusted_line) || strlen(untrusted_line) > HTTP_METHOD_MAX)
        return &FAULT_METHOD;
    bool is_version = strlen(version) == 8 && strncmp(version, "HTTP/", 5) == 0 &&
                      isdigit((unsigned char)version[5]) && version[6] == '.' &&
                      isdigit((unsigned char)version[7]);
    if (!is_version)
        return &FAULT_REQUEST_LINE;
    if (strcmp(version, "HTTP/1.1") != 0)
        return &FAULT_VERSION;
    head->method = untrusted_line;
    return http_target_parse(head, target);
}

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t len = strlen(s);
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        s[--len] = '\0';
    return s;
}

// Splits "name: value" in place.
static const struct http_fault *split_field(char *untrusted_line, size_t len, struct http_field *ret)
{
    if (untrusted_line[0] == ' ' || untrusted_line[0] == '\t')
        return &FAULT_FOLD;
    char *colon = memchr(untrusted_line, ':', len);
    if (!colon)
        return &FAULT_NAME;
    *colon = '\0';
    if (!http_is_token(untrusted_line))
        return &FAULT_NAME;
    for (char *c = untrusted_line; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    char *value = trim(colon + 1);
    for (char *c = value; *c; c++)
        if (*c == '\t') // allowed inside a value; to its readers it is a space
            *c = ' ';
    if (!http_is_text(value))
        return &FAULT_VALUE;
    *ret = (struct http_field){.name = untrusted_line, .value = value};
    return NULL;
}

static const char *find_field(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_headers; i++)
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

static bool only_once(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(ONCE); i++)
        if (strcmp(ONCE[i], name) == 0)
            return true;
    return false;
}

const struct http_fault *http_head_field(struct http_head *head, char *untrusted_line, size_t len)
{
    struct http_field field;
    const struct http_fault *fault = split_field(untrusted_line, len, &field);
    if (fault)
        return fault;
    if (head->n_headers == HTTP_HEADERS_MAX)
        return &FAULT_COUNT;
    if (only_once(field.name) && find_field(head, field.name))
        return &FAULT_TWICE;
    head->headers[head->n_headers++] = field;
    return NULL;
}

const struct http_fault *http_head_check_trailer(char *untrusted_line, size_t len)
{
    struct http_field forgotten;
    return split_field(untrusted_line, len, &forgotten);
}

// uri-host [":" port], loosely: the bytes that can be in one, and nothing that starts a path or a user name.
static const struct http_fault *check_host(const struct http_head *head)
{
    const char *host = find_field(head, "host");
    if (!host)
        return &FAULT_NO_HOST;
    for (; *host; host++)
        if (!isalnum((unsigned char)*host) && !strchr("-._~:[]%!$&'()*+,;=", *host))
            return &FAULT_HOST;
    return NULL;
}

// Digits only, below 2^63.
static bool parse_length(const char *s, uint64_t *ret)
{
    uint64_t n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || mul_overflows_u64(n, 10, &n) ||
            add_overflows_u64(n, (uint64_t)(*s - '0'), &n))
            return false;
    }
    *ret = n;
    return n <= INT64_MAX;
}

static const struct http_fault *find_framing(struct http_head *head)
{
    const char *length = find_field(head, "content-length");
    const char *coding = find_field(head, "transfer-encoding");
    if (length && coding)
        return &FAULT_BOTH;
    if (coding && strcasecmp(coding, "chunked") != 0)
        return &FAULT_CODING;
    if (length && !parse_length(length, &head->content_length))
        return &FAULT_LENGTH;
    if (coding)
        head->framing = HTTP_FRAMING_CHUNKED;
    else if (length)
        head->framing = HTTP_FRAMING_LENGTH;
    return NULL;
}

// One option of Connection; names other than these two ask for nothing here.
static void connection_option(struct http_head *head, const char *option, size_t len)
{
    if (len == 5 && strncasecmp(option, "close", len) == 0)
        head->close = true;
    if (len == 7 && strncasecmp(option, "upgrade", len) == 0)
        head->upgrade = true;
}

// token *( OWS "," OWS token )
static const struct http_fault *parse_connection(struct http_head *head, const char *value)
{
    for (;;) {
        value += strspn(value, " ");
        size_t len = 0;
        while (is_token_byte((unsigned char)value[len]))
            len++;
        if (len == 0)
            return &FAULT_CONNECTION;
        connection_option(head, value, len);
        value += len;
        value += strspn(value, " ");
        if (*value == '\0')
            return NULL;
        if (*value++ != ',')
            return &FAULT_CONNECTION;
    }
}

const struct http_fault *http_head_finish(struct http_head *head)
{
    const struct http_fault *fault = check_host(head);
    if (!fault)
        fault = find_framing(head);
    for (size_t i = 0; !fault && i < head->n_headers; i++)
        if (strcmp(head->headers[i].name, "connection") == 0)
            fault = parse_connection(head, head->headers[i].value);
    const char *expect = find_field(head, "expect");
    if (!fault && expect && strcasecmp(expect, "100-continue") != 0)
        fault = &FAULT_EXPECT;
    head->expect_continue = expect && !fault;
    return fault;
}
