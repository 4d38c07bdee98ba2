// The HTTP/1.1 request parser: bytes in, events out, no I/O. Fed in pieces of any size; the pieces never
// change the result. RFC 9112, strictly: what it allows for old peers (bare LF, folded headers, absolute
// form, HTTP/1.0) is refused, and every element has a limit. Called by conn.c; internal to http/.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX       8192u  // the request line; longer: 414
#define HTTP_HEAD_MAX       16384u // request line and headers together; longer: 431
#define HTTP_HEADERS_MAX    64u
#define HTTP_METHOD_MAX     16u
#define HTTP_SEGMENTS_MAX   16u
#define HTTP_QUERY_MAX      32u
#define HTTP_CHUNK_LINE_MAX 256u // a chunk's size and extensions
#define HTTP_TRAILER_MAX    4096u

// Why a request is refused: constants. The connection cannot be used afterwards.
struct http_fault {
    int status;
    const char *code;
    const char *detail;
};

struct http_field {
    const char *name;
    const char *value;
};

enum http_framing { HTTP_FRAMING_NONE, HTTP_FRAMING_LENGTH, HTTP_FRAMING_CHUNKED };

// A request's head. Strings are in text (as sent; header names in lower case) or decoded (percent-decoded,
// valid UTF-8 without control characters).
struct http_head {
    const char *method;
    const char *path; // without the query
    size_t n_segments;
    const char *segments[HTTP_SEGMENTS_MAX]; // none is empty, "." or ".."
    size_t n_query;
    struct http_field query[HTTP_QUERY_MAX];
    size_t n_headers;
    struct http_field headers[HTTP_HEADERS_MAX];
    enum http_framing framing;
    uint64_t content_length;
    bool close;           // Connection: close
    bool upgrade;         // Connection: upgrade
    bool expect_continue; // Expect: 100-continue
    char text[HTTP_HEAD_MAX + 1];
    char decoded[HTTP_LINE_MAX + 1];
    char trailer[HTTP_TRAILER_MAX + 1]; // the line under way
};

enum http_event {
    HTTP_EVENT_NONE, // everything was consumed, more is needed
    HTTP_EVENT_HEAD, // parser->head is complete
    HTTP_EVENT_DATA, // a piece of the body
    HTTP_EVENT_END,  // the request is complete: reset before the next
    HTTP_EVENT_BAD   // parser->fault says why; so says every later call
};

enum http_parse_state {
    PARSE_LINE,       // in a line of the head
    PARSE_LINE_LF,    // after its CR
    PARSE_HEAD_DONE,  // HEAD was reported
    PARSE_BODY,       // in a counted body, or in a chunk's data
    PARSE_CHUNK_SIZE, // in a chunk's size
    PARSE_CHUNK_EXT,  // after its ";"
    PARSE_CHUNK_LF,   // after the line's CR
    PARSE_DATA_CR,    // the chunk's data is over
    PARSE_DATA_LF,
    PARSE_TRAILER, // in a line of the trailers
    PARSE_TRAILER_LF,
    PARSE_END,
    PARSE_BAD
};

struct http_parser {
    enum http_parse_state state;
    struct http_head *head; // made with the first byte, freed by reset; NULL before
    struct http_fault fault;
    size_t len;        // bytes of the head, or of the trailers
    size_t line_start; // of the line under way
    uint64_t left;     // of the counted body or the chunk
    size_t line_len;   // of the chunk's line
};

void http_parser_init(struct http_parser *parser);
// Ready for the next request; frees the head. Also the destructor.
void http_parser_reset(struct http_parser *parser);
// Consumes up to and including the next event. *ret_consumed <= len; for DATA the piece is the *ret_data_len
// consumed bytes that start at *ret_data. May be called with len 0: END can follow HEAD at once.
enum http_event http_parser_next(struct http_parser *parser, const uint8_t *untrusted, size_t len,
                                 size_t *ret_consumed, const uint8_t **ret_data, size_t *ret_data_len);

// --- between parse.c, head.c and target.c: each returns NULL, or why not ---

// The NUL-terminated request line, changed in place.
const struct http_fault *http_head_request_line(struct http_head *head, char *untrusted_line);
// One NUL-terminated header line of len bytes, changed in place.
const struct http_fault *http_head_field(struct http_head *head, char *untrusted_line, size_t len);
// The same checks for a trailer, which is then forgotten.
const struct http_fault *http_head_check_trailer(char *untrusted_line, size_t len);
// What only the whole head shows: Host, framing, Connection, Expect.
const struct http_fault *http_head_finish(struct http_head *head);
// Splits and decodes the NUL-terminated target, changed in place, into path, segments and query.
const struct http_fault *http_target_parse(struct http_head *head, char *untrusted_target);

bool http_is_token(const char *s); // RFC 9110 5.6.2, not empty
bool http_is_text(const char *s);  // valid UTF-8 without control characters (a tab is one, too)
