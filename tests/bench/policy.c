// Measures a policy decision with 10, 1,000 and 100,000 rules: the cost must not grow with their number.
// Prints one line per size, nanoseconds per decision, and the parse time; exits 1 when 100,000 rules cost
// more than 10 times what 10 do.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/io.h"
#include "mediate/policy.h"

#define QUESTIONS 4096
#define DECISIONS 2000000u

struct names {
    char tenant[NAME_CAP], source[NAME_CAP], target[NAME_CAP], subject[SUBJECT_CAP];
};

// Rule i in the manner of a large installation: mostly pairs of named environments, some labels, tenants and
// services.
static int write_rule(char *out, size_t cap, unsigned i)
{
    unsigned tenant = i % 1000;
    switch (i % 8) {
    case 0:
        return snprintf(out, cap, "log.* t%u/* t%u/:logs allow\n", tenant, tenant);
    case 1:
        return snprintf(out, cap, "deploy.* t%u/@role=ci t%u/* allow kind=call\n", tenant, tenant);
    default:
        return snprintf(out, cap, "db.query t%u/web%u t%u/db%u allow rate=100/s max-body=64KiB\n", tenant, i,
                        tenant, i);
    }
}

static struct policy *make_policy(unsigned n_rules, double *ret_parse_ms)
{
    size_t cap = (size_t)n_rules * 96, len = 0;
    char *text = malloc(cap);
    if (!text)
        return NULL;
    for (unsigned i = 0; i + 1 < n_rules; i++)
        len += (size_t)write_rule(text + len, cap - len, i);
    len += (size_t)snprintf(text + len, cap - len, "* * * deny\n");
    const struct policy_source source = {"bench", text, len};
    struct policy *policy = NULL;
    struct err err = {""};
    uint64_t start = io_monotonic_ns();
    if (policy_new(&source, 1, 1, &policy, NULL, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    *ret_parse_ms = (double)(io_monotonic_ns() - start) / 1e6;
    free(text);
    return policy;
}

// Half of the questions are of a rule, half match nothing but the last.
static void make_questions(struct names *names, struct mediate_question *questions, unsigned n_rules)
{
    static const struct mediate_label labels[] = {{"role", "web"}, {"stage", "test"}};
    for (unsigned i = 0; i < QUESTIONS; i++) {
        struct names *n = &names[i];
        unsigned rule = (i * 2654435761u) % n_rules;
        snprintf(n->tenant, sizeof n->tenant, "t%u", rule % 1000);
        snprintf(n->source, sizeof n->source, "web%u", rule);
        snprintf(n->target, sizeof n->target, "db%u", i % 2 ? rule : rule + 1);
        snprintf(n->subject, sizeof n->subject, "db.query");
        questions[i] = (struct mediate_question){.source = {n->tenant, n->source, labels, ARRAY_LEN(labels)},
                                                 .target = {n->tenant, n->target, labels, ARRAY_LEN(labels)},
                                                 .subject = n->subject,
                                                 .kind = MESSAGE_CALL,
                                                 .body_bytes = 256};
    }
}

static double measure(unsigned n_rules, const struct names *unused_storage,
                      const struct mediate_question *questions)
{
    (void)unused_storage;
    double parse_ms;
    struct policy *policy = make_policy(n_rules, &parse_ms);
    if (!policy)
        exit(1);
    struct mediate_decision d;
    unsigned allowed = 0;
    for (unsigned i = 0; i < QUESTIONS; i++) // warm
        policy_decide(policy, &questions[i], &d);
    uint64_t start = io_monotonic_ns();
    for (unsigned i = 0; i < DECISIONS; i++) {
        policy_decide(policy, &questions[i % QUESTIONS], &d);
        allowed += d.code == RECEIPT_ACCEPTED;
    }
    double ns = (double)(io_monotonic_ns() - start) / DECISIONS;
    printf("%7u rules: %6.0f ns a decision, %u%% allowed, parsed in %.1f ms\n", n_rules, ns,
           allowed / (DECISIONS / 100), parse_ms);
    policy_unref(policy);
    return ns;
}

int main(void)
{
    static struct names names[QUESTIONS];
    static struct mediate_question questions[QUESTIONS];
    static const unsigned sizes[] = {10, 1000, 100000};
    double ns[ARRAY_LEN(sizes)];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_questions(names, questions, sizes[i]);
        ns[i] = measure(sizes[i], names, questions);
    }
    return ns[ARRAY_LEN(sizes) - 1] > 10 * ns[0];
}
