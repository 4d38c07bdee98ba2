// Tests of the request parser (server/daemon/http: parse.c, head.c, target.c).
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "http/parse.h"

// What came out of some bytes, as text: "GET /a ?q=1 [body] end" or "… bad 400".
struct outcome {
    char text[65536];
    size_t consumed; // by complete requests
};

static void say(struct outcome *o, const char *format, ...)
{
    size_t used = strlen(o->text);
    va_list ap;
    va_start(ap, format);
    vsnprintf(o->text + used, sizeof o->text - used, format, ap);
    va_end(ap);
}

static void say_head(struct outcome *o, const struct http_head *head)
{
    say(o, "%s ", head->method);
    for (size_t i = 0; i < head->n_segments; i++)
        say(o, "/%s", head->segments[i]);
    if (head->n_segments == 0)
        say(o, "/");
    for (size_t i = 0; i < head->n_query; i++)
        say(o, " ?%s=%s", head->query[i].name, head->query[i].value);
}

// Parses one request, fed `piece` bytes at a time.
static void parse_one(const char *bytes, size_t len, size_t piece, struct outcome *o)
{
    struct http_parser parser;
    http_parser_init(&parser);
    *o = (struct outcome){.consumed = 0};
    bool in_body = false;
    for (;;) {
        size_t left = len - o->consumed, consumed, data_len;
        const uint8_t *data;
        size_t n = left < piece ? left : piece;
        enum http_event event =
            http_parser_next(&parser, (const uint8_t *)bytes + o->consumed, n, &consumed, &data, &data_len);
        o->consumed += consumed;
        if (event == HTTP_EVENT_NONE && o->consumed == len) {
            say(o, " more");
            break;
        } else if (event == HTTP_EVENT_HEAD) {
            say_head(o, parser.head);
        } else if (event == HTTP_EVENT_DATA) {
            say(o, "%s%.*s", in_body ? "" : " [", (int)data_len, (const char *)data);
            in_body = true;
        } else if (event == HTTP_EVENT_END) {
            say(o, "%s end", in_body ? "]" : "");
            break;
        } else if (event == HTTP_EVENT_BAD) {
            say(o, "%sbad %d", o->text[0] ? " " : "", parser.fault.status);
            break;
        }
    }
    http_parser_reset(&parser);
}

static void assert_parses(const char *bytes, size_t len, const char *expected)
{
    static struct outcome o;
    static const size_t pieces[] = {1, 2, 3, 7, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        parse_one(bytes, len, pieces[i], &o);
        if (strcmp(o.text, expected) != 0)
            fail_msg("in pieces of %zu: \"%.60s...\" gives \"%.200s\", expected \"%s\"", pieces[i], bytes,
                     o.text, expected);
    }
}

#define assert_text(text, expected)     assert_parses(text, sizeof(text) - 1, expected)
#define HOST                            "Host: h\r\n"
#define assert_target(target, expected) assert_text("GET " target " HTTP/1.1\r\n" HOST "\r\n", expected)
#define assert_field(lines, expected)   assert_text("GET /a HTTP/1.1\r\n" HOST lines "\r\n", expected)
#define CHUNKED                         "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

static void a_plain_request_parses(void **state)
{
    (void)state;
    assert_text("GET /v1/tenants/acme HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
                "GET /v1/tenants/acme end");
    assert_text("OPTIONS / HTTP/1.1\r\nhOsT:h\r\n\r\n", "OPTIONS / end");
}

static void an_incomplete_request_asks_for_more(void **state)
{
    (void)state;
    assert_text("GET / HTTP/1.1\r\nHost: h\r\n\r", " more");
    assert_text("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab", "PUT / [ab more");
    assert_text("", " more");
}

static void what_follows_a_request_is_left_for_the_next(void **state)
{
    (void)state;
    static struct outcome o;
    const char *two =
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    parse_one(two, strlen(two), 1 << 20, &o);
    assert_string_equal(o.text, "POST /a [xy] end");
    assert_memory_equal(two + o.consumed, "GET /b", 6);
}

static void the_request_line_is_strict(void **state)
{
    (void)state;
    assert_text("GET  / HTTP/1.1\r\n", "bad 400");
    assert_text("GET / HTTP/1.1 \r\n", "bad 400");
    assert_text(" GET / HTTP/1.1\r\n", "bad 400");
    assert_text("GET\t/ HTTP/1.1\r\n", "bad 400");
    assert_text("GET /\r\n", "bad 400");
    assert_text("GET / a HTTP/1.1\r\n", "bad 400");
    assert_text("\r\nGET / HTTP/1.1\r\n", "bad 400");
    assert_text("G(T / HTTP/1.1\r\n", "bad 400");
    assert_text("ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n", "bad 400");
    assert_text("GET / http/1.1\r\n", "bad 400");
    assert_text("GET / HTTP/1.1x\r\n", "bad 400");
    assert_text("GET /\0 HTTP/1.1\r\n", "bad 400");
}

static void only_http_1_1_is_spoken(void **state)
{
    (void)state;
    assert_text("GET / HTTP/1.0\r\n", "bad 505");
    assert_text("GET / HTTP/1.9\r\n", "bad 505");
    assert_text("GET / HTTP/2.0\r\n", "bad 505");
    assert_text("PRI * HTTP/2.0\r\n", "bad 505");
}

static void only_origin_form_is_a_target(void **state)
{
    (void)state;
    assert_target("http://h/a", "bad 400");
    assert_target("*", "bad 400");
    assert_target("h:80", "bad 400");
    assert_target("a", "bad 400");
    assert_target("?a", "bad 400");
}

static void path_segments_are_decoded_strictly(void **state)
{
    (void)state;
    assert_target("/a%20b/c%C3%A9", "GET /a b/c\xc3\xa9 end");
    assert_target("/%41%2d:@!$&'()*+,;=~", "GET /A-:@!$&'()*+,;=~ end");
    assert_target("/a%00", "bad 400");
    assert_target("/a%2fb", "bad 400");
    assert_target("/a%2Fb", "bad 400");
    assert_target("/a%0a", "bad 400");
    assert_target("/a%7f", "bad 400");
    assert_target("/a%c3", "bad 400");       // cut UTF-8
    assert_target("/a%c0%af", "bad 400");    // overlong slash
    assert_target("/a%ed%a0%80", "bad 400"); // surrogate
    assert_target("/a%", "bad 400");
    assert_target("/a%4", "bad 400");
    assert_target("/a%4g", "bad 400");
    assert_target("/a%+4", "bad 400");
}

static void bytes_that_have_to_be_encoded_are_refused(void **state)
{
    (void)state;
    assert_target("/a#b", "bad 400");
    assert_target("/a\"", "bad 400");
    assert_target("/a\\b", "bad 400");
    assert_target("/a|b", "bad 400");
    assert_target("/a\xc3\xa9", "bad 400");
    assert_target("/a?b=<", "bad 400");
}

static void empty_and_dot_segments_are_refused(void **state)
{
    (void)state;
    assert_target("//", "bad 400");
    assert_target("//a", "bad 400");
    assert_target("/a/", "bad 400");
    assert_target("/a//b", "bad 400");
    assert_target("/.", "bad 400");
    assert_target("/a/../b", "bad 400");
    assert_target("/a/%2e%2e/b", "bad 400");
    assert_target("/a/.../b", "GET /a/.../b end");
}

static void too_many_segments_are_refused(void **state)
{
    (void)state;
    assert_target("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16",
                  "GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16 end");
    assert_target("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "bad 414");
}

static void query_parameters_are_decoded(void **state)
{
    (void)state;
    assert_target("/a?since=3&label=role%3Dci+x&f=/?&g", "GET /a ?since=3 ?label=role=ci x ?f=/? ?g= end");
    assert_target("/a?", "GET /a end");
    assert_target("/a?a=b=c", "GET /a ?a=b=c end");
    assert_target("/a?a=%2f", "GET /a ?a=/ end");
    assert_target("/a?a=%00", "bad 400");
    assert_target("/a?a=%0d%0a", "bad 400");
    assert_target("/a?&a=1", "bad 400");
    assert_target("/a?a=1&", "bad 400");
    assert_target("/a?=1", "bad 400");
}

static void too_many_query_parameters_are_refused(void **state)
{
    (void)state;
    assert_target(
        "/a?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17&18&19&20&21&22&23&24&25&26&27&28&29&30&31&32&33",
        "bad 414");
}

static void lines_end_in_cr_lf_only(void **state)
{
    (void)state;
    assert_text("GET / HTTP/1.1\nHost: h\n\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: h\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: h\r\n\n", "bad 400");
    assert_text("GET / HTTP/1.1\rHost: h\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", "bad 400");
}

static void header_lines_are_strict(void **state)
{
    (void)state;
    assert_field("X: y\r\n z\r\n", "bad 400"); // folded
    assert_field("X: y\r\n\tz\r\n", "bad 400");
    assert_field("X : y\r\n", "bad 400");
    assert_field("X\t: y\r\n", "bad 400");
    assert_field(": y\r\n", "bad 400");
    assert_field("X\r\n", "bad 400");
    assert_field("X y: z\r\n", "bad 400");
    assert_field("X(: y\r\n", "bad 400");
    assert_field("X: \x01\r\n", "bad 400");
    assert_field("X: \0\r\n", "bad 400");
    assert_field("X: \x7f\r\n", "bad 400");
    assert_field("X: \xff\r\n", "bad 400");
    assert_field("X\xc3\xa9: y\r\n", "bad 400");
    assert_field("X:\r\nY: \t a \t b \t\r\nZ: \xc3\xa9\r\n", "GET /a end");
}

static void host_is_wanted_exactly_once(void **state)
{
    (void)state;
    assert_text("GET / HTTP/1.1\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad 400");
    assert_text("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET / end");
    assert_text("GET / HTTP/1.1\r\nHost:\r\n\r\n",
                "GET / end"); // RFC 9112 3.2: empty when there is no authority
}

static void content_length_is_one_plain_number(void **state)
{
    (void)state;
    assert_text("PUT /a HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", "PUT /a [abc] end");
    assert_text("PUT /a HTTP/1.1\r\n" HOST "Content-Length: 03\r\n\r\nabc", "PUT /a [abc] end");
    assert_field("Content-Length: +3\r\n", "bad 400");
    assert_field("Content-Length: -0\r\n", "bad 400");
    assert_field("Content-Length: 0x3\r\n", "bad 400");
    assert_field("Content-Length: 3 3\r\n", "bad 400");
    assert_field("Content-Length: 3, 3\r\n", "bad 400");
    assert_field("Content-Length: 3;\r\n", "bad 400");
    assert_field("Content-Length:\r\n", "bad 400");
    assert_field("Content-Length: 9223372036854775808\r\n", "bad 400");
    assert_field("Content-Length: 18446744073709551616\r\n", "bad 400");
    assert_field("Content-Length: 184467440737095516160000\r\n", "bad 400");
    assert_field("Content-Length: 3\r\nContent-Length: 3\r\n", "bad 400");
    assert_field("Content-Length: 3\r\nContent-Length: 4\r\n", "bad 400");
    assert_field("Content-Length : 3\r\n", "bad 400");
    assert_field("Content-Length: 0\r\n", "GET /a end");
}

static void the_only_transfer_coding_is_chunked(void **state)
{
    (void)state;
    assert_field("Transfer-Encoding: gzip, chunked\r\n", "bad 501");
    assert_field("Transfer-Encoding: chunked, chunked\r\n", "bad 501");
    assert_field("Transfer-Encoding: identity\r\n", "bad 501");
    assert_field("Transfer-Encoding:\r\n", "bad 501");
    assert_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "bad 400");
    assert_field("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "bad 400");
    assert_field("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "bad 400");
    assert_text("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "POST / end");
}

static void headers_that_decide_may_not_repeat(void **state)
{
    (void)state;
    assert_field("If-Match: \"1\"\r\nIf-Match: \"2\"\r\n", "bad 400");
    assert_field("Authorization: a\r\nauthorization: b\r\n", "bad 400");
    assert_field("Accept: a\r\nAccept: b\r\n", "GET /a end");
}

static void connection_and_expect_are_understood_or_refused(void **state)
{
    (void)state;
    assert_field("Connection: keep-alive, Upgrade\r\n", "GET /a end");
    assert_field("Connection: close,\r\n", "bad 400");
    assert_field("Connection: a b\r\n", "bad 400");
    assert_field("Expect: 100-continue\r\n", "GET /a end");
    assert_field("Expect: 200-ok\r\n", "bad 417");
}

static void chunked_bodies_are_joined(void **state)
{
    (void)state;
    assert_text(CHUNKED "3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", "POST /a [abc0123456789] end");
    assert_text(CHUNKED "0\r\n\r\n", "POST /a end");
    assert_text(CHUNKED "3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", "POST /a [abc] end");
    assert_text(CHUNKED "3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "POST /a [abc] end");
}

static void chunk_framing_is_strict(void **state)
{
    (void)state;
    assert_text(CHUNKED "0x3\r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "+3\r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED " 3\r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "3 \r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "\r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED ";x\r\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "3\nabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "3\rabc\r\n", "POST /a bad 400");
    assert_text(CHUNKED "3\r\nabcd\r\n", "POST /a [abc bad 400"); // a missing CR LF
    assert_text(CHUNKED "3\r\nabc\n", "POST /a [abc bad 400");
    assert_text(CHUNKED "3\r\nabc0\r\n\r\n", "POST /a [abc bad 400");
    assert_text(CHUNKED "3;\n\r\nabc", "POST /a bad 400");
    assert_text(CHUNKED "1000000000000000\r\n", "POST /a bad 400");
    assert_text(CHUNKED "0000000000000003\r\nabc", "POST /a bad 400");
    assert_text(CHUNKED "0\r\n X: y\r\n\r\n", "POST /a bad 400");
    assert_text(CHUNKED "0\r\nX\r\n\r\n", "POST /a bad 400");
    assert_text(CHUNKED "0\r\n\n", "POST /a bad 400");
}

// Builds head + n times unit + tail and expects it to be refused so, at whatever piece size.
static void assert_flood(const char *head, const char *unit, size_t n, const char *expected)
{
    size_t len = strlen(head) + n * strlen(unit);
    char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    char *end = stpncpy(bytes, head, len);
    for (size_t i = 0; i < n; i++)
        end = stpncpy(end, unit, len - (size_t)(end - bytes));
    assert_parses(bytes, len, expected);
    free(bytes);
}

static void every_element_is_bounded(void **state)
{
    (void)state;
    assert_flood("", "A", 9000, "bad 414");
    assert_flood("GET /", "a", 9000, "bad 414");
    assert_flood("GET /?", "a&", 5000, "bad 414");
    assert_flood("GET / HTTP/1.1\r\nX", "x", 17000, "bad 431");
    assert_flood("GET / HTTP/1.1\r\nX: ", "x", 17000, "bad 431");
    assert_flood("GET / HTTP/1.1\r\n", "X: y\r\n", 65, "bad 431");
    assert_flood(CHUNKED, "0", 20, "POST /a bad 400"); // an endless chunk size
    assert_flood(CHUNKED "1;", "x", 300, "POST /a bad 400");
    assert_flood(CHUNKED "0\r\n", "X: y\r\n", 1000, "POST /a bad 431");
    assert_flood(CHUNKED "0\r\nX", "x", 5000, "POST /a bad 431");
}

static void a_head_of_just_the_limit_is_taken(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    char bytes[HTTP_HEAD_MAX + 64];
    // CR LF become one NUL in what is kept, so the two whole lines shrink by a byte each; the last line ends
    // in a NUL.
    int fill = (int)(HTTP_HEAD_MAX - (sizeof start - 1 - 2) - 1);
    int len = snprintf(bytes, sizeof bytes, "%s%0*d\r\n\r\n", start, fill, 0);
    assert_parses(bytes, (size_t)len, "GET / end");
    len = snprintf(bytes, sizeof bytes, "%s%0*d\r\n\r\n", start, fill + 1, 0);
    assert_parses(bytes, (size_t)len, "bad 431");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_parses),
        cmocka_unit_test(an_incomplete_request_asks_for_more),
        cmocka_unit_test(what_follows_a_request_is_left_for_the_next),
        cmocka_unit_test(the_request_line_is_strict),
        cmocka_unit_test(only_http_1_1_is_spoken),
        cmocka_unit_test(only_origin_form_is_a_target),
        cmocka_unit_test(path_segments_are_decoded_strictly),
        cmocka_unit_test(bytes_that_have_to_be_encoded_are_refused),
        cmocka_unit_test(empty_and_dot_segments_are_refused),
        cmocka_unit_test(too_many_segments_are_refused),
        cmocka_unit_test(query_parameters_are_decoded),
        cmocka_unit_test(too_many_query_parameters_are_refused),
        cmocka_unit_test(lines_end_in_cr_lf_only),
        cmocka_unit_test(header_lines_are_strict),
        cmocka_unit_test(host_is_wanted_exactly_once),
        cmocka_unit_test(content_length_is_one_plain_number),
        cmocka_unit_test(the_only_transfer_coding_is_chunked),
        cmocka_unit_test(headers_that_decide_may_not_repeat),
        cmocka_unit_test(connection_and_expect_are_understood_or_refused),
        cmocka_unit_test(chunked_bodies_are_joined),
        cmocka_unit_test(chunk_framing_is_strict),
        cmocka_unit_test(every_element_is_bounded),
        cmocka_unit_test(a_head_of_just_the_limit_is_taken),
    };
    return cmocka_run_group_tests_name("http/parse", tests, NULL, NULL);
}
