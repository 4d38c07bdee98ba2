// One rule against one question, column by column: the meaning of the patterns in its plainest form. The
// index (policy_index.c) must agree with it, which the tests and the fuzzer check; explanations use it too.
#include <string.h>

#include "mediate/policy_internal.h"

static bool text_is(const char *text, size_t len, const char *s)
{
    return strlen(s) == len && memcmp(text, s, len) == 0;
}

static bool subject_matches(const struct pattern *p, const char *subject)
{
    if (p->class == PATTERN_ANY)
        return true;
    if (p->class == PATTERN_EXACT)
        return text_is(p->text, p->len, subject);
    // "deploy.*": the prefix with its dot, and something after it.
    size_t prefix_len = p->len - 1u;
    return strncmp(subject, p->text, prefix_len) == 0 && subject[prefix_len] != '\0';
}

static bool label_matches(const struct pattern *p, const struct mediate_party *party)
{
    const char *key = memchr(p->text, '@', p->len);
    key++;
    const char *value = key + p->key_len + 1;
    size_t value_len = (size_t)(p->text + p->len - value);
    for (size_t i = 0; i < party->n_labels; i++)
        if (text_is(key, p->key_len, party->labels[i].key) &&
            text_is(value, value_len, party->labels[i].value))
            return true;
    return false;
}

static bool party_matches(const struct pattern *p, const struct mediate_party *party, const char *service)
{
    if (p->class == PATTERN_ANY)
        return true;
    if (p->class == PATTERN_LABEL_ANYWHERE)
        return label_matches(p, party);
    if (!text_is(p->text, p->tenant_len, party->tenant))
        return false;
    const char *name = p->text + p->tenant_len + 1;
    size_t name_len = p->len - p->tenant_len - 1u;
    switch (p->class) {
    case PATTERN_TENANT:
        return true;
    case PATTERN_LABEL:
        return label_matches(p, party);
    case PATTERN_SERVICE:
        return service && text_is(name + 1, name_len - 1, service);
    default:
        return text_is(name, name_len, party->name);
    }
}

static unsigned bit(enum policy_field field, bool matches)
{
    return matches ? 0 : 1u << field;
}

unsigned rule_mismatch(const struct rule *rule, const struct mediate_question *q)
{
    bool image = rule->image.class == PATTERN_ANY ||
                 (q->image && text_is(rule->image.text, rule->image.len, q->image));
    return bit(POLICY_FIELD_SUBJECT, subject_matches(&rule->subject, q->subject)) |
           bit(POLICY_FIELD_SOURCE, party_matches(&rule->source, &q->source, NULL)) |
           bit(POLICY_FIELD_TARGET, party_matches(&rule->target, &q->target, q->service)) |
           bit(POLICY_FIELD_KIND, rule->kinds & 1u << q->kind) | bit(POLICY_FIELD_IMAGE, image);
}
