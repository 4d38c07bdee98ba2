// The mediator: the policy in force, the token buckets of its rules, and the record of recent decisions by
// message id. The router asks it per message, the API swaps policies and reads the record. One loop's thread;
// no I/O.
#pragma once

#include "mediate/policy.h"

#define MEDIATOR_RECORDS_DEFAULT 4096
#define MEDIATOR_BUCKETS_DEFAULT 16384
#define MEDIATOR_POLICIES_KEPT   8 // older revisions' decisions keep their line, but no longer the rule's text

struct mediator;

// records: how many refusals are remembered, and how many acceptances. When full, the oldest one of the
// tenant with the most goes, so a flood pushes out its own tenant's. buckets: how many (rule, source, target)
// rates are tracked at once; when none is free the message is refused as rate-limited. 0 means the default.
// NULL: no memory.
struct mediator *mediator_new(size_t records, size_t buckets);
void mediator_free(struct mediator *m);

// Puts a policy in force, whole, at once; the mediator takes its own reference. All buckets start full again.
void mediator_set_policy(struct mediator *m, struct policy *policy);
// The policy in force, or NULL. Borrowed until the next mediator_set_policy().
struct policy *mediator_policy(const struct mediator *m);

// Decides and takes a token from the rule's bucket. Until there is a policy everything is denied.
void mediator_decide(struct mediator *m, const struct mediate_question *q, uint64_t monotonic_ns,
                     struct mediate_decision *ret);
// Decides without taking a token: for tests of the policy and for what a sender may know.
void mediator_peek(const struct mediator *m, const struct mediate_question *q, struct mediate_decision *ret);

// Remembers what was decided and what the sender was told (told differs from d->code where the truth is not
// the sender's to know). Copies q. Losing a record for want of memory is not an error.
void mediator_record(struct mediator *m, const struct id *message, uint64_t realtime_ms,
                     const struct mediate_question *q, const struct mediate_decision *d,
                     enum receipt_code told);

// A remembered decision. Views into the record: valid until the next mediator_record().
struct mediate_record {
    uint64_t sequence; // later decisions have larger ones
    struct id message;
    uint64_t realtime_ms;
    struct mediate_question question;
    struct mediate_decision decision;
    enum receipt_code told;
};

// The nth newest (0, 1, …) remembered decision about a message id, or NULL. Senders choose ids, so several
// can share one; an event has one for each receiver.
const struct mediate_record *mediator_find(const struct mediator *m, const struct id *message, size_t nth);

// Everything an operator may know of a decision.
struct mediate_explanation {
    bool has_policy;              // false: it is no longer kept, or there was none
    bool has_rule;                // rule is filled in
    struct policy_rule_view rule; // the deciding one
    bool has_nearest;             // nearest_rule is filled in; only for refusals
    struct policy_rule_view nearest_rule;
    unsigned nearest_mismatch; // bits (1u << enum policy_field)
};

// Explains a record's decision, or one that was made up for the purpose. Views into the mediator's policies:
// valid until the next mediator_set_policy(). Not for tenants: a tenant is told the code and the message's
// id.
void mediator_explain(const struct mediator *m, const struct mediate_question *q,
                      const struct mediate_decision *d, struct mediate_explanation *ret);

struct mediator_stats {
    uint64_t decisions; // asked with mediator_decide()
    uint64_t refused;
    uint64_t buckets_exhausted; // refused because no bucket was free
    size_t records;
};

void mediator_stats(const struct mediator *m, struct mediator_stats *ret);
