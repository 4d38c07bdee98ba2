// Tests of deciding: what each pattern and parameter matches, first match, and that the index says what a
// scan says (policy_match.c, policy_index.c, policy_explain.c).
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "mediate/policy.h"

#define IMAGE_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define IMAGE_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct policy *make(const char *text)
{
    const struct policy_source source = {"main", text, strlen(text)};
    struct policy *p = NULL;
    struct err err = {""};
    if (policy_new(&source, 1, 1, &p, NULL, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

// web asks db, both of acme.
static struct mediate_question question(void)
{
    return (struct mediate_question){.source = {.tenant = "acme", .name = "web"},
                                     .target = {.tenant = "acme", .name = "db"},
                                     .subject = "db.query.fast",
                                     .kind = MESSAGE_CALL,
                                     .body_bytes = 100,
                                     .image = IMAGE_A};
}

// What a policy answers, by both ways of asking it.
static struct mediate_decision ask(const char *text, const struct mediate_question *q)
{
    struct policy *p = make(text);
    struct mediate_decision by_index, by_scan;
    policy_decide(p, q, &by_index);
    policy_decide_by_scan(p, q, &by_scan);
    assert_int_equal(by_index.code, by_scan.code);
    assert_int_equal(by_index.reason, by_scan.reason);
    assert_int_equal(by_index.rule, by_scan.rule);
    policy_unref(p);
    return by_index;
}

static bool allows(const char *text, const struct mediate_question *q)
{
    return ask(text, q).code == RECEIPT_ACCEPTED;
}

static void a_policy_without_a_match_denies(void **state)
{
    (void)state;
    struct mediate_question q = question();
    struct mediate_decision d = ask("other * * allow", &q);
    assert_int_equal(d.code, RECEIPT_DENIED);
    assert_int_equal(d.reason, MEDIATE_REASON_NO_MATCH);
    assert_int_equal(d.rule, POLICY_RULE_NONE);
    assert_int_equal(ask("", &q).reason, MEDIATE_REASON_NO_MATCH);
}

static void the_first_match_decides(void **state)
{
    (void)state;
    struct mediate_question q = question();
    struct mediate_decision d =
        ask("x * * allow\n* acme/* * deny notify\ndb.query.fast acme/web acme/db allow\n", &q);
    assert_int_equal(d.code, RECEIPT_DENIED);
    assert_int_equal(d.line, 2);
    assert_int_equal(d.rule, 1);
    assert_true(d.notify);
    assert_true(allows("db.query.fast acme/web acme/db allow\n* * * deny", &q));
}

static void subjects_match_whole_or_below_a_dot(void **state)
{
    (void)state;
    struct mediate_question q = question();
    assert_true(allows("* * * allow", &q));
    assert_true(allows("db.query.fast * * allow", &q));
    assert_true(allows("db.query.* * * allow", &q));
    assert_true(allows("db.* * * allow", &q));
    assert_false(allows("db.query.fast.* * * allow", &q));
    assert_false(allows("db.query * * allow", &q));
    assert_false(allows("db.q.* * * allow", &q));
    assert_false(allows("db.query.fas * * allow", &q));
    q.subject = "db";
    assert_false(allows("db.* * * allow", &q));
}

static void parties_match_by_name_tenant_or_everything(void **state)
{
    (void)state;
    struct mediate_question q = question();
    assert_true(allows("* acme/web acme/db allow", &q));
    assert_true(allows("* acme/* */* allow", &q));
    assert_false(allows("* acme/db acme/web allow", &q));
    assert_false(allows("* acm/* * allow", &q));
    assert_false(allows("* beta/web * allow", &q));
    assert_false(allows("* * acme/d allow", &q));
    q.source = (struct mediate_party){.tenant = "host", .name = "operator"};
    assert_true(allows("* host/operator * allow", &q));
}

static void labels_match_within_a_tenant_or_anywhere(void **state)
{
    (void)state;
    const struct mediate_label labels[] = {{"tier", "1"}, {"role", "ci"}};
    struct mediate_question q = question();
    q.source.labels = labels;
    q.source.n_labels = 2;
    assert_true(allows("* acme/@role=ci * allow", &q));
    assert_true(allows("* */@tier=1 * allow", &q));
    assert_false(allows("* beta/@role=ci * allow", &q));
    assert_false(allows("* acme/@role=c * allow", &q));
    assert_false(allows("* acme/@role=cia * allow", &q));
    assert_false(allows("* * acme/@role=ci allow", &q));
    q.target.labels = labels;
    q.target.n_labels = 1;
    assert_true(allows("* */@role=ci acme/@tier=1 allow", &q));
}

static void services_match_only_what_is_addressed_to_them(void **state)
{
    (void)state;
    struct mediate_question q = question();
    assert_false(allows("* * acme/:db allow", &q));
    q.service = "db";
    assert_true(allows("* * acme/:db allow", &q));
    assert_false(allows("* * beta/:db allow", &q));
    assert_false(allows("* * acme/:d allow", &q));
    assert_true(allows("* * acme/db allow", &q));
    q.target.name = ""; // nobody serves it
    assert_true(allows("* * acme/:db allow", &q));
    assert_true(allows("* * acme/* allow", &q));
    assert_false(allows("* * acme/db allow", &q));
}

static void kind_and_image_are_conditions(void **state)
{
    (void)state;
    struct mediate_question q = question();
    assert_true(allows("* * * allow kind=call", &q));
    assert_true(allows("* * * allow kind=send,call", &q));
    assert_false(allows("* * * allow kind=send,event", &q));
    assert_int_equal(ask("* * * deny kind=event\n* * * deny kind=call\n* * * allow", &q).line, 2);
    assert_true(allows("* * * allow image=" IMAGE_A, &q));
    assert_false(allows("* * * allow image=" IMAGE_B, &q));
    assert_true(allows("* * * deny image=" IMAGE_B "\n* * * allow", &q));
    q.image = NULL;
    assert_false(allows("* * * allow image=" IMAGE_A, &q));
}

static void max_body_is_a_limit_of_the_rule_that_matched(void **state)
{
    (void)state;
    struct mediate_question q = question();
    struct mediate_decision d = ask("* * * allow max-body=99\n* * * allow\n", &q);
    assert_int_equal(d.code, RECEIPT_TOO_LARGE);
    assert_int_equal(d.reason, MEDIATE_REASON_RULE_BODY);
    assert_int_equal(d.line, 1);
    assert_true(allows("* * * allow max-body=100", &q));
    assert_true(allows("* * * allow max-body=1KiB", &q));
}

static void a_question_with_too_many_labels_is_denied(void **state)
{
    (void)state;
    struct mediate_label labels[MEDIATE_LABELS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(labels); i++)
        labels[i] = (struct mediate_label){"k", "v"};
    struct mediate_question q = question();
    q.target.labels = labels;
    q.target.n_labels = MEDIATE_LABELS_MAX;
    assert_true(allows("* * * allow", &q));
    q.target.n_labels++;
    assert_int_equal(ask("* * * allow", &q).reason, MEDIATE_REASON_LABELS);
}

static void a_reply_is_no_question(void **state)
{
    (void)state;
    struct mediate_question q = question();
    q.kind = MESSAGE_REPLY;
    assert_int_equal(ask("* * * allow", &q).reason, MEDIATE_REASON_ADDRESS);
}

static void a_subject_that_is_none_is_denied(void **state)
{
    (void)state;
    struct mediate_question q = question();
    char dots[SUBJECT_MAX_LEN + 1];
    memset(dots, '.', sizeof dots - 1);
    dots[sizeof dots - 1] = '\0';
    const char *const subjects_that_are_none[] = {"", ".", "a..b", dots};
    for (size_t i = 0; i < ARRAY_LEN(subjects_that_are_none); i++) {
        q.subject = subjects_that_are_none[i];
        assert_int_equal(ask("a.* * * allow\n* * * allow", &q).reason, MEDIATE_REASON_ADDRESS);
    }
}

static void names_that_hold_a_patterns_text_match_nothing_else(void **state)
{
    (void)state;
    const struct mediate_label label = {"k=v", "w"};
    struct mediate_question q = question();
    q.source = (struct mediate_party){.tenant = "acme", .name = "*"};
    assert_false(allows("* acme/@a=b * allow", &q));
    q.source = (struct mediate_party){.tenant = "acme", .name = "@a=b"};
    assert_false(allows("* acme/@a=b * allow", &q));
    assert_true(allows("* acme/@a=b * deny\n* acme/* * allow", &q));
    q.source = (struct mediate_party){.tenant = "acme", .name = "web", .labels = &label, .n_labels = 1};
    assert_false(allows("* acme/@k=v=w * allow", &q));
    q = question();
    q.target.name = ":logs";
    assert_false(allows("* * acme/:logs allow", &q));
}

// A cheap generator with a fixed seed: failures repeat.
static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 33) % n;
}

#define PICK(array) array[random_below(ARRAY_LEN(array))]

static const char *const subjects[] = {"*", "a", "a.*", "a.b", "a.b.*", "a.b.c", "b"};
static const char *const sources[] = {"*",      "*/*",    "t/x",    "t/*",   "u/x",
                                      "t/@k=v", "*/@k=v", "*/@k=w", "u/@k=v"};
static const char *const targets[] = {"*", "t/x", "t/*", "t/:s", "u/:s", "t/@k=v", "*/@k=w", "u/y"};
static const char *const tails[] = {"allow",
                                    "deny",
                                    "allow kind=send",
                                    "deny kind=call,event",
                                    "allow max-body=9",
                                    "deny image=" IMAGE_A,
                                    "allow image=" IMAGE_B " kind=call"};

static void the_index_agrees_with_a_scan_on_random_rules(void **state)
{
    (void)state;
    static const struct mediate_label labels[] = {{"k", "v"}, {"k", "w"}};
    static const char *const asked_subjects[] = {"a", "a.b", "a.b.c", "b", "c"};
    static const char *const tenants[] = {"t", "u", "w"};
    static const char *const names[] = {"x", "y"};
    static const char *const services[] = {NULL, "s"};
    static const char *const images[] = {NULL, IMAGE_A, IMAGE_B};
    static const enum message_kind kinds[] = {MESSAGE_SEND, MESSAGE_CALL, MESSAGE_EVENT};
    for (int round = 0; round < 300; round++) {
        char text[8192] = "";
        size_t len = 0;
        for (uint32_t i = random_below(40); i > 0; i--)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s %s %s %s\n", PICK(subjects),
                                    PICK(sources), PICK(targets), PICK(tails));
        for (int i = 0; i < 30; i++) {
            const struct mediate_question q = {
                .source = {PICK(tenants), PICK(names), labels + random_below(2), random_below(2)},
                .target = {PICK(tenants), PICK(names), labels + random_below(2), random_below(2)},
                .service = PICK(services),
                .subject = PICK(asked_subjects),
                .kind = PICK(kinds),
                .body_bytes = random_below(20),
                .image = PICK(images)};
            ask(text, &q);
        }
    }
}

static void the_nearest_allow_rule_has_the_fewest_fields_wrong(void **state)
{
    (void)state;
    struct policy *p = make("other beta/* acme/db allow\n"
                            "db.* beta/* acme/db allow kind=call\n"
                            "db.query.fast acme/web acme/db deny\n"
                            "* acme/web acme/db allow max-body=10\n");
    struct mediate_question q = question();
    struct policy_nearest nearest;
    policy_find_nearest(p, &q, &nearest);
    assert_int_equal(nearest.rule, 1);
    assert_int_equal(nearest.mismatch, 1u << POLICY_FIELD_SOURCE);
    q.body_bytes = 10;
    policy_find_nearest(p, &q, &nearest);
    assert_int_equal(nearest.rule, 3);
    assert_int_equal(nearest.mismatch, 0);
    policy_unref(p);
    p = make("* * * deny");
    policy_find_nearest(p, &q, &nearest);
    assert_int_equal(nearest.rule, POLICY_RULE_NONE);
    policy_unref(p);
}

static void mismatches_are_told_in_words(void **state)
{
    (void)state;
    char text[128];
    policy_mismatch_text(1u << POLICY_FIELD_SOURCE, text, sizeof text);
    assert_string_equal(text, "its source does not match");
    policy_mismatch_text(1u << POLICY_FIELD_SUBJECT | 1u << POLICY_FIELD_TARGET | 1u << POLICY_FIELD_MAX_BODY,
                         text, sizeof text);
    assert_string_equal(text, "its subject, its target and its max-body do not match");
    policy_mismatch_text(0, text, sizeof text);
    assert_string_equal(text, "it matches, but comes after the rule that decided");
    policy_mismatch_text(~0u, text, 8);
    assert_true(strlen(text) < 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_without_a_match_denies),
        cmocka_unit_test(the_first_match_decides),
        cmocka_unit_test(subjects_match_whole_or_below_a_dot),
        cmocka_unit_test(parties_match_by_name_tenant_or_everything),
        cmocka_unit_test(labels_match_within_a_tenant_or_anywhere),
        cmocka_unit_test(services_match_only_what_is_addressed_to_them),
        cmocka_unit_test(kind_and_image_are_conditions),
        cmocka_unit_test(max_body_is_a_limit_of_the_rule_that_matched),
        cmocka_unit_test(a_question_with_too_many_labels_is_denied),
        cmocka_unit_test(a_reply_is_no_question),
        cmocka_unit_test(a_subject_that_is_none_is_denied),
        cmocka_unit_test(names_that_hold_a_patterns_text_match_nothing_else),
        cmocka_unit_test(the_index_agrees_with_a_scan_on_random_rules),
        cmocka_unit_test(the_nearest_allow_rule_has_the_fewest_fields_wrong),
        cmocka_unit_test(mismatches_are_told_in_words),
    };
    return cmocka_run_group_tests_name("mediate/decide", tests, NULL, NULL);
}
