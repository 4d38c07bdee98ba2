// Measures a policy decision: bench_policy RULES makes so many rules and prints nanoseconds per decision, one
// line per batch of questions. The cost must not grow with the number of rules.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/io.h"
#include "mediate/policy.h"

#define QUESTIONS 4096
#define BATCH     64 // short against the scheduler's slices: others' work falls into few batches
#define BATCHES   20000

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

static struct policy *make_policy(unsigned n_rules)
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
    if (policy_new(&source, 1, 1, &policy, NULL, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
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

// Prints the nanoseconds of a decision, one line per batch.
static void measure(const struct policy *policy, const struct mediate_question *questions)
{
    struct mediate_decision d;
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        uint64_t start = io_monotonic_ns();
        for (unsigned i = 0; i < BATCH; i++)
            policy_decide(policy, &questions[(batch * BATCH + i) % QUESTIONS], &d);
        printf("%.1f\n", (double)(io_monotonic_ns() - start) / BATCH);
    }
}

int main(int argc, char **argv)
{
    static struct names names[QUESTIONS];
    static struct mediate_question questions[QUESTIONS];
    unsigned long n_rules = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (n_rules < 2 || n_rules > POLICY_RULES_MAX) {
        fprintf(stderr, "usage: bench_policy RULES\n");
        return 2;
    }
    struct policy *policy = make_policy((unsigned)n_rules);
    if (!policy)
        return 1;
    make_questions(names, questions, (unsigned)n_rules);
    measure(policy, questions);
    policy_unref(policy);
    return 0;
}
