// The policy object: made from texts, decided on, explained. Parsing is in policy_parse.c, the search in
// policy_index.c.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "mediate/policy_internal.h"

static void policy_free(struct policy *p)
{
    if (!p)
        return;
    policy_index_free(p->index);
    for (size_t i = 0; i < POLICY_FILES_MAX; i++)
        free(p->file_names[i]);
    free(p->rules);
    free(p->text);
    free(p);
}

struct policy *policy_ref(struct policy *policy)
{
    atomic_fetch_add(&policy->n_refs, 1);
    return policy;
}

void policy_unref(struct policy *policy)
{
    if (policy && atomic_fetch_sub(&policy->n_refs, 1) == 1)
        policy_free(policy);
}

static int check_sizes(const struct policy_source *sources, size_t n_sources, size_t *ret_total,
                       struct err *err)
{
    if (n_sources > POLICY_FILES_MAX)
        return err_set(err, -EINVAL, "%zu policy files; accepted: at most %u", n_sources, POLICY_FILES_MAX);
    size_t total = 0;
    for (size_t i = 0; i < n_sources; i++) {
        if (sources[i].len > POLICY_TEXT_MAX - total)
            return err_set(err, -EINVAL,
                           "%s: the policy is too large; accepted: %u MiB in all files together",
                           sources[i].name, POLICY_TEXT_MAX >> 20);
        total += sources[i].len;
    }
    *ret_total = total;
    return 0;
}

static int parse_sources(struct policy *p, const struct policy_source *sources, size_t n_sources,
                         struct policy_fault *fault, struct err *err)
{
    char *text = p->text;
    size_t n_allocated = 0;
    for (size_t i = 0; i < n_sources; i++) {
        p->file_names[i] = strdup(sources[i].name);
        if (!p->file_names[i])
            return err_errno(err, -ENOMEM, "policy %s", sources[i].name);
        if (sources[i].len)
            memcpy(text, sources[i].untrusted_text, sources[i].len);
        int rc = policy_parse(p, (uint32_t)i, text, sources[i].len, &n_allocated, fault, err);
        if (rc < 0)
            return rc;
        text += sources[i].len;
    }
    return 0;
}

int policy_new(const struct policy_source *sources, size_t n_sources, uint64_t revision, struct policy **ret,
               struct policy_fault *ret_fault, struct err *err)
{
    struct policy_fault fault = {0};
    size_t total = 0;
    int rc = check_sizes(sources, n_sources, &total, err);
    if (rc < 0)
        goto refused;
    struct policy *p = calloc(1, sizeof *p);
    if (!p || !(p->text = malloc(total + 1))) {
        free(p);
        return err_errno(err, -ENOMEM, "policy of %zu bytes", total);
    }
    atomic_init(&p->n_refs, 1);
    p->revision = revision;
    rc = parse_sources(p, sources, n_sources, &fault, err);
    if (rc == 0 && !(p->index = policy_index_new(p->rules, p->n_rules)))
        rc = err_errno(err, -ENOMEM, "index of %u rules", p->n_rules);
    if (rc == 0) {
        *ret = p;
        return 0;
    }
    policy_free(p);
refused:
    if (ret_fault)
        *ret_fault = fault;
    return rc;
}

uint64_t policy_revision(const struct policy *policy)
{
    return policy->revision;
}

uint32_t policy_n_rules(const struct policy *policy)
{
    return policy->n_rules;
}

// Questions that no rule may answer. True when *ret is the answer.
static bool refuse_unjudged(const struct policy *policy, const struct mediate_question *q,
                            struct mediate_decision *ret)
{
    *ret = (struct mediate_decision){
        .code = RECEIPT_DENIED, .rule = POLICY_RULE_NONE, .revision = policy->revision};
    if (q->source.n_labels > MEDIATE_LABELS_MAX || q->target.n_labels > MEDIATE_LABELS_MAX) {
        ret->reason = MEDIATE_REASON_LABELS;
        return true;
    }
    if (!subject_valid(q->subject, strlen(q->subject)) || (POLICY_KINDS_ALL >> q->kind & 1u) == 0) {
        ret->reason = MEDIATE_REASON_ADDRESS;
        return true;
    }
    return false;
}

static void decide_by_rule(const struct policy *policy, const struct mediate_question *q, uint32_t number,
                           struct mediate_decision *ret)
{
    if (number == POLICY_RULE_NONE) {
        ret->reason = MEDIATE_REASON_NO_MATCH;
        return;
    }
    const struct rule *rule = &policy->rules[number];
    ret->rule = number;
    ret->line = rule->line;
    ret->notify = rule->notify;
    ret->reason = MEDIATE_REASON_RULE;
    if (!rule->allow)
        return;
    bool fits = q->body_bytes <= rule->max_body_bytes;
    ret->code = fits ? RECEIPT_ACCEPTED : RECEIPT_TOO_LARGE;
    ret->reason = fits ? MEDIATE_REASON_RULE : MEDIATE_REASON_RULE_BODY;
}

static uint32_t scan(const struct policy *policy, const struct mediate_question *q)
{
    for (uint32_t i = 0; i < policy->n_rules; i++)
        if (rule_mismatch(&policy->rules[i], q) == 0)
            return i;
    return POLICY_RULE_NONE;
}

void policy_decide(const struct policy *policy, const struct mediate_question *q,
                   struct mediate_decision *ret)
{
    if (refuse_unjudged(policy, q, ret))
        return;
    uint32_t number = policy_index_first(policy->index, q);
    // The index knows patterns by their hashes and so may find too early a rule, never too late a one. A rule
    // that does match is therefore the first; for one that does not, which takes a collision of 64 secret
    // bits, the rules are asked one by one.
    if (number != POLICY_RULE_NONE && rule_mismatch(&policy->rules[number], q) != 0)
        number = scan(policy, q);
    decide_by_rule(policy, q, number, ret);
}

void policy_decide_by_scan(const struct policy *policy, const struct mediate_question *q,
                           struct mediate_decision *ret)
{
    if (!refuse_unjudged(policy, q, ret))
        decide_by_rule(policy, q, scan(policy, q), ret);
}
