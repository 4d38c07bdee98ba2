// Tests of the mediator: rates, swapping policies, and the record of decisions (mediator.c, buckets.c,
// records.c).
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "mediate/gcra.h"
#include "mediate/mediator.h"

#define SECOND_NS 1000000000ull

static struct mediator *m;

static int setup(void **state)
{
    (void)state;
    m = mediator_new(8, 64);
    return m ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    mediator_free(m);
    return 0;
}

static void put_in_force(const char *text, uint64_t revision)
{
    const struct policy_source source = {"main", text, strlen(text)};
    struct policy *p = NULL;
    struct err err = {""};
    if (policy_new(&source, 1, revision, &p, NULL, &err) < 0)
        fail_msg("%s", err.text);
    mediator_set_policy(m, p);
    policy_unref(p);
}

static struct mediate_question question(const char *source_tenant, const char *source_name)
{
    return (struct mediate_question){.source = {.tenant = source_tenant, .name = source_name},
                                     .target = {.tenant = "acme", .name = "db"},
                                     .subject = "q",
                                     .kind = MESSAGE_SEND};
}

static enum receipt_code decide(const char *tenant, const char *name, uint64_t now_ns)
{
    struct mediate_question q = question(tenant, name);
    struct mediate_decision d;
    mediator_decide(m, &q, now_ns, &d);
    return d.code;
}

static void without_a_policy_everything_is_denied(void **state)
{
    (void)state;
    struct mediate_question q = question("acme", "web");
    struct mediate_decision d;
    mediator_decide(m, &q, 1, &d);
    assert_int_equal(d.code, RECEIPT_DENIED);
    assert_int_equal(d.reason, MEDIATE_REASON_NO_POLICY);
    assert_int_equal(d.revision, 0);
}

static void a_policy_is_swapped_whole_and_names_its_revision(void **state)
{
    (void)state;
    struct mediate_question q = question("acme", "web");
    struct mediate_decision d;
    put_in_force("* * * allow", 3);
    mediator_decide(m, &q, 1, &d);
    assert_int_equal(d.code, RECEIPT_ACCEPTED);
    assert_int_equal(d.revision, 3);
    put_in_force("* * * deny", 4);
    mediator_decide(m, &q, 1, &d);
    assert_int_equal(d.code, RECEIPT_DENIED);
    assert_int_equal(d.revision, 4);
}

static void a_rate_lets_the_burst_pass_and_then_its_tokens(void **state)
{
    (void)state;
    put_in_force("* * * allow rate=10/s burst=3", 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(decide("acme", "web", SECOND_NS), RECEIPT_ACCEPTED);
    assert_int_equal(decide("acme", "web", SECOND_NS), RECEIPT_RATE_LIMITED);
    assert_int_equal(decide("acme", "web", SECOND_NS + SECOND_NS / 10), RECEIPT_ACCEPTED);
    assert_int_equal(decide("acme", "web", SECOND_NS + SECOND_NS / 10), RECEIPT_RATE_LIMITED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(decide("acme", "web", 5 * SECOND_NS), RECEIPT_ACCEPTED);
    assert_int_equal(decide("acme", "web", 5 * SECOND_NS), RECEIPT_RATE_LIMITED);
}

static void each_pair_has_a_bucket_of_its_own(void **state)
{
    (void)state;
    put_in_force("* * * allow rate=1/s", 1);
    assert_int_equal(decide("acme", "web", SECOND_NS), RECEIPT_ACCEPTED);
    assert_int_equal(decide("acme", "web", SECOND_NS), RECEIPT_RATE_LIMITED);
    assert_int_equal(decide("acme", "we", SECOND_NS), RECEIPT_ACCEPTED);
    assert_int_equal(decide("acmew", "eb", SECOND_NS), RECEIPT_ACCEPTED);
}

static void peeking_takes_no_token(void **state)
{
    (void)state;
    put_in_force("* * * allow rate=1/s", 1);
    struct mediate_question q = question("acme", "web");
    struct mediate_decision d;
    for (int i = 0; i < 5; i++) {
        mediator_peek(m, &q, &d);
        assert_int_equal(d.code, RECEIPT_ACCEPTED);
    }
    assert_int_equal(decide("acme", "web", SECOND_NS), RECEIPT_ACCEPTED);
}

static void when_no_bucket_is_free_nothing_passes_until_one_is(void **state)
{
    (void)state;
    put_in_force("* * * allow rate=1/s", 1);
    char name[16];
    int accepted = 0, refused = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        enum receipt_code code = decide("acme", name, SECOND_NS);
        accepted += code == RECEIPT_ACCEPTED;
        refused += code == RECEIPT_RATE_LIMITED;
    }
    struct mediator_stats stats;
    mediator_stats(m, &stats);
    assert_true(accepted <= 64);
    assert_int_equal(accepted + refused, 1000);
    assert_int_equal(stats.buckets_exhausted, refused);
    assert_int_equal(decide("acme", "late", 3 * SECOND_NS), RECEIPT_ACCEPTED);
}

static void a_bucket_of_the_highest_rate_and_burst_does_not_overflow(void **state)
{
    (void)state;
    uint64_t bucket = 0;
    for (uint32_t i = 0; i < POLICY_RATE_MAX; i++)
        assert_true(gcra_take(&bucket, SECOND_NS, POLICY_RATE_MAX, POLICY_RATE_MAX));
    assert_false(gcra_take(&bucket, SECOND_NS, POLICY_RATE_MAX, POLICY_RATE_MAX));
    assert_false(gcra_full(bucket, SECOND_NS));
    assert_true(gcra_full(bucket, 2 * SECOND_NS));
}

static struct id id_of(unsigned n)
{
    struct id id = {{0}};
    memcpy(id.bytes, &n, sizeof n);
    return id;
}

static void record(unsigned id, const char *tenant, uint64_t at_ms)
{
    char name[] = "web", key[] = "role", value[] = "ci", subject[] = "q.r";
    const struct mediate_label label = {key, value};
    struct mediate_question q = question(tenant, name);
    q.source.labels = &label;
    q.source.n_labels = 1;
    q.subject = subject;
    struct mediate_decision d;
    mediator_peek(m, &q, &d);
    const struct id message = id_of(id);
    mediator_record(m, &message, at_ms, &q, &d, d.code);
    // What was recorded must not depend on the asker's memory.
    memset(name, 'X', 3);
    memset(key, 'X', 4);
    memset(value, 'X', 2);
    memset(subject, 'X', 3);
}

static const struct mediate_record *find(unsigned id, size_t nth)
{
    const struct id message = id_of(id);
    return mediator_find(m, &message, nth);
}

static void a_decision_is_remembered_with_its_question(void **state)
{
    (void)state;
    put_in_force("* * * deny", 9);
    record(1, "acme", 123);
    const struct mediate_record *r = find(1, 0);
    assert_non_null(r);
    assert_int_equal(r->realtime_ms, 123);
    assert_string_equal(r->question.source.name, "web");
    assert_string_equal(r->question.source.labels[0].key, "role");
    assert_string_equal(r->question.source.labels[0].value, "ci");
    assert_string_equal(r->question.subject, "q.r");
    assert_null(r->question.service);
    assert_null(r->question.image);
    assert_int_equal(r->decision.revision, 9);
    assert_null(find(1, 1));
    assert_null(find(2, 0));
}

static void decisions_of_one_id_are_found_newest_first(void **state)
{
    (void)state;
    record(1, "acme", 1);
    record(1, "beta", 2);
    assert_int_equal(find(1, 0)->realtime_ms, 2);
    assert_int_equal(find(1, 1)->realtime_ms, 1);
    assert_null(find(1, 2));
}

static void the_record_is_bounded_and_loses_the_oldest(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        record(i, "acme", i);
    struct mediator_stats stats;
    mediator_stats(m, &stats);
    assert_int_equal(stats.records, 8);
    assert_null(find(91, 0));
    assert_non_null(find(92, 0));
}

static void a_flood_pushes_out_its_own_tenants_records_first(void **state)
{
    (void)state;
    record(1, "acme", 1);
    for (unsigned i = 0; i < 100; i++)
        record(1000 + i, "beta", i);
    assert_non_null(find(1, 0));
    for (unsigned i = 2; i <= 4; i++)
        record(i, "acme", i);
    for (unsigned i = 1; i <= 4; i++)
        assert_non_null(find(i, 0));
}

static void what_passes_does_not_push_out_what_was_refused(void **state)
{
    (void)state;
    put_in_force("* * * deny", 1);
    record(1, "acme", 1);
    put_in_force("* * * allow", 2);
    for (unsigned i = 0; i < 100; i++)
        record(1000 + i, "acme", i);
    assert_int_equal(find(1, 0)->told, RECEIPT_DENIED);
    record(1, "acme", 2);
    assert_int_equal(find(1, 0)->told, RECEIPT_ACCEPTED);
    assert_int_equal(find(1, 1)->told, RECEIPT_DENIED);
    assert_null(find(1, 2));
}

static void records_with_long_questions_are_bounded_by_bytes(void **state)
{
    (void)state;
    char value[4000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    const struct mediate_label label = {"k", value};
    struct mediate_question q = question("acme", "web");
    q.source.labels = &label;
    q.source.n_labels = 1;
    struct mediate_decision d;
    mediator_peek(m, &q, &d);
    for (unsigned i = 0; i < 20; i++) {
        const struct id id = id_of(i);
        mediator_record(m, &id, i, &q, &d, d.code);
    }
    struct mediator_stats stats;
    mediator_stats(m, &stats);
    assert_true(stats.records < 8);
    assert_non_null(find(19, 0));
}

static struct mediate_explanation explain(unsigned id)
{
    struct mediate_explanation x;
    const struct mediate_record *r = find(id, 0);
    mediator_explain(m, &r->question, &r->decision, &x);
    return x;
}

static void a_refusal_is_explained_by_its_rule_and_the_nearest_that_allows(void **state)
{
    (void)state;
    put_in_force("q.* beta/* acme/db allow\n* * * deny notify\n", 1);
    record(1, "acme", 1);
    struct mediate_explanation x = explain(1);
    assert_true(x.has_policy && x.has_rule && x.has_nearest);
    assert_int_equal(x.rule.line, 2);
    assert_memory_equal(x.rule.text, "* * * deny notify", x.rule.len);
    assert_string_equal(x.rule.file, "main");
    assert_int_equal(x.nearest_rule.line, 1);
    assert_int_equal(x.nearest_mismatch, 1u << POLICY_FIELD_SOURCE);
}

static void an_acceptance_is_explained_by_its_rule_alone(void **state)
{
    (void)state;
    put_in_force("* * * allow", 1);
    record(1, "acme", 1);
    struct mediate_explanation x = explain(1);
    assert_true(x.has_policy && x.has_rule);
    assert_false(x.has_nearest);
}

static void an_old_revision_explains_while_it_is_kept(void **state)
{
    (void)state;
    put_in_force("# first\n* * * deny", 1);
    record(1, "acme", 1);
    for (uint64_t revision = 2; revision < 1 + MEDIATOR_POLICIES_KEPT; revision++)
        put_in_force("* * * allow", revision);
    struct mediate_explanation x = explain(1);
    assert_true(x.has_policy && x.has_rule);
    assert_int_equal(x.rule.line, 2);
    put_in_force("* * * allow", 99);
    x = explain(1);
    assert_false(x.has_policy || x.has_rule || x.has_nearest);
    assert_int_equal(find(1, 0)->decision.line, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_policy_everything_is_denied),
        TEST(a_policy_is_swapped_whole_and_names_its_revision),
        TEST(a_rate_lets_the_burst_pass_and_then_its_tokens),
        TEST(each_pair_has_a_bucket_of_its_own),
        TEST(peeking_takes_no_token),
        TEST(when_no_bucket_is_free_nothing_passes_until_one_is),
        cmocka_unit_test(a_bucket_of_the_highest_rate_and_burst_does_not_overflow),
        TEST(a_decision_is_remembered_with_its_question),
        TEST(decisions_of_one_id_are_found_newest_first),
        TEST(the_record_is_bounded_and_loses_the_oldest),
        TEST(a_flood_pushes_out_its_own_tenants_records_first),
        TEST(what_passes_does_not_push_out_what_was_refused),
        TEST(records_with_long_questions_are_bounded_by_bytes),
        TEST(a_refusal_is_explained_by_its_rule_and_the_nearest_that_allows),
        TEST(an_acceptance_is_explained_by_its_rule_alone),
        TEST(an_old_revision_explains_while_it_is_kept),
    };
    return cmocka_run_group_tests_name("mediate/mediator", tests, NULL, NULL);
}
