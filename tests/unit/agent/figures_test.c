// Tests of reading the guest's figures (agent/linux/figures.c).
#include "testing.h"

#include "figures.h"

static void a_value_is_found_by_its_whole_name(void **state)
{
    (void)state;
    const char *text = "MemTotal:        2014 kB\nMemTotalX: 7 kB\nMemFree:  12 kB\nSwapFree:";
    assert_int_equal(figures_parse_meminfo(text, "MemTotal"), 2014 * 1024);
    assert_int_equal(figures_parse_meminfo(text, "MemFree"), 12 * 1024);
    assert_int_equal(figures_parse_meminfo(text, "Mem"), 0);
    assert_int_equal(figures_parse_meminfo(text, "SwapFree"), 0);
    assert_int_equal(figures_parse_meminfo("", "MemTotal"), 0);
}

static void the_load_is_in_thousandths(void **state)
{
    (void)state;
    uint32_t load = 0, processes = 0;
    assert_true(figures_parse_loadavg("12.05 0.18 0.12 1/80 11206\n", &load, &processes));
    assert_int_equal(load, 12050);
    assert_int_equal(processes, 80);
    assert_false(figures_parse_loadavg("", &load, &processes));
    assert_false(figures_parse_loadavg("1.00 x", &load, &processes));
    assert_int_equal(load, 12050);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_by_its_whole_name),
        cmocka_unit_test(the_load_is_in_thousandths),
    };
    return cmocka_run_group_tests_name("agent/figures", tests, NULL, NULL);
}
