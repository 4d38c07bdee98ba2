// The mediator: keeps the policy in force and a few before it, asks it, spends the rates of its rules,
// remembers.
#include "mediate/mediator.h"

#include <stdlib.h>

#include "mediate/buckets.h"
#include "mediate/records.h"

struct mediator {
    struct policy *policies[MEDIATOR_POLICIES_KEPT]; // the one in force first, then newest first
    struct buckets *buckets;
    struct records *refused, *accepted; // apart: the many that pass must not push out the few that do not
    uint64_t sequence;
    struct mediator_stats stats;
};

struct mediator *mediator_new(size_t records, size_t buckets)
{
    struct mediator *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->refused = records_new(records ? records : MEDIATOR_RECORDS_DEFAULT);
    m->accepted = records_new(records ? records : MEDIATOR_RECORDS_DEFAULT);
    m->buckets = buckets_new(buckets ? buckets : MEDIATOR_BUCKETS_DEFAULT);
    if (m->refused && m->accepted && m->buckets)
        return m;
    mediator_free(m);
    return NULL;
}

void mediator_free(struct mediator *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < MEDIATOR_POLICIES_KEPT; i++)
        policy_unref(m->policies[i]);
    buckets_free(m->buckets);
    records_free(m->refused);
    records_free(m->accepted);
    free(m);
}

void mediator_set_policy(struct mediator *m, struct policy *policy)
{
    policy_ref(policy);
    policy_unref(m->policies[MEDIATOR_POLICIES_KEPT - 1]);
    for (size_t i = MEDIATOR_POLICIES_KEPT - 1; i > 0; i--)
        m->policies[i] = m->policies[i - 1];
    m->policies[0] = policy;
    buckets_clear(m->buckets); // they are keyed by the rule's number, which now means another rule
}

struct policy *mediator_policy(const struct mediator *m)
{
    return m->policies[0];
}

void mediator_peek(const struct mediator *m, const struct mediate_question *q, struct mediate_decision *ret)
{
    if (m->policies[0])
        policy_decide(m->policies[0], q, ret);
    else
        *ret = (struct mediate_decision){
            .code = RECEIPT_DENIED, .reason = MEDIATE_REASON_NO_POLICY, .rule = POLICY_RULE_NONE};
}

static void spend_rate(struct mediator *m, const struct mediate_question *q, uint64_t now_ns,
                       struct mediate_decision *d)
{
    struct policy_rule_view rule;
    if (!policy_rule_at(m->policies[0], d->rule, &rule) || rule.rate_per_s == 0)
        return;
    enum buckets_answer answer =
        buckets_take(m->buckets, d->rule, &q->source, &q->target, rule.rate_per_s, rule.burst, now_ns);
    if (answer == BUCKETS_TAKEN)
        return;
    m->stats.buckets_exhausted += answer == BUCKETS_EXHAUSTED;
    d->code = RECEIPT_RATE_LIMITED;
    d->reason = MEDIATE_REASON_RULE_RATE;
}

void mediator_decide(struct mediator *m, const struct mediate_question *q, uint64_t monotonic_ns,
                     struct mediate_decision *ret)
{
    mediator_peek(m, q, ret);
    if (ret->code == RECEIPT_ACCEPTED)
        spend_rate(m, q, monotonic_ns, ret);
    m->stats.decisions++;
    m->stats.refused += ret->code != RECEIPT_ACCEPTED;
}

void mediator_record(struct mediator *m, const struct id *message, uint64_t realtime_ms,
                     const struct mediate_question *q, const struct mediate_decision *d,
                     enum receipt_code told)
{
    const struct mediate_record view = {.sequence = ++m->sequence,
                                        .message = *message,
                                        .realtime_ms = realtime_ms,
                                        .question = *q,
                                        .decision = *d,
                                        .told = told};
    records_add(told == RECEIPT_ACCEPTED ? m->accepted : m->refused, &view);
}

const struct mediate_record *mediator_find(const struct mediator *m, const struct id *message, size_t nth)
{
    const struct records *from[2] = {m->refused, m->accepted};
    size_t at[2] = {0, 0};
    for (;; nth--) {
        const struct mediate_record *r[2] = {records_find(from[0], message, at[0]),
                                             records_find(from[1], message, at[1])};
        size_t newer = !r[0] || (r[1] && r[1]->sequence > r[0]->sequence);
        if (!r[newer] || nth == 0)
            return r[newer];
        at[newer]++;
    }
}

static const struct policy *find_policy(const struct mediator *m, uint64_t revision)
{
    for (size_t i = 0; revision && i < MEDIATOR_POLICIES_KEPT && m->policies[i]; i++)
        if (policy_revision(m->policies[i]) == revision)
            return m->policies[i];
    return NULL;
}

// Another rule could have helped only where a rule, or the want of one, refused.
static bool refused_by_policy(const struct mediate_decision *d)
{
    return d->code != RECEIPT_ACCEPTED &&
           (d->reason == MEDIATE_REASON_RULE || d->reason == MEDIATE_REASON_NO_MATCH ||
            d->reason == MEDIATE_REASON_RULE_BODY);
}

void mediator_explain(const struct mediator *m, const struct mediate_question *q,
                      const struct mediate_decision *d, struct mediate_explanation *ret)
{
    *ret = (struct mediate_explanation){0};
    const struct policy *policy = find_policy(m, d->revision);
    if (!policy)
        return;
    ret->has_policy = true;
    ret->has_rule = policy_rule_at(policy, d->rule, &ret->rule);
    if (!refused_by_policy(d))
        return;
    struct policy_nearest nearest;
    policy_find_nearest(policy, q, &nearest);
    ret->has_nearest = policy_rule_at(policy, nearest.rule, &ret->nearest_rule);
    ret->nearest_mismatch = nearest.mismatch;
}

void mediator_stats(const struct mediator *m, struct mediator_stats *ret)
{
    *ret = m->stats;
    ret->records = records_count(m->refused) + records_count(m->accepted);
}
