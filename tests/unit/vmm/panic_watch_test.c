// Tests of the search for a kernel's last words (server/vmm/panic_watch.c).
#include "testing.h"

#include <string.h>

#include "panic_watch.h"

static struct panic_watch w;

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    return 0;
}

static void feed(const char *text, uint64_t now_ns)
{
    panic_watch_feed(&w, (const uint8_t *)text, strlen(text), now_ns);
}

static void the_words_are_found_behind_the_time_stamp(void **state)
{
    (void)state;
    feed("[    1.2] Kernel panic - not syncing: sysrq triggered crash\r\n", 5);
    assert_string_equal(panic_watch_text(&w, 5, 0), "Kernel panic - not syncing: sysrq triggered crash");
}

static void pieces_of_a_line_are_put_together(void **state)
{
    (void)state;
    feed("Kernel pan", 1);
    feed("ic - not syncing: x", 1);
    assert_null(panic_watch_text(&w, 1, 9));
    feed("\n", 1);
    assert_string_equal(panic_watch_text(&w, 1, 9), "Kernel panic - not syncing: x");
}

static void the_end_of_the_report_changes_nothing(void **state)
{
    (void)state;
    feed("Kernel panic - not syncing: a\n---[ end Kernel panic - not syncing: a ]---\n", 1);
    assert_string_equal(panic_watch_text(&w, 1, 9), "Kernel panic - not syncing: a");
}

static void old_words_do_not_count(void **state)
{
    (void)state;
    feed("Kernel panic - not syncing: a\n", 10);
    assert_non_null(panic_watch_text(&w, 20, 10));
    assert_null(panic_watch_text(&w, 21, 10));
}

static void long_and_unprintable_lines_are_cut_and_cleaned(void **state)
{
    (void)state;
    char line[1000] = "Kernel panic - not syncing: \x1b[31m";
    memset(line + strlen(line), 'x', 900);
    feed(line, 1);
    feed("\n", 1);
    assert_int_equal(strlen(panic_watch_text(&w, 1, 9)), PANIC_LINE_MAX);
    assert_null(strchr(panic_watch_text(&w, 1, 9), '\x1b'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_words_are_found_behind_the_time_stamp, setup),
        cmocka_unit_test_setup(pieces_of_a_line_are_put_together, setup),
        cmocka_unit_test_setup(the_end_of_the_report_changes_nothing, setup),
        cmocka_unit_test_setup(old_words_do_not_count, setup),
        cmocka_unit_test_setup(long_and_unprintable_lines_are_cut_and_cleaned, setup),
    };
    return cmocka_run_group_tests_name("vmm/panic_watch", tests, NULL, NULL);
}
