// Tests of what envctl lets through to a terminal (client/harmless.c).
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harmless.h"

static void assert_written(const char *in, size_t len, const char *expected)
{
    for (size_t cut = 0; cut <= len; cut++) { // in two pieces, wherever it is cut
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        struct harmless state = {0};
        harmless_write(&state, out, in, cut);
        harmless_write(&state, out, in + cut, len - cut);
        harmless_flush(&state, out);
        fclose(out);
        assert_string_equal(text, expected);
        free(text);
    }
}

#define assert_shown(in, expected) assert_written(in, sizeof(in) - 1, expected)

static void text_passes_as_it_is(void **state)
{
    (void)state;
    assert_shown("a\tb\n\xc3\xa9 \xe2\x82\xac \xc2\xa9", "a\tb\n\xc3\xa9 \xe2\x82\xac \xc2\xa9");
}

static void escape_sequences_are_spelled_out(void **state)
{
    (void)state;
    assert_shown("\x1b[2J\r\x7f\x07", "\\x1b[2J\\x0d\\x7f\\x07");
    assert_shown("a\0b", "a\\x00b");
}

static void c1_controls_in_utf8_are_spelled_out(void **state)
{
    (void)state;
    assert_shown("\xc2\x9b"
                 "31m",
                 "\\xc2\\x9b31m");
    assert_shown("\xc2\xc2\x80", "\xc2\\xc2\\x80");
}

static void a_lead_byte_at_the_end_is_not_lost(void **state)
{
    (void)state;
    assert_shown("a\xc2", "a\xc2");
}

static void in_cells_control_characters_become_spaces(void **state)
{
    (void)state;
    char text[] = "a\x1b[b\n\xc2\x9b"
                  "c\xc3\xa9\xc2";
    harmless_text(text);
    assert_string_equal(text, "a [b   c\xc3\xa9\xc2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_passes_as_it_is),
        cmocka_unit_test(escape_sequences_are_spelled_out),
        cmocka_unit_test(c1_controls_in_utf8_are_spelled_out),
        cmocka_unit_test(a_lead_byte_at_the_end_is_not_lost),
        cmocka_unit_test(in_cells_control_characters_become_spaces),
    };
    return cmocka_run_group_tests_name("ctl/harmless", tests, NULL, NULL);
}
