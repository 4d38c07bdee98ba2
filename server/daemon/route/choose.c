// Which environments of this host a message goes to, and whether it may: the address becomes receivers, the
// mediator is asked about each, and the permitted ones get it. One receiver for sends and calls, every server
// for events.
#include <errno.h>
#include <string.h>

#include "route/submission.h"

void router_describe(const struct router *r, const char *tenant, const char *name, struct mediate_party *ret,
                     const char **ret_image)
{
    struct router_identity identity = {0};
    if (r->ops->describe && !r->ops->describe(r->ops_arg, tenant, name, &identity))
        identity = (struct router_identity){0};
    *ret = (struct mediate_party){
        .tenant = tenant, .name = name, .labels = identity.labels, .n_labels = identity.n_labels};
    *ret_image = identity.image;
}

void submission_question(const struct submission *s, struct environment *target, struct mediate_question *ret)
{
    const char *unused_image;
    *ret = (struct mediate_question){
        .source = s->source,
        .target = {.tenant = s->to.tenant, .name = s->to.is_service ? "" : s->to.name},
        .service = s->to.is_service ? s->to.name : NULL,
        .subject = s->subject,
        .kind = s->envelope.kind,
        .body_bytes = s->envelope.body.len,
        .image = s->image,
        .elsewhere = !target && submission_leaves(s),
    };
    if (target)
        router_describe(s->router, target->tenant, target->name, &ret->target, &unused_image);
}

// What this host sent through the broker took its token on the way out.
void submission_decide(struct submission *s, struct environment *target, struct mediate_question *q,
                       struct mediate_decision *d)
{
    submission_question(s, target, q);
    if (s->arrived && s->what.arrival->own)
        mediator_peek(s->router->mediator, q, d);
    else
        mediator_decide(s->router->mediator, q, s->now_ns, d);
}

void submission_refuse_nobody_there(struct submission *s)
{
    const struct mediate_decision d = {
        .code = RECEIPT_NO_SUCH_ENVIRONMENT, .reason = MEDIATE_REASON_NO_TARGET, .rule = POLICY_RULE_NONE};
    submission_refuse_by(s, NULL, &d);
}

enum receipt_code submission_begin_call(struct submission *s, struct environment *callee)
{
    struct router *r = s->router;
    if (s->envelope.kind != MESSAGE_CALL)
        return RECEIPT_ACCEPTED;
    if (s->arrived)
        return submission_begin_arrived_call(s, callee);
    const struct call *again = calls_find_made(&r->calls, s->sender, &s->envelope.id);
    if (again && !s->sender) {
        s->call_handle = again->handle;
        s->call_again = true;
    }
    if (again)
        return RECEIPT_ACCEPTED;
    if (s->sender ? s->sender->n_calls_made >= r->config.calls_max : !calls_make_room(&r->calls))
        return RECEIPT_RATE_LIMITED;
    const struct call_sides sides = {.caller = s->sender, .callee = callee, .called = &s->to};
    struct call *call = calls_add(r, &s->envelope.id, &sides, s->envelope.expires_ms, s->now_ms);
    if (!call)
        return RECEIPT_MAILBOX_FULL;
    s->call_handle = call->handle;
    return RECEIPT_ACCEPTED;
}

static void deliver(struct submission *s, struct environment *target, const struct mediate_question *q,
                    const struct mediate_decision *d)
{
    enum receipt_code code = submission_begin_call(s, target);
    if (code == RECEIPT_RATE_LIMITED || code == RECEIPT_EXPIRED) {
        submission_refuse(s, code,
                          code == RECEIPT_EXPIRED ? MEDIATE_REASON_NO_CALL : MEDIATE_REASON_CALL_LIMIT);
        return;
    }
    submission_record(s, q, d, RECEIPT_ACCEPTED);
    if (code != RECEIPT_ACCEPTED || submission_put(s, target) < 0) {
        submission_refuse(s, RECEIPT_MAILBOX_FULL, MEDIATE_REASON_MAILBOX);
        return;
    }
    submission_close(s);
}

static void route_to(struct submission *s, struct environment *target)
{
    struct mediate_question q;
    struct mediate_decision d;
    submission_decide(s, target, &q, &d);
    if (d.code == RECEIPT_ACCEPTED)
        deliver(s, target, &q, &d);
    else
        submission_refuse_by(s, &q, &d);
}

// A permitted server: the one that this message went to before, else the next in turn that has room, else one
// that has not. NULL with the first refusal in *q and *d.
static struct serving *choose_server(struct submission *s, struct service *service,
                                     struct mediate_question *q, struct mediate_decision *d)
{
    struct serving *recalled = service_recall(service, s->dedup_key), *full = NULL, *v;
    if (recalled) {
        submission_decide(s, recalled->environment, q, d);
        return d->code == RECEIPT_ACCEPTED ? recalled : NULL;
    }
    bool refused = false;
    *d = (struct mediate_decision){.code = RECEIPT_DENIED};
    TAILQ_FOREACH(v, &service->servers, in_service)
    {
        struct mediate_question this_q;
        struct mediate_decision this_d;
        submission_decide(s, v->environment, &this_q, &this_d);
        struct mailbox *mb = v->environment->mailbox;
        bool permitted = this_d.code == RECEIPT_ACCEPTED;
        bool room = permitted && mb->ops->has_room(mb, s->envelope.body.len);
        if (room || (permitted && !full) || (!permitted && !full && !refused)) {
            *q = this_q;
            *d = this_d;
        }
        refused = refused || !permitted;
        if (room)
            return v;
        if (permitted && !full)
            full = v;
    }
    return full;
}

static void route_to_one_server(struct submission *s, struct service *service)
{
    struct mediate_question q;
    struct mediate_decision d;
    struct serving *v = choose_server(s, service, &q, &d);
    if (!v) {
        submission_refuse_by(s, &q, &d);
        return;
    }
    struct environment *target = v->environment;
    service_chose(v, s->dedup_key);
    deliver(s, target, &q, &d);
}

// An event is accepted when at least one server got it.
static void route_to_every_server(struct submission *s, struct service *service)
{
    struct mediate_question q, refused_q = {0};
    struct mediate_decision d, refused_d = {.code = RECEIPT_ACCEPTED};
    bool any = false;
    struct serving *v, *next;
    for (v = TAILQ_FIRST(&service->servers); v; v = next) {
        next = TAILQ_NEXT(v, in_service);
        submission_decide(s, v->environment, &q, &d);
        if (d.code == RECEIPT_ACCEPTED) {
            any = true;
            submission_record(s, &q, &d, RECEIPT_ACCEPTED);
            submission_put(s, v->environment);
            continue;
        }
        if (refused_d.code == RECEIPT_ACCEPTED) {
            refused_q = q;
            refused_d = d;
        } else {
            submission_record(s, &q, &d, d.code);
        }
    }
    if (any) {
        if (refused_d.code != RECEIPT_ACCEPTED)
            submission_record(s, &refused_q, &refused_d, refused_d.code);
        submission_close(s);
    } else {
        submission_refuse_by(s, &refused_q, &refused_d);
    }
}

void submission_route(struct submission *s)
{
    if (submission_leaves(s))
        submission_route_out(s);
    else
        submission_route_here(s);
}

void submission_route_here(struct submission *s)
{
    struct directory *d = &s->router->directory;
    struct call *again = s->envelope.kind == MESSAGE_CALL && !s->arrived
                             ? calls_find_made(&s->router->calls, s->sender, &s->envelope.id)
                             : NULL;
    if (again && again->callee) { // a retry goes where the call went, and is a duplicate there
        route_to(s, again->callee);
    } else if (s->to.is_service) {
        struct service *service = directory_find_service(d, s->to.tenant, s->to.name);
        if (!service)
            submission_refuse_nobody_there(s);
        else if (s->envelope.kind == MESSAGE_EVENT)
            route_to_every_server(s, service);
        else
            route_to_one_server(s, service);
    } else {
        struct environment *target = directory_find(d, s->to.tenant, s->to.name);
        if (target)
            route_to(s, target);
        else
            submission_refuse_nobody_there(s);
    }
}

void router_peek(struct router *r, const struct address *from, const struct address *to, const char *subject,
                 enum message_kind kind, uint64_t body_bytes, router_peek_cb *on_answer, void *arg)
{
    struct mediate_question q = {.subject = subject, .kind = kind, .body_bytes = body_bytes};
    const char *target_tenant = to->tenant[0] ? to->tenant : from->tenant, *unused_image;
    router_describe(r, from->tenant, from->name, &q.source, &q.image);
    struct environment *target = NULL;
    q.target = (struct mediate_party){.tenant = target_tenant, .name = to->is_service ? "" : to->name};
    if (to->is_service) {
        struct service *service =
            r->remote ? NULL : directory_find_service(&r->directory, target_tenant, to->name);
        q.service = to->name;
        target = service ? TAILQ_FIRST(&service->servers)->environment : NULL;
    } else {
        target = directory_find(&r->directory, target_tenant, to->name);
    }
    if (target)
        router_describe(r, target->tenant, target->name, &q.target, &unused_image);
    q.elsewhere = !target && r->remote && strcmp(target_tenant, NAME_HOST) != 0;
    struct mediate_decision d = {.reason = MEDIATE_REASON_REPLY, .rule = POLICY_RULE_NONE};
    if (kind != MESSAGE_REPLY)
        mediator_peek(r->mediator, &q, &d);
    on_answer(arg, &q, &d);
}
