// Owns the byte-level state machine: lines of the head, counted and chunked bodies, trailers, and their
// limits. Called by conn.c; what a line means is head.c's and target.c's.
#include "http/parse.h"

#include <stdlib.h>
#include <string.h>

static const struct http_fault FAULT_MEMORY = {503, "out-of-memory", "no memory for the request"};
static const struct http_fault FAULT_LINE_LONG = {414, "uri-too-long", "the request line is too long"};
static const struct http_fault FAULT_HEAD_LONG = {431, "headers-too-large", "the headers are too large"};
static const struct http_fault FAULT_CONTROL = {400, "bad-request", "a control character in the head"};
static const struct http_fault FAULT_LF = {400, "bad-request", "a line that does not end in CR LF"};
static const struct http_fault FAULT_CHUNK_SIZE = {400, "bad-request", "a malformed chunk size"};
static const struct http_fault FAULT_CHUNK_EXT = {400, "bad-request", "a malformed chunk extension"};
static const struct http_fault FAULT_CHUNK_LINE = {400, "bad-request", "a chunk's size line is too long"};
static const struct http_fault FAULT_CHUNK_END = {400, "bad-request", "a chunk that does not end in CR LF"};
static const struct http_fault FAULT_TRAILER_LONG = {431, "headers-too-large", "the trailers are too large"};

void http_parser_init(struct http_parser *parser)
{
    *parser = (struct http_parser){.state = PARSE_LINE};
}

void http_parser_reset(struct http_parser *parser)
{
    free(parser->head);
    http_parser_init(parser);
}

static enum http_event bad(struct http_parser *p, const struct http_fault *fault)
{
    p->fault = *fault;
    p->state = PARSE_BAD;
    return HTTP_EVENT_BAD;
}

static enum http_event go(struct http_parser *p, enum http_parse_state state)
{
    p->state = state;
    return HTTP_EVENT_NONE;
}

// --- the head ---

static enum http_event on_line_byte(struct http_parser *p, uint8_t c)
{
    if (!p->head && !(p->head = calloc(1, sizeof *p->head)))
        return bad(p, &FAULT_MEMORY);
    if (c == '\r')
        return go(p, PARSE_LINE_LF);
    if (c == '\n')
        return bad(p, &FAULT_LF);
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return bad(p, &FAULT_CONTROL);
    if (p->line_start == 0 && p->len == HTTP_LINE_MAX)
        return bad(p, &FAULT_LINE_LONG);
    if (p->len + 1 >= HTTP_HEAD_MAX) // a NUL goes behind each line
        return bad(p, &FAULT_HEAD_LONG);
    p->head->text[p->len++] = (char)c;
    return HTTP_EVENT_NONE;
}

static enum http_event finish_head(struct http_parser *p)
{
    const struct http_fault *fault = http_head_finish(p->head);
    if (fault)
        return bad(p, fault);
    p->state = PARSE_HEAD_DONE;
    return HTTP_EVENT_HEAD;
}

static enum http_event on_line_end(struct http_parser *p, uint8_t c)
{
    if (c != '\n')
        return bad(p, &FAULT_LF);
    char *line = p->head->text + p->line_start;
    size_t len = p->len - p->line_start;
    const struct http_fault *fault;
    p->head->text[p->len++] = '\0';
    if (p->line_start == 0)
        fault = http_head_request_line(p->head, line);
    else if (len > 0)
        fault = http_head_field(p->head, line, len);
    else
        return finish_head(p);
    if (fault)
        return bad(p, fault);
    p->line_start = p->len;
    return go(p, PARSE_LINE);
}

static enum http_event on_head_done(struct http_parser *p)
{
    p->len = p->line_start = p->line_len = 0;
    p->left = p->head->content_length;
    if (p->head->framing == HTTP_FRAMING_CHUNKED)
        return go(p, PARSE_CHUNK_SIZE);
    return go(p, p->left > 0 ? PARSE_BODY : PARSE_END);
}

// --- a chunk's line ---

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http_event on_chunk_size_byte(struct http_parser *p, uint8_t c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++p->line_len > 15) // 60 bits are enough, and cannot overflow
            return bad(p, &FAULT_CHUNK_SIZE);
        p->left = p->left << 4 | (unsigned)digit;
        return HTTP_EVENT_NONE;
    }
    if (p->line_len == 0)
        return bad(p, &FAULT_CHUNK_SIZE);
    if (c == '\r')
        return go(p, PARSE_CHUNK_LF);
    return c == ';' ? go(p, PARSE_CHUNK_EXT) : bad(p, &FAULT_CHUNK_SIZE);
}

// Extensions are read and ignored (RFC 9112 7.1.1).
static enum http_event on_chunk_ext_byte(struct http_parser *p, uint8_t c)
{
    if (c == '\r')
        return go(p, PARSE_CHUNK_LF);
    if ((c < 0x20 && c != '\t') || c >= 0x7f)
        return bad(p, &FAULT_CHUNK_EXT);
    return ++p->line_len > HTTP_CHUNK_LINE_MAX ? bad(p, &FAULT_CHUNK_LINE) : HTTP_EVENT_NONE;
}

static enum http_event on_chunk_line_end(struct http_parser *p, uint8_t c)
{
    if (c != '\n')
        return bad(p, &FAULT_CHUNK_SIZE);
    p->line_len = 0;
    return go(p, p->left > 0 ? PARSE_BODY : PARSE_TRAILER);
}

static enum http_event on_data_cr(struct http_parser *p, uint8_t c)
{
    return c == '\r' ? go(p, PARSE_DATA_LF) : bad(p, &FAULT_CHUNK_END);
}

static enum http_event on_data_lf(struct http_parser *p, uint8_t c)
{
    return c == '\n' ? go(p, PARSE_CHUNK_SIZE) : bad(p, &FAULT_CHUNK_END);
}

// --- trailers: checked like headers, and forgotten ---

static enum http_event on_trailer_byte(struct http_parser *p, uint8_t c)
{
    if (c == '\r')
        return go(p, PARSE_TRAILER_LF);
    if (c == '\n')
        return bad(p, &FAULT_LF);
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return bad(p, &FAULT_CONTROL);
    if (p->len >= HTTP_TRAILER_MAX)
        return bad(p, &FAULT_TRAILER_LONG);
    p->head->trailer[p->line_len++] = (char)c;
    p->len++;
    return HTTP_EVENT_NONE;
}

static enum http_event on_trailer_end(struct http_parser *p, uint8_t c)
{
    if (c != '\n')
        return bad(p, &FAULT_LF);
    if (p->line_len == 0)
        return go(p, PARSE_END);
    p->head->trailer[p->line_len] = '\0';
    p->len += 2;
    const struct http_fault *fault = http_head_check_trailer(p->head->trailer, p->line_len);
    p->line_len = 0;
    return fault ? bad(p, fault) : go(p, PARSE_TRAILER);
}

// --- the machine ---

static enum http_event (*const ON_BYTE[])(struct http_parser *, uint8_t) = {
    [PARSE_LINE] = on_line_byte,
    [PARSE_LINE_LF] = on_line_end,
    [PARSE_CHUNK_SIZE] = on_chunk_size_byte,
    [PARSE_CHUNK_EXT] = on_chunk_ext_byte,
    [PARSE_CHUNK_LF] = on_chunk_line_end,
    [PARSE_DATA_CR] = on_data_cr,
    [PARSE_DATA_LF] = on_data_lf,
    [PARSE_TRAILER] = on_trailer_byte,
    [PARSE_TRAILER_LF] = on_trailer_end,
};

// Body bytes are not copied and not looked at.
static enum http_event take_data(struct http_parser *p, const uint8_t *untrusted, size_t len,
                                 size_t *consumed, const uint8_t **ret_data, size_t *ret_data_len)
{
    size_t n = len - *consumed < p->left ? len - *consumed : (size_t)p->left;
    *ret_data = untrusted + *consumed;
    *ret_data_len = n;
    *consumed += n;
    p->left -= n;
    if (p->left == 0)
        p->state = p->head->framing == HTTP_FRAMING_CHUNKED ? PARSE_DATA_CR : PARSE_END;
    return HTTP_EVENT_DATA;
}

enum http_event http_parser_next(struct http_parser *p, const uint8_t *untrusted, size_t len,
                                 size_t *ret_consumed, const uint8_t **ret_data, size_t *ret_data_len)
{
    *ret_consumed = 0;
    for (;;) {
        if (p->state == PARSE_BAD)
            return HTTP_EVENT_BAD;
        if (p->state == PARSE_END)
            return HTTP_EVENT_END;
        if (p->state == PARSE_HEAD_DONE) {
            on_head_done(p);
            continue;
        }
        if (*ret_consumed == len)
            return HTTP_EVENT_NONE;
        if (p->state == PARSE_BODY)
            return take_data(p, untrusted, len, ret_consumed, ret_data, ret_data_len);
        enum http_event event = ON_BYTE[p->state](p, untrusted[(*ret_consumed)++]);
        if (event != HTTP_EVENT_NONE)
            return event;
    }
}
