// What senders are told. To a tenant a refusal must say nothing that its policy does not let it know; an
// operator gets the reason.
#include <stdio.h>
#include <string.h>

#include "route/router_internal.h"

void router_count(struct router *r, struct environment *sender, enum receipt_code told)
{
    struct router_stats *stats[] = {&r->stats, sender ? &sender->stats : NULL};
    for (size_t i = 0; i < 2 && stats[i]; i++) {
        if (told == RECEIPT_ACCEPTED)
            stats[i]->accepted++;
        else
            stats[i]->refused[told]++;
    }
}

void router_count_arrived(struct router *r, enum receipt_code code)
{
    if (code == RECEIPT_ACCEPTED)
        r->stats.arrived++;
    else
        r->stats.arrived_refused[code]++;
}

// Between tenants "denied" and "no-such-environment" must not tell what exists. So a refusal is what it would
// be if the target were not there: no-such-environment where the policy allows the sender to address that
// name, denied otherwise. An environment that exists and is denied because of what it is, by its labels say,
// then looks like one that is not.
enum receipt_code router_may_tell(const struct router *r, const struct mediate_question *q,
                                  const struct mediate_decision *d)
{
    bool hides = d->code == RECEIPT_DENIED || d->code == RECEIPT_NO_SUCH_ENVIRONMENT;
    if (!hides || strcmp(q->source.tenant, NAME_HOST) == 0 || strcmp(q->source.tenant, q->target.tenant) == 0)
        return d->code;
    struct mediate_question unknown = *q;
    unknown.target.labels = NULL;
    unknown.target.n_labels = 0;
    if (q->service)
        unknown.target.name = "";
    struct mediate_decision would;
    mediator_peek(r->mediator, &unknown, &would);
    return would.code == RECEIPT_DENIED ? RECEIPT_DENIED : RECEIPT_NO_SUCH_ENVIRONMENT;
}

void router_fill_receipt(const struct router *r, bool for_operator, const struct mediate_decision *d,
                         enum receipt_code told, struct router_receipt *receipt)
{
    receipt->code = told;
    receipt->detail[0] = '\0';
    if (told == RECEIPT_ACCEPTED)
        return;
    if (!for_operator) {
        char id[ID_TEXT_CAP];
        id_format(&receipt->id, id);
        snprintf(receipt->detail, sizeof receipt->detail, "an operator can explain message %s", id);
        return;
    }
    if (d->reason == MEDIATE_REASON_LINK) {
        char link[ROUTER_DETAIL_CAP / 2] =
            "its mailbox is of class queue, and envd was started without --broker";
        if (r->remote)
            r->remote->describe_link(r->remote_arg, link, sizeof link);
        snprintf(receipt->detail, sizeof receipt->detail, "%s: %s", mediate_reason_text(d->reason), link);
        return;
    }
    char journal[ROUTER_DETAIL_CAP * 3 / 4] = "";
    if (d->reason == MEDIATE_REASON_MAILBOX)
        durable_describe(r->durable, journal, sizeof journal);
    if (journal[0]) {
        snprintf(receipt->detail, sizeof receipt->detail, "%s: %s", mediate_reason_text(d->reason), journal);
        return;
    }
    struct policy_rule_view rule;
    const struct policy *policy = mediator_policy(r->mediator);
    if (policy && policy_revision(policy) == d->revision && policy_rule_at(policy, d->rule, &rule))
        snprintf(receipt->detail, sizeof receipt->detail, "%s: %s:%u: %.*s", mediate_reason_text(d->reason),
                 rule.file, rule.line, (int)(rule.len < 128 ? rule.len : 128), rule.text);
    else
        snprintf(receipt->detail, sizeof receipt->detail, "%s", mediate_reason_text(d->reason));
}
