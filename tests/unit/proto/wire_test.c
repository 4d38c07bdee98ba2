// Tests of the byte cursors and of UTF-8 validation (proto/wire.c, proto/utf8.c).
#include "testing.h"

#include <string.h>

#include "proto/wire.h"

static void integers_are_little_endian(void **state)
{
    (void)state;
    uint8_t raw[15];
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    wire_write_u8(&w, 0x01);
    wire_write_u16(&w, 0x0302);
    wire_write_u32(&w, 0x07060504);
    wire_write_u64(&w, 0x0f0e0d0c0b0a0908);
    assert_false(w.overflow);
    for (size_t i = 0; i < sizeof raw; i++)
        assert_int_equal(raw[i], i + 1);
    struct wire_reader r;
    wire_reader_init(&r, raw, sizeof raw);
    assert_int_equal(wire_read_u8(&r), 0x01);
    assert_int_equal(wire_read_u16(&r), 0x0302);
    assert_int_equal(wire_read_u32(&r), 0x07060504);
    assert_int_equal(wire_read_u64(&r), 0x0f0e0d0c0b0a0908);
    assert_true(wire_reader_end(&r));
}

static void reading_past_the_end_yields_zero_and_says_where(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, "\xff\xff\xff", 3);
    assert_int_equal(wire_read_u16(&r), 0xffff);
    assert_int_equal(wire_read_u16(&r), 0);
    assert_string_equal(r.error.what, "truncated");
    assert_int_equal(r.error.offset, 2);
    assert_int_equal(wire_read_u8(&r), 0); // the byte is there, but nothing is read after a failure
}

static void the_first_complaint_sticks(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, "x", 1);
    wire_reader_fail(&r, "first");
    wire_reader_fail(&r, "second");
    assert_string_equal(r.error.what, "first");
    assert_false(wire_reader_end(&r));
}

static void raw_bytes_are_zeroed_when_truncated(void **state)
{
    (void)state;
    struct wire_reader r;
    uint8_t out[4] = {9, 9, 9, 9};
    wire_reader_init(&r, "abc", 3);
    wire_read_raw(&r, out, 4);
    assert_memory_equal(out, "\0\0\0\0", 4);
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, "ab", 2);
    wire_read_u8(&r);
    assert_false(wire_reader_end(&r));
    assert_string_equal(r.error.what, "trailing bytes");
    assert_int_equal(r.error.offset, 1);
}

static void an_empty_buffer_may_be_null(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, NULL, 0);
    assert_true(wire_reader_end(&r));
    assert_int_equal(wire_read_str(&r, 10).len, 0);
    assert_false(wire_reader_ok(&r));
}

static void a_string_may_have_its_greatest_length_and_no_more(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, "\x03\0abc", 5);
    assert_true(wire_view_equals(wire_read_str(&r, 3), "abc"));
    assert_true(wire_reader_end(&r));
    wire_reader_init(&r, "\x03\0abc", 5);
    assert_int_equal(wire_read_str(&r, 2).len, 0);
    assert_string_equal(r.error.what, "string too long");
    assert_int_equal(r.error.offset, 0);
}

static void a_string_with_nul_is_refused(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r, "\x03\0a\0c", 5);
    assert_int_equal(wire_read_str(&r, 10).len, 0);
    assert_string_equal(r.error.what, "string is not UTF-8 without NUL");
}

static void bytes_longer_than_the_buffer_are_refused(void **state)
{
    (void)state;
    struct wire_reader r;
    wire_reader_init(&r,
                     "\xff\xff\xff\xff"
                     "abc",
                     7);
    assert_null(wire_read_bytes(&r, SIZE_MAX).data);
    assert_string_equal(r.error.what, "truncated");
}

static void a_writer_that_overflows_goes_on_counting_and_writes_nothing_more(void **state)
{
    (void)state;
    uint8_t raw[4] = {0};
    struct wire_writer w;
    wire_writer_init(&w, raw, 3);
    wire_write_u16(&w, 0x0101);
    wire_write_u16(&w, 0x0202);
    wire_write_u8(&w, 0x03);
    assert_true(w.overflow);
    assert_int_equal(w.pos, 5);
    assert_memory_equal(raw, "\x01\x01\0\0", 4);
}

static void a_writer_without_room_measures(void **state)
{
    (void)state;
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    wire_write_cstr(&w, "abc");
    wire_write_bytes(&w, "abc", 3);
    assert_int_equal(w.pos, 2 + 3 + 4 + 3);
}

static void a_string_over_65535_bytes_cannot_be_written(void **state)
{
    (void)state;
    static uint8_t long_string[65536], out[70000];
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    wire_write_str(&w, long_string, 65535);
    assert_false(w.overflow);
    wire_writer_init(&w, out, sizeof out);
    wire_write_str(&w, long_string, 65536);
    assert_true(w.overflow);
}

static void a_view_becomes_a_c_string_only_where_it_fits(void **state)
{
    (void)state;
    char out[4] = "zzz";
    struct wire_view v = {(const uint8_t *)"abc", 3};
    assert_true(wire_view_to_cstr(v, out, 4));
    assert_string_equal(out, "abc");
    assert_false(wire_view_to_cstr(v, out, 3));
    assert_string_equal(out, "");
    assert_false(wire_view_to_cstr(v, out, 0));
    assert_true(wire_view_to_cstr((struct wire_view){0}, out, 1));
}

static void views_equal_strings_of_the_same_length(void **state)
{
    (void)state;
    struct wire_view v = {(const uint8_t *)"abc", 3};
    assert_true(wire_view_equals(v, "abc"));
    assert_false(wire_view_equals(v, "abd"));
    assert_false(wire_view_equals(v, "ab"));
    assert_false(wire_view_equals(v, "abcd"));
    assert_true(wire_view_equals((struct wire_view){0}, ""));
}

static const struct {
    const char *bytes;
    bool valid;
} utf8_table[] = {
    {"", true},
    {"plain", true},
    {"\x7f", true},
    {"\xc2\x80", true},          // U+0080, the first of two bytes
    {"\xdf\xbf", true},          // U+07FF
    {"\xe0\xa0\x80", true},      // U+0800
    {"\xed\x9f\xbf", true},      // U+D7FF, the last before the surrogates
    {"\xee\x80\x80", true},      // U+E000
    {"\xef\xbf\xbf", true},      // U+FFFF
    {"\xf0\x90\x80\x80", true},  // U+10000
    {"\xf4\x8f\xbf\xbf", true},  // U+10FFFF
    {"a\xc3\xa9z", true},        //
    {"\x80", false},             // a continuation alone
    {"\xc0\x80", false},         // overlong NUL
    {"\xc1\xbf", false},         // overlong U+007F
    {"\xe0\x9f\xbf", false},     // overlong U+07FF
    {"\xf0\x8f\xbf\xbf", false}, // overlong U+FFFF
    {"\xed\xa0\x80", false},     // U+D800
    {"\xed\xbf\xbf", false},     // U+DFFF
    {"\xf4\x90\x80\x80", false}, // U+110000
    {"\xf5\x80\x80\x80", false}, //
    {"\xff", false},             //
    {"\xc2", false},             // cut
    {"\xe0\xa0", false},         //
    {"\xf0\x90\x80", false},     //
    {"\xc2z", false},            // a sequence that does not go on
    {"\xe0\xa0z", false},        //
    {"\xf0\x90\x80z", false},    //
};

static void utf8_is_valid_exactly_as_rfc_3629_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof utf8_table / sizeof utf8_table[0]; i++)
        if (wire_utf8_valid(utf8_table[i].bytes, strlen(utf8_table[i].bytes)) != utf8_table[i].valid)
            fail_msg("row %zu", i);
    assert_false(wire_utf8_valid("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_little_endian),
        cmocka_unit_test(reading_past_the_end_yields_zero_and_says_where),
        cmocka_unit_test(the_first_complaint_sticks),
        cmocka_unit_test(raw_bytes_are_zeroed_when_truncated),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(an_empty_buffer_may_be_null),
        cmocka_unit_test(a_string_may_have_its_greatest_length_and_no_more),
        cmocka_unit_test(a_string_with_nul_is_refused),
        cmocka_unit_test(bytes_longer_than_the_buffer_are_refused),
        cmocka_unit_test(a_writer_that_overflows_goes_on_counting_and_writes_nothing_more),
        cmocka_unit_test(a_writer_without_room_measures),
        cmocka_unit_test(a_string_over_65535_bytes_cannot_be_written),
        cmocka_unit_test(a_view_becomes_a_c_string_only_where_it_fits),
        cmocka_unit_test(views_equal_strings_of_the_same_length),
        cmocka_unit_test(utf8_is_valid_exactly_as_rfc_3629_says),
    };
    return cmocka_run_group_tests_name("proto/wire", tests, NULL, NULL);
}
