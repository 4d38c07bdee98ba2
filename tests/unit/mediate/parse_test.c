// Tests of the policy's grammar: what is accepted, and where and how the rest is refused (policy_parse.c).
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "mediate/policy.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int parse(const char *text, size_t len, struct policy **ret, struct policy_fault *fault,
                 struct err *err)
{
    const struct policy_source source = {"main", text, len};
    return policy_new(&source, 1, 1, ret, fault, err);
}

static void assert_accepted(const char *text, uint32_t n_rules)
{
    struct policy *p = NULL;
    struct err err = {""};
    if (parse(text, strlen(text), &p, NULL, &err) < 0)
        fail_msg("%s\n%s", text, err.text);
    assert_int_equal(policy_n_rules(p), n_rules);
    policy_unref(p);
}

static void what_the_grammar_names_is_accepted(void **state)
{
    (void)state;
    assert_accepted("", 0);
    assert_accepted("\n\n# nothing\n   # indented\n", 0);
    assert_accepted("* * * deny", 1);
    assert_accepted("* */* */* allow\n* * * deny notify\n", 2);
    assert_accepted("db.query\tacme/web  acme/db allow rate=100/s burst=20 max-body=64KiB # why\r\n", 1);
    assert_accepted("deploy.* acme/@role=ci acme/* allow kind=send,call,event", 1);
    assert_accepted("log.write */@a/b.c=x=y ops/:logs allow max-body=0", 1);
    assert_accepted("a host/operator */@k= allow image=sha256:" HEX, 1);
    assert_accepted("a acme/@owner=J\xc3\xb6rg#1 * deny kind=call # \xc3\xa9", 1);
}

struct refusal {
    const char *text;
    uint32_t line, column;
    const char *mentions; // part of the error
};

static const struct refusal refusals[] = {
    {"* * * allow\n  * * allow", 2, 12, "the action is missing"},
    {"*", 1, 2, "the source, the target and the action are missing"},
    {"* *", 1, 4, "the target and the action are missing"},
    {"a..b * * deny", 1, 1, "'a..b' is no subject"},
    {"*.a * * deny", 1, 1, "is no subject"},
    {".* * * deny", 1, 1, "is no subject"},
    {"a.*.b * * deny", 1, 1, "is no subject"},
    {"a web * deny", 1, 3, "'web' names no tenant; accepted as source: TENANT/NAME"},
    {"a * db deny", 1, 5, "accepted as target: TENANT/NAME, TENANT/*, TENANT/:SERVICE"},
    {"a acme/:logs * deny", 1, 3, "'acme/:logs' is a service, but a sender is an environment"},
    {"a */web * deny", 1, 3, "means every tenant"},
    {"a */:logs * deny", 1, 3, "means every tenant"},
    {"a Acme/web * deny", 1, 3, "no tenant's name"},
    {"a acme/we_b * deny", 1, 3, "no valid name"},
    {"a acme/ * deny", 1, 3, "no valid name"},
    {"a /web * deny", 1, 3, "no tenant's name"},
    {"a acme/@role * deny", 1, 3, "has no '='"},
    {"a acme/@=ci * deny", 1, 3, "no valid label"},
    {"a */@-x=ci * deny", 1, 3, "no valid label"},
    {"a * acme/: deny", 1, 5, "no valid name"},
    {"a * * ask", 1, 7, "'ask' is no action; accepted: allow, deny"},
    {"a * * ALLOW", 1, 7, "is no action"},
    {"a * * allow frobnicate=1", 1, 13, "'frobnicate=1' is no parameter; accepted: kind="},
    {"a * * allow approver=acme-ops", 1, 13, "is no parameter"},
    {"a * * allow kind=reply", 1, 13, "is no list of kinds"},
    {"a * * allow kind=send,", 1, 13, "is no list of kinds"},
    {"a * * allow kind=send,send", 1, 13, "is no list of kinds"},
    {"a * * allow kind=", 1, 13, "is no list of kinds"},
    {"a * * allow kind", 1, 13, "has no value"},
    {"a * * allow kind=send kind=call", 1, 23, "given twice"},
    {"a * * allow image=sha256:12", 1, 13, "is no image digest"},
    {"a * * allow max-body=64KB", 1, 13, "is no size"},
    {"a * * allow max-body=-1", 1, 13, "is no size"},
    {"a * * allow max-body=17MiB", 1, 13, "is no size"},
    {"a * * allow max-body=99999999999999999999KiB", 1, 13, "is no size"},
    {"a * * allow max-body=", 1, 13, "is no size"},
    {"a * * allow rate=100", 1, 13, "is no rate"},
    {"a * * allow rate=0/s", 1, 13, "is no rate"},
    {"a * * allow rate=1000001/s", 1, 13, "is no rate"},
    {"a * * allow rate=010/s", 1, 13, "is no rate"},
    {"a * * allow burst=0", 1, 13, "is no burst"},
    {"a * * allow  burst=5", 1, 14, "burst without a rate"},
    {"a * * allow notify=yes", 1, 13, "has a value"},
    {"a * * deny rate=1/s", 1, 12, "limits what is allowed, but this rule denies"},
    {"a * * deny max-body=1", 1, 12, "limits what is allowed"},
    {"# fine\na * * allow \x01", 2, 13, "a control character"},
    {"a * * allow # \xff", 1, 15, "not UTF-8"},
    {"a\xc2\xa0* * * allow", 1, 1, "is no subject"},
    {"a * * allow\r kind=send", 1, 12, "a control character"},
};

static void what_the_grammar_does_not_name_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct policy *p = NULL;
        struct policy_fault fault = {0};
        struct err err = {""};
        if (parse(r->text, strlen(r->text), &p, &fault, &err) != -EINVAL)
            fail_msg("accepted: %s", r->text);
        assert_null(p);
        char place[64];
        snprintf(place, sizeof place, "main:%u:%u: ", r->line, r->column);
        if (fault.line != r->line || fault.column != r->column ||
            strncmp(err.text, place, strlen(place)) != 0 || !strstr(err.text, r->mentions))
            fail_msg("%s\nexpected %s… %s\ngot %u:%u %s", r->text, place, r->mentions, fault.line,
                     fault.column, err.text);
    }
}

static void a_nul_byte_is_refused(void **state)
{
    (void)state;
    struct policy *p = NULL;
    struct policy_fault fault;
    assert_int_equal(parse("* * * al\0low", 12, &p, &fault, NULL), -EINVAL);
    assert_int_equal(fault.column, 9);
}

static void an_error_shows_no_unprintable_bytes_and_only_the_beginning_of_a_long_word(void **state)
{
    (void)state;
    char text[600] = "\xc3\xa4";
    memset(text + 2, 'x', 500);
    memcpy(text + 502, " * * deny", sizeof " * * deny");
    struct policy *p = NULL;
    struct err err;
    assert_int_equal(parse(text, strlen(text), &p, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'??xxx"));
    assert_non_null(strstr(err.text, "xxx...' is no subject"));
}

static void the_fault_names_the_file_among_several(void **state)
{
    (void)state;
    const struct policy_source sources[] = {{"10-a", "* * * deny\n", 11}, {"20-b", "\n*", 2}};
    struct policy *p = NULL;
    struct policy_fault fault;
    struct err err;
    assert_int_equal(policy_new(sources, 2, 1, &p, &fault, &err), -EINVAL);
    assert_int_equal(fault.source, 1);
    assert_int_equal(fault.line, 2);
    assert_non_null(strstr(err.text, "20-b:2:2: "));
}

static void rules_of_several_files_are_in_order(void **state)
{
    (void)state;
    const struct policy_source sources[] = {{"10-a", "\n  x * * deny # why\n", 20},
                                            {"20-b", "* * * allow rate=5/s", 20}};
    struct policy *p = NULL;
    assert_int_equal(policy_new(sources, 2, 7, &p, NULL, NULL), 0);
    assert_int_equal(policy_revision(p), 7);
    struct policy_rule_view rule;
    assert_true(policy_rule_at(p, 0, &rule));
    assert_string_equal(rule.file, "10-a");
    assert_int_equal(rule.line, 2);
    assert_int_equal(rule.len, strlen("x * * deny"));
    assert_memory_equal(rule.text, "x * * deny", rule.len);
    assert_false(rule.allow);
    assert_true(policy_rule_at(p, 1, &rule));
    assert_string_equal(rule.file, "20-b");
    assert_true(rule.allow);
    assert_int_equal(rule.burst, 5);
    assert_false(policy_rule_at(p, 2, &rule));
    assert_false(policy_rule_at(p, POLICY_RULE_NONE, &rule));
    policy_unref(p);
}

static void too_many_rules_are_refused(void **state)
{
    (void)state;
    const char rule[] = "* * * deny\n";
    size_t n = POLICY_RULES_MAX + 1, len = n * (sizeof rule - 1);
    char *text = malloc(len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * (sizeof rule - 1), rule, sizeof rule - 1);
    struct policy *p = NULL;
    struct policy_fault fault;
    assert_int_equal(parse(text, len, &p, &fault, NULL), -EINVAL);
    assert_int_equal(fault.line, POLICY_RULES_MAX + 1);
    assert_int_equal(parse(text, len - (sizeof rule - 1), &p, &fault, NULL), 0);
    policy_unref(p);
    free(text);
}

static void too_much_text_is_refused_before_it_is_read(void **state)
{
    (void)state;
    struct policy *p = NULL;
    struct err err;
    const struct policy_source sources[] = {{"a", "\n", 1}, {"b", NULL, POLICY_TEXT_MAX}};
    assert_int_equal(policy_new(sources, 2, 1, &p, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "too large"));
    struct policy_source many[POLICY_FILES_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct policy_source){"m", "", 0};
    assert_int_equal(policy_new(many, ARRAY_LEN(many), 1, &p, NULL, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_grammar_names_is_accepted),
        cmocka_unit_test(what_the_grammar_does_not_name_is_refused_with_its_place),
        cmocka_unit_test(a_nul_byte_is_refused),
        cmocka_unit_test(an_error_shows_no_unprintable_bytes_and_only_the_beginning_of_a_long_word),
        cmocka_unit_test(the_fault_names_the_file_among_several),
        cmocka_unit_test(rules_of_several_files_are_in_order),
        cmocka_unit_test(too_many_rules_are_refused),
        cmocka_unit_test(too_much_text_is_refused_before_it_is_read),
    };
    return cmocka_run_group_tests_name("mediate/parse", tests, NULL, NULL);
}
