// Tests of the names of kernel objects (server/priv/names.c): cleaning up goes by them.
#include "testing.h"

#include <string.h>

#include "names.h"

static const struct instance one = {"ab12"};

static void instances_are_four_of_a_to_z_and_0_to_9(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "abc", "abcde", "ABCD", "ab-1", "ab 1", "ab/1", "ab\n1"};
    struct instance i;
    assert_true(instance_parse("ab12", &i));
    assert_string_equal(i.text, "ab12");
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++)
        assert_false(instance_parse(bad[n], &i));
}

static void a_folder_has_always_the_same_valid_instance(void **state)
{
    (void)state;
    struct instance a = instance_of_folder("/run/envd");
    struct instance b = instance_of_folder("/run/envd");
    struct instance c = instance_of_folder("/run/envd2");
    struct instance parsed;
    assert_string_equal(a.text, b.text);
    assert_string_not_equal(a.text, c.text);
    assert_true(instance_parse(a.text, &parsed));
}

static void user_ids_stay_out_of_everybodys_way(void **state)
{
    (void)state;
    static const struct instance some[] = {{"aaaa"}, {"9999"}, {"ab12"}, {"zz9z"}};
    for (size_t n = 0; n < sizeof some / sizeof some[0]; n++) {
        unsigned base = instance_uid_base(&some[n]);
        assert_true(base >= 0x70000000u);
        assert_true(base + 4096u <= 0x80000000u);
    }
    assert_int_not_equal(instance_uid_base(&some[0]), instance_uid_base(&some[1]));
}

static void made_names_fit_and_are_recognised(void **state)
{
    (void)state;
    char name[IFNAMSIZ];
    name_bridge(&one, 4095, name);
    assert_string_equal(name, "evab12b4095");
    assert_true(name_is_our_link(&one, name));
    name_tap(&one, 2047, name);
    assert_string_equal(name, "evab12t2047");
    assert_true(name_is_our_link(&one, name));
    char table[TABLE_NAME_CAP];
    name_table(&one, table);
    assert_string_equal(table, "envd_ab12");
}

static void names_of_others_are_not_ours(void **state)
{
    (void)state;
    static const char *const others[] = {"",          "eth0",      "evab12",     "evab12b",  "evab12t",
                                         "evab12x1",  "evab12t1x", "evab12t-1",  "evab13t1", "evab1t1",
                                         "xevab12t1", "evab12tt1", "evab12b1.5", "EVAB12B1", "evab12b1 ",
                                         "evab12b+1", "evab12 b1", "ev"};
    for (size_t n = 0; n < sizeof others / sizeof others[0]; n++)
        if (name_is_our_link(&one, others[n]))
            fail_msg("\"%s\" was taken for ours", others[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instances_are_four_of_a_to_z_and_0_to_9),
        cmocka_unit_test(a_folder_has_always_the_same_valid_instance),
        cmocka_unit_test(user_ids_stay_out_of_everybodys_way),
        cmocka_unit_test(made_names_fit_and_are_recognised),
        cmocka_unit_test(names_of_others_are_not_ours),
    };
    return cmocka_run_group_tests_name("priv/names", tests, NULL, NULL);
}
