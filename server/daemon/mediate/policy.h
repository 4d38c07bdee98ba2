// The policy: rules as text, parsed whole or refused whole, and decided on in a time that does not grow with
// their number. Immutable once made and reference counted; the mediator swaps it. Knows nothing of messages,
// sessions or the store.
//
// One rule per line, columns parted by blanks, '#' starts a comment at the line's start or after a blank:
//
//     # subject    source              target          action   parameters
//     db.query     acme/web            acme/db         allow    rate=100/s burst=20 max-body=64KiB
//     log.write    */*                 ops/:logs       allow
//     *            *                   *               deny     notify
//
//   subject     db.query (that one) | deploy.* (everything below deploy, not deploy itself) | *
//   source      TENANT/NAME | TENANT/* | TENANT/@LABEL=VALUE | */@LABEL=VALUE | */* | *
//               messages of operators come from host/operator
//   target      as source, and TENANT/:SERVICE, which matches what is addressed to that service; the others
//               match the environment that would receive the message, however it is addressed
//   action      allow | deny
//   parameters  conditions, without which the rule does not match:
//                 kind=send|call|event       several parted by commas
//                 image=sha256:HEX           what the source was started from
//               limits of an allow rule; this rule refuses what is over them, later ones are not asked:
//                 max-body=N[KiB|MiB]        too-large
//                 rate=N/s [burst=M]         rate-limited; per rule, source and target; M is N by default
//               and:
//                 notify                     operators are told of each decision of this rule
//
// The first rule that matches decides; when none does, the answer is deny.
//
// Both the sender's host and the receiver's decide. The labels of an environment on another host, and which
// server a service's message will go to, are not known to the sender's: there, a target with a label matches
// nothing. So what only TENANT/@LABEL=VALUE allows as a target is denied across hosts (name the environment,
// or its tenant), and what it denies is denied by the receiver's host, which knows.
#pragma once

#include "common/err.h"
#include "mediate/question.h"

#define POLICY_TEXT_MAX  (16u << 20) // all files together
#define POLICY_RULES_MAX 100000u
#define POLICY_FILES_MAX 64u
#define POLICY_RATE_MAX  1000000u
#define POLICY_RULE_NONE UINT32_MAX

struct policy;

// One file as it was written. The strings are the caller's.
struct policy_source {
    const char *name; // shown in errors and explanations
    const char *untrusted_text;
    size_t len;
};

// Where a text was refused. Lines and columns (bytes) count from 1.
struct policy_fault {
    uint32_t source; // index into the sources
    uint32_t line;
    uint32_t column;
};

// Parses the files in order into one list of rules. revision: shown in decisions, not 0. The caller owns *ret
// (one reference). 0, -ENOMEM, or -EINVAL with "FILE:LINE:COLUMN: what is wrong; what is accepted" in err and
// the position in *ret_fault (which may be NULL).
int policy_new(const struct policy_source *sources, size_t n_sources, uint64_t revision, struct policy **ret,
               struct policy_fault *ret_fault, struct err *err);
struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy *policy); // NULL is fine
uint64_t policy_revision(const struct policy *policy);
uint32_t policy_n_rules(const struct policy *policy);

// Decides by first match. Rates are left out: the rule's index names the bucket (see mediator.h).
void policy_decide(const struct policy *policy, const struct mediate_question *q,
                   struct mediate_decision *ret);
// The same by asking each rule in turn: what policy_decide() is tested against.
void policy_decide_by_scan(const struct policy *policy, const struct mediate_question *q,
                           struct mediate_decision *ret);

// A rule as written. Views into the policy: valid while a reference is held.
struct policy_rule_view {
    const char *file;
    uint32_t line;
    const char *text; // the line without indentation and comment, len bytes, no NUL
    size_t len;
    bool allow;
    uint32_t rate_per_s, burst; // 0: no rate
};

// False when there is no such rule.
bool policy_rule_at(const struct policy *policy, uint32_t rule, struct policy_rule_view *ret);

// The parts of a rule that can fail to match; an explanation has a bit (1u << field) for each.
enum policy_field {
    POLICY_FIELD_SUBJECT = 0,
    POLICY_FIELD_SOURCE = 1,
    POLICY_FIELD_TARGET = 2,
    POLICY_FIELD_KIND = 3,
    POLICY_FIELD_IMAGE = 4,
    POLICY_FIELD_MAX_BODY = 5,
    POLICY_FIELD_COUNT
};

// The allow rule that came nearest: fewest fields that do not match, then first. mismatch 0: it matches, but
// another rule came before it.
struct policy_nearest {
    uint32_t rule; // POLICY_RULE_NONE: the policy has no allow rule
    unsigned mismatch;
};

// For operators only: walks all rules, so never call it per message.
void policy_find_nearest(const struct policy *policy, const struct mediate_question *q,
                         struct policy_nearest *ret);
const char *policy_field_name(enum policy_field field); // "subject", "source", …, "max-body"
// "its subject and its target do not match", or for 0 "it matches, but comes after the rule that decided".
void policy_mismatch_text(unsigned mismatch, char *out, size_t cap);
