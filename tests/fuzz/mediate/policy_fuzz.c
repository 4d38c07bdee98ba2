// Fuzzes the policy: any text is parsed or refused with its place, and for whatever is parsed the index
// decides as a scan of the rules does. Input: the policy's text, then, each after a NUL, a question's
// strings: source tenant, source name, target tenant, target name, service, subject, label, value, image; a
// tenth holds the kind.
#include <stdlib.h>
#include <string.h>

#include "mediate/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SOURCE_TENANT,
    SOURCE_NAME,
    TARGET_TENANT,
    TARGET_NAME,
    SERVICE,
    SUBJECT,
    LABEL,
    VALUE,
    IMAGE,
    KIND,
    FIELDS
};

static void decide(const struct policy *policy, char *const fields[FIELDS])
{
    const struct mediate_label label = {fields[LABEL], fields[VALUE]};
    const size_t n_labels = fields[LABEL][0] != '\0';
    const struct mediate_question q = {
        .source = {fields[SOURCE_TENANT], fields[SOURCE_NAME], &label, n_labels},
        .target = {fields[TARGET_TENANT], fields[TARGET_NAME], &label, n_labels},
        .service = fields[SERVICE][0] ? fields[SERVICE] : NULL,
        .subject = fields[SUBJECT],
        .kind = (enum message_kind)((unsigned char)fields[KIND][0] % MESSAGE_KIND_COUNT),
        .body_bytes = strlen(fields[KIND]),
        .image = fields[IMAGE][0] ? fields[IMAGE] : NULL,
    };
    struct mediate_decision by_index, by_scan;
    policy_decide(policy, &q, &by_index);
    policy_decide_by_scan(policy, &q, &by_scan);
    if (by_index.rule != by_scan.rule || by_index.code != by_scan.code || by_index.reason != by_scan.reason)
        abort();
    struct policy_nearest nearest;
    policy_find_nearest(policy, &q, &nearest);
    struct policy_rule_view rule;
    if (policy_rule_at(policy, nearest.rule, &rule) && !rule.allow)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    size_t text_len = strlen(copy), at = text_len;
    char *fields[FIELDS];
    for (size_t i = 0; i < FIELDS; i++) {
        at += at < size;
        fields[i] = copy + at;
        at += strlen(fields[i]);
    }
    const struct policy_source source = {"main", copy, text_len};
    struct policy *policy = NULL;
    struct policy_fault fault;
    struct err err;
    if (policy_new(&source, 1, 1, &policy, &fault, &err) == 0)
        decide(policy, fields);
    else if (fault.line == 0 || fault.column == 0)
        abort();
    policy_unref(policy);
    free(copy);
    return 0;
}
