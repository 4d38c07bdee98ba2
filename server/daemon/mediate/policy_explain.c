// What an operator is told about rules: the text of one, and the allow rule that came nearest. Called for
// explanations, not per message.
#include <stdio.h>
#include <string.h>

#include "mediate/policy_internal.h"

bool policy_rule_at(const struct policy *policy, uint32_t rule, struct policy_rule_view *ret)
{
    if (rule >= policy->n_rules)
        return false;
    const struct rule *r = &policy->rules[rule];
    *ret = (struct policy_rule_view){
        .file = policy->file_names[r->source_file],
        .line = r->line,
        .text = r->text,
        .len = r->len,
        .allow = r->allow,
        .rate_per_s = r->rate_per_s,
        .burst = r->burst,
    };
    return true;
}

void policy_find_nearest(const struct policy *policy, const struct mediate_question *q,
                         struct policy_nearest *ret)
{
    *ret = (struct policy_nearest){.rule = POLICY_RULE_NONE};
    int fewest = POLICY_FIELD_COUNT + 1;
    for (uint32_t i = 0; i < policy->n_rules && fewest > 0; i++) {
        const struct rule *rule = &policy->rules[i];
        if (!rule->allow)
            continue;
        unsigned mismatch = rule_mismatch(rule, q);
        if (q->body_bytes > rule->max_body_bytes)
            mismatch |= 1u << POLICY_FIELD_MAX_BODY;
        int n = __builtin_popcount(mismatch);
        if (n < fewest) {
            fewest = n;
            *ret = (struct policy_nearest){.rule = i, .mismatch = mismatch};
        }
    }
}

static const char *const field_names[POLICY_FIELD_COUNT] = {"subject", "source", "target",
                                                            "kind",    "image",  "max-body"};

const char *policy_field_name(enum policy_field field)
{
    return (unsigned)field < POLICY_FIELD_COUNT ? field_names[field] : "unknown";
}

void policy_mismatch_text(unsigned mismatch, char *out, size_t cap)
{
    if (cap == 0)
        return;
    if (mismatch == 0) {
        snprintf(out, cap, "it matches, but comes after the rule that decided");
        return;
    }
    size_t len = 0;
    int left = __builtin_popcount(mismatch), n = left;
    out[0] = '\0';
    for (unsigned field = 0; field < POLICY_FIELD_COUNT; field++) {
        if (!(mismatch & 1u << field))
            continue;
        const char *before = left == n ? "its " : left == 1 ? " and its " : ", its ";
        int written = snprintf(out + len, cap - len, "%s%s", before, field_names[field]);
        if (written < 0 || (size_t)written >= cap - len)
            return;
        len += (size_t)written;
        left--;
    }
    snprintf(out + len, cap - len, n == 1 ? " does not match" : " do not match");
}
