// The request parser: any bytes, and the same outcome however they are split. The first byte seeds the
// splits; the rest is a connection's input, request after request. What comes out is folded into a hash that
// has to match.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/parse.h"

struct outcome {
    uint64_t hash;
    size_t n_bytes; // of bodies
    size_t consumed;
    int status; // of the fault, 0 = none
};

static void mix(struct outcome *o, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        o->hash = (o->hash ^ bytes[i]) * 1099511628211u; // FNV-1a
}

static void mix_text(struct outcome *o, const char *s)
{
    if (!http_is_text(s))
        abort(); // what handlers are promised
    mix(o, s, strlen(s) + 1);
}

static void mix_head(struct outcome *o, const struct http_head *head)
{
    mix_text(o, head->method);
    mix_text(o, head->path);
    for (size_t i = 0; i < head->n_segments; i++) {
        const char *s = head->segments[i];
        if (strchr(s, '/') || *s == '\0' || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
            abort();
        mix_text(o, s);
    }
    for (size_t i = 0; i < head->n_query; i++) {
        mix_text(o, head->query[i].name);
        mix_text(o, head->query[i].value);
    }
    for (size_t i = 0; i < head->n_headers; i++) {
        mix_text(o, head->headers[i].name);
        mix_text(o, head->headers[i].value);
    }
    mix(o, &head->framing, sizeof head->framing);
    mix(o, &head->content_length, sizeof head->content_length);
    const bool flags[] = {head->close, head->upgrade, head->expect_continue};
    mix(o, flags, sizeof flags);
}

// Feeds pieces of 1 to 16 bytes by turns (seed 0: all at once).
static struct outcome run(const uint8_t *data, size_t size, unsigned seed)
{
    struct outcome o = {.hash = 14695981039346656037u};
    struct http_parser parser;
    http_parser_init(&parser);
    for (;;) {
        size_t left = size - o.consumed, consumed, data_len = 0;
        size_t piece = seed ? 1 + (seed = seed * 1103515245 + 12345) / 65536 % 16 : left;
        const uint8_t *body;
        enum http_event event = http_parser_next(&parser, data + o.consumed, piece < left ? piece : left,
                                                 &consumed, &body, &data_len);
        if (consumed > left || (event == HTTP_EVENT_DATA && (data_len == 0 || data_len > consumed)))
            abort();
        o.consumed += consumed;
        if (event == HTTP_EVENT_HEAD)
            mix_head(&o, parser.head);
        if (event == HTTP_EVENT_DATA) {
            mix(&o, body, data_len);
            o.n_bytes += data_len;
        }
        if (event == HTTP_EVENT_END) {
            mix(&o, "end", 3);
            http_parser_reset(&parser);
        }
        if (event == HTTP_EVENT_BAD)
            o.status = parser.fault.status;
        if (event == HTTP_EVENT_BAD || (event == HTTP_EVENT_NONE && o.consumed == size))
            break;
    }
    http_parser_reset(&parser);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct outcome whole = run(data + 1, size - 1, 0);
    struct outcome split = run(data + 1, size - 1, 1u + data[0]);
    if (whole.hash != split.hash || whole.n_bytes != split.n_bytes || whole.consumed != split.consumed ||
        whole.status != split.status)
        abort();
    return 0;
}
