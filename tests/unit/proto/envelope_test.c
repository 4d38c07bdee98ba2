// Tests of the message envelope (proto/envelope.c) and of the receipts' words (proto/receipt.c).
#include "testing.h"

#include <string.h>

#include "exact.h"
#include "samples.h"

static struct sample sample;
static uint8_t out[SAMPLE_CAP];

static const char *decode(const uint8_t *data, size_t len, struct envelope *e)
{
    struct wire_reader r;
    wire_reader_init(&r, data, len);
    envelope_read(&r, e);
    wire_reader_end(&r);
    return r.error.what;
}

// The bytes as envelope.h draws them, written by hand.
static const uint8_t drawn[] = {
    1,    1,    9,    0, // version, call, priority, reserved
    1,    2,    3,    4,    5,   6, 0x77, 8,   0x89, 10, 11, 12, 13, 14, 15, 16, // id
    0,    0,    0,    0,    0,   0, 0,    0,   0,    0,  0,  0,  0,  0,  0,  0,  // correlation
    0x15, 0xcd, 0x5b, 0x07, 0,   0, 0,    0,                                     // expires 123456789
    0,    0,                                                                     // from
    2,    0,    'd',  'b',                                                       // to
    3,    0,    'a',  '.',  'b',                                                 // subject
    1,    0,    't',                                                             // content type
    1,    0,    1,    0,    'k', 2, 0,    'v', 'v',                              // one header
    3,    0,    0,    0,    'x', 0, 'z',                                         // body
};

static void the_encoding_is_the_one_that_the_header_draws(void **state)
{
    (void)state;
    struct envelope e;
    assert_null(decode(drawn, sizeof drawn, &e));
    assert_int_equal(e.kind, MESSAGE_CALL);
    assert_int_equal(e.priority, 9);
    assert_int_equal(e.expires_ms, 123456789);
    assert_int_equal(e.id.bytes[15], 16);
    assert_true(wire_view_equals(e.to, "db"));
    assert_true(wire_view_equals(e.subject, "a.b"));
    assert_true(wire_view_equals(e.headers[0].value, "vv"));
    assert_int_equal(e.body.len, 3);
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    envelope_write(&w, &e);
    assert_int_equal(w.pos, sizeof drawn);
    assert_memory_equal(out, drawn, sizeof drawn);
    assert_int_equal(envelope_size(&e), sizeof drawn);
}

static void every_sample_survives_the_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; sample_envelope(i, &sample); i++) {
        struct envelope e;
        assert_null(decode(sample.data, sample.len, &e));
        struct wire_writer w;
        wire_writer_init(&w, out, sizeof out);
        envelope_write(&w, &e);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_envelope(i, &sample); i++) {
        for (size_t n = 0; n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            struct envelope e;
            const char *what = decode(cut, n, &e);
            free(cut);
            if (!what || strcmp(what, "truncated") != 0)
                fail_msg("sample %zu cut to %zu: %s", i, n, what ? what : "accepted");
        }
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    struct envelope e;
    sample_envelope(0, &sample);
    sample.data[sample.len] = 0;
    assert_string_equal(decode(sample.data, sample.len + 1, &e), "trailing bytes");
}

static void each_wrong_field_is_named(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        uint8_t value;
        const char *what;
    } wrongs[] = {
        {0, 2, "unknown envelope version"},
        {1, MESSAGE_KIND_COUNT, "unknown message kind"},
        {2, 10, "priority above 9"},
        {3, 1, "reserved byte is not zero"},
        {44, 130, "string too long"},
        {48, '/', "the address's tenant is not a name (a-z, 0-9 and -, at most 63)"},
        {52, '.', "not a subject (tokens of A-Z, a-z, 0-9, _ and -, joined by dots)"},
        {58, 33, "more than 32 headers"},
        {60, 0, "a header's name is empty"},
        {70, 1, "bytes too long"}, // the length's top byte: just above 16 MiB
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        uint8_t raw[sizeof drawn];
        struct envelope e;
        memcpy(raw, drawn, sizeof raw);
        raw[wrongs[i].offset] = wrongs[i].value;
        const char *what = decode(raw, sizeof raw, &e);
        assert_non_null(what);
        assert_string_equal(what, wrongs[i].what);
    }
}

static size_t encode(const struct envelope *e)
{
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    envelope_write(&w, e);
    assert_false(w.overflow);
    return w.pos;
}

static void only_a_reply_may_lack_a_subject(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        struct envelope e = {.kind = (enum message_kind)kind, .to = view_of("db")}, got;
        const char *what = decode(out, encode(&e), &got);
        assert_int_equal(what == NULL, kind == MESSAGE_REPLY);
    }
}

static void a_receiver_is_always_needed(void **state)
{
    (void)state;
    struct envelope e = {.kind = MESSAGE_REPLY}, got;
    assert_string_equal(decode(out, encode(&e), &got), "the address is empty");
}

static void the_largest_envelope_stays_below_the_stated_overhead(void **state)
{
    (void)state;
    static char longest[ENVELOPE_HEADER_VALUE_MAX];
    memset(longest, 'x', sizeof longest);
    struct envelope e = {.kind = MESSAGE_SEND,
                         .to = {(const uint8_t *)longest, NAME_MAX_LEN},
                         .subject = {(const uint8_t *)longest, SUBJECT_MAX_LEN},
                         .content_type = {(const uint8_t *)longest, ENVELOPE_CONTENT_TYPE_MAX},
                         .n_headers = ENVELOPE_HEADERS_MAX};
    for (size_t i = 0; i < ENVELOPE_HEADERS_MAX; i++) {
        e.headers[i].name = (struct wire_view){(const uint8_t *)longest, ENVELOPE_HEADER_NAME_MAX};
        e.headers[i].value = (struct wire_view){(const uint8_t *)longest, ENVELOPE_HEADER_VALUE_MAX};
    }
    struct envelope got;
    assert_true(encode(&e) <= ENVELOPE_OVERHEAD_MAX);
    assert_null(decode(out, encode(&e), &got));
    assert_int_equal(got.n_headers, ENVELOPE_HEADERS_MAX);
}

static void too_many_headers_cannot_be_written(void **state)
{
    (void)state;
    struct envelope e = {.to = view_of("db"), .n_headers = ENVELOPE_HEADERS_MAX + 1};
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    envelope_write(&w, &e);
    assert_true(w.overflow);
}

static void kinds_have_names_that_parse_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MESSAGE_KIND_COUNT; i++) {
        enum message_kind kind;
        assert_true(message_kind_parse(message_kind_name((enum message_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    enum message_kind kind = MESSAGE_EVENT;
    assert_false(message_kind_parse("unknown", &kind));
    assert_int_equal(kind, MESSAGE_EVENT);
    assert_string_equal(message_kind_name(MESSAGE_KIND_COUNT), "unknown");
}

static void every_receipt_has_a_name_a_hint_and_an_exit_code(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RECEIPT_CODE_COUNT; i++) {
        assert_true(strlen(receipt_code_name((enum receipt_code)i)) > 0);
        assert_true(strlen(receipt_code_hint((enum receipt_code)i)) > 0);
        assert_int_equal(receipt_exit_code((enum receipt_code)i), i == 0 ? 0 : 20 + i);
    }
    assert_string_equal(receipt_code_name(RECEIPT_HOST_UNREACHABLE), "host-unreachable");
    assert_string_equal(receipt_code_name(RECEIPT_CODE_COUNT), "unknown-code");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_encoding_is_the_one_that_the_header_draws),
        cmocka_unit_test(every_sample_survives_the_round_trip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(each_wrong_field_is_named),
        cmocka_unit_test(only_a_reply_may_lack_a_subject),
        cmocka_unit_test(a_receiver_is_always_needed),
        cmocka_unit_test(the_largest_envelope_stays_below_the_stated_overhead),
        cmocka_unit_test(too_many_headers_cannot_be_written),
        cmocka_unit_test(kinds_have_names_that_parse_back),
        cmocka_unit_test(every_receipt_has_a_name_a_hint_and_an_exit_code),
    };
    return cmocka_run_group_tests_name("proto/envelope", tests, NULL, NULL);
}
