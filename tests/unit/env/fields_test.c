// JSON from outside: parsing, tables of fields, merge patches (server/daemon/json).
#include "../testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "json/fields.h"

static const char *no_x(const char *key, const char *text, size_t len)
{
    (void)key;
    return memchr(text, 'x', len) ? "must not have an x" : NULL;
}

static const char *no_key_y(const char *key, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return key && strcmp(key, "y") == 0 ? "must not be called y" : NULL;
}

static const struct json_field inner[] = {{.name = "n", .kind = JSON_FIELD_INTEGER, .min = 1, .max = 9}};
static const struct json_field fields[] = {
    {.name = "name", .kind = JSON_FIELD_STRING, .required = true, .min = 1, .max = 4, .check = no_x},
    {.name = "in", .kind = JSON_FIELD_OBJECT, .fields = inner, .n_fields = 1},
    {.name = "yes", .kind = JSON_FIELD_BOOLEAN},
    {.name = "list", .kind = JSON_FIELD_STRINGS, .min = 0, .max = 2, .each_max = 3, .check = no_x},
    {.name = "map", .kind = JSON_FIELD_MAP, .max = 2, .each_max = 3, .check = no_key_y},
};

static struct json_fault check(const char *text)
{
    struct json_fault fault = {.code = ""};
    json_t *v = json_read(text, strlen(text), &fault);
    if (v && json_check(v, fields, sizeof fields / sizeof fields[0], &fault) == 0)
        fault.code = "";
    json_decref(v);
    return fault;
}

static void assert_fault(const char *text, const char *code, const char *pointer)
{
    struct json_fault f = check(text);
    assert_string_equal(f.code, code);
    assert_string_equal(f.pointer, pointer);
}

static void what_fits_the_table_is_accepted(void **state)
{
    (void)state;
    assert_string_equal(
        check("{\"name\":\"a\",\"in\":{\"n\":9},\"yes\":true,\"list\":[\"b\",\"\"],\"map\":{\"k\":\"v\"}}")
            .code,
        "");
}

static void a_missing_member_is_named(void **state)
{
    (void)state;
    assert_fault("{}", "missing-member", "/name");
}

static void an_unknown_member_is_named_wherever_it_is(void **state)
{
    (void)state;
    assert_fault("{\"name\":\"a\",\"nam\":1}", "unknown-member", "/nam");
    assert_fault("{\"name\":\"a\",\"in\":{\"m\":1}}", "unknown-member", "/in/m");
    assert_fault("{\"name\":\"a\",\"a/b~c\":1}", "unknown-member", "/a~1b~0c");
}

static void a_member_of_the_wrong_kind_is_refused(void **state)
{
    (void)state;
    assert_fault("{\"name\":1}", "invalid-member", "/name");
    assert_fault("{\"name\":\"a\",\"in\":[]}", "invalid-member", "/in");
    assert_fault("{\"name\":\"a\",\"in\":{\"n\":1.5}}", "invalid-member", "/in/n");
    assert_fault("{\"name\":\"a\",\"yes\":0}", "invalid-member", "/yes");
    assert_fault("{\"name\":\"a\",\"list\":{}}", "invalid-member", "/list");
    assert_fault("{\"name\":\"a\",\"list\":[1]}", "invalid-member", "/list/0");
    assert_fault("{\"name\":\"a\",\"map\":[]}", "invalid-member", "/map");
    assert_fault("{\"name\":\"a\",\"map\":{\"k\":null}}", "invalid-member", "/map/k");
    assert_fault("[]", "invalid-member", "");
    assert_fault("null", "invalid-member", "");
}

static void a_value_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_fault("{\"name\":\"\"}", "invalid-member", "/name");
    assert_fault("{\"name\":\"abcde\"}", "invalid-member", "/name");
    assert_fault("{\"name\":\"a\",\"in\":{\"n\":0}}", "invalid-member", "/in/n");
    assert_fault("{\"name\":\"a\",\"in\":{\"n\":10}}", "invalid-member", "/in/n");
    assert_fault("{\"name\":\"a\",\"list\":[\"\",\"\",\"\"]}", "invalid-member", "/list");
    assert_fault("{\"name\":\"a\",\"list\":[\"\",\"abcd\"]}", "invalid-member", "/list/1");
    assert_fault("{\"name\":\"a\",\"map\":{\"1\":\"\",\"2\":\"\",\"3\":\"\"}}", "invalid-member", "/map");
}

static void a_check_of_its_own_is_asked(void **state)
{
    (void)state;
    assert_fault("{\"name\":\"ax\"}", "invalid-member", "/name");
    assert_fault("{\"name\":\"a\",\"list\":[\"a\",\"x\"]}", "invalid-member", "/list/1");
    assert_fault("{\"name\":\"a\",\"map\":{\"y\":\"\"}}", "invalid-member", "/map/y");
}

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        " ",
                                        "{",
                                        "{\"name\":\"a\"} x",
                                        "{\"name\":\"a\",\"name\":\"b\"}",
                                        "{\"name\":\"\\u0000\"}",
                                        "{\"name\":\"\xff\"}",
                                        "{'name':1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_fault(wrong[i], "malformed-json", "");
}

static void too_much_nesting_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    char deep[2 * (JSON_DEPTH_MAX + 1) + 1];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    deep[sizeof deep - 1] = '\0';
    assert_fault(deep, "malformed-json", "");
    assert_fault("{\"name\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", "invalid-member", "/name");
}

static void a_pointer_that_is_too_long_is_cut(void **state)
{
    (void)state;
    char text[1024] = "{\"name\":\"a\",\"";
    size_t n = strlen(text);
    memset(text + n, '/', 700);
    snprintf(text + n + 700, 64, "\":1}");
    struct json_fault f = check(text);
    assert_string_equal(f.code, "unknown-member");
    assert_true(strlen(f.pointer) < JSON_POINTER_CAP);
}

static void assert_merge(const char *target, const char *patch, const char *want)
{
    json_t *t = json_loads(target, JSON_DECODE_ANY, NULL), *p = json_loads(patch, JSON_DECODE_ANY, NULL);
    json_t *w = json_loads(want, JSON_DECODE_ANY, NULL);
    json_t *got = json_merge_patch(t, p);
    assert_true(json_equal(got, w));
    json_decref(t);
    json_decref(p);
    json_decref(w);
    json_decref(got);
}

// The examples of RFC 7396, appendix A.
static void merge_patches_do_as_the_rfc_says(void **state)
{
    (void)state;
    assert_merge("{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
    assert_merge("{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}");
    assert_merge("{\"a\":\"b\"}", "{\"a\":null}", "{}");
    assert_merge("{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
    assert_merge("{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}");
    assert_merge("{\"a\":\"foo\"}", "null", "null");
    assert_merge("{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}");
    assert_merge("[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}");
    assert_merge("{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_the_table_is_accepted),
        cmocka_unit_test(a_missing_member_is_named),
        cmocka_unit_test(an_unknown_member_is_named_wherever_it_is),
        cmocka_unit_test(a_member_of_the_wrong_kind_is_refused),
        cmocka_unit_test(a_value_out_of_range_is_refused),
        cmocka_unit_test(a_check_of_its_own_is_asked),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(too_much_nesting_is_refused_before_it_is_parsed),
        cmocka_unit_test(a_pointer_that_is_too_long_is_cut),
        cmocka_unit_test(merge_patches_do_as_the_rfc_says),
    };
    return cmocka_run_group_tests_name("json_fields", tests, NULL, NULL);
}
