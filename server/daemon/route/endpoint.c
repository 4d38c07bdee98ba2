// Endpoints: the environment's own side of the router. Thin: finds the environment's mailbox, services and
// counters.
#include <errno.h>
#include <stdlib.h>

#include "mediate/gcra.h"
#include "route/submission.h"

int endpoint_attach(struct router *r, const char *tenant, const char *name, const struct endpoint_cb *cb,
                    void *arg, struct endpoint **ret)
{
    struct environment *e = directory_find(&r->directory, tenant, name);
    if (!e)
        return -ENOENT;
    if (e->endpoint)
        return -EBUSY;
    struct endpoint *ep = malloc(sizeof *ep);
    if (!ep)
        return -ENOMEM;
    *ep = (struct endpoint){.router = r, .environment = e, .cb = cb, .arg = arg};
    e->endpoint = ep;
    *ret = ep;
    router_tell_running(r, e, true);
    return 0;
}

static void detach(struct endpoint *ep, bool died)
{
    if (!ep)
        return;
    const struct router *r = ep->router;
    struct environment *e = ep->environment;
    e->endpoint = NULL;
    monitors_detached(ep->router, e);
    router_tell_running(ep->router, e, false);
    e->mailbox->ops->release_all(e->mailbox, died, r->ops->realtime_ms(r->ops_arg));
    directory_unserve_all(&ep->router->directory, e);
    free(ep);
}

void endpoint_detach(struct endpoint *ep)
{
    detach(ep, false);
}

void endpoint_lost(struct endpoint *ep)
{
    detach(ep, true);
}

int endpoint_submit(struct endpoint *ep, const struct envelope *untrusted_envelope, router_receipt_cb *done,
                    void *arg)
{
    const struct submit what = {
        .sender = ep->environment, .untrusted_envelope = untrusted_envelope, .done = done, .arg = arg};
    return router_submit(ep->router, &what);
}

void endpoint_refuse_oversized(struct endpoint *ep, const struct id *untrusted_id, uint64_t body_bytes,
                               struct router_receipt *ret)
{
    struct router *r = ep->router;
    struct environment *e = ep->environment;
    struct mediate_decision d = {
        .code = RECEIPT_TOO_LARGE, .reason = MEDIATE_REASON_BODY_LIMIT, .rule = POLICY_RULE_NONE};
    if (r->config.rate_per_s != 0 && !gcra_take(&e->rate_bucket, r->ops->monotonic_ns(r->ops_arg),
                                                r->config.rate_per_s, r->config.rate_burst)) {
        d.code = RECEIPT_RATE_LIMITED;
        d.reason = MEDIATE_REASON_RATE_LIMIT;
    }
    // Nothing but the id was read: where it should have gone is not known.
    const struct mediate_question q = {.source = {.tenant = e->tenant, .name = e->name},
                                       .target = {.tenant = "", .name = ""},
                                       .subject = "",
                                       .body_bytes = body_bytes};
    *ret = (struct router_receipt){.id = *untrusted_id};
    mediator_record(r->mediator, &ret->id, r->ops->realtime_ms(r->ops_arg), &q, &d, d.code);
    router_count(r, e, d.code);
    router_fill_receipt(r, false, &d, d.code, ret);
}

struct message *endpoint_next(struct endpoint *ep, bool replies_only)
{
    struct environment *e = ep->environment;
    struct router *r = ep->router;
    struct message *m = e->mailbox->ops->next(e->mailbox, r->ops->realtime_ms(r->ops_arg), replies_only);
    r->stats.delivered += m != NULL;
    e->stats.delivered += m != NULL;
    return m;
}

// A receiver may be late, for what expired or was purged; one that does this all the time makes things up.
static void count_stray(struct endpoint *ep, bool stray)
{
    ep->router->stats.strays += stray;
    ep->environment->stats.strays += stray;
}

void endpoint_ack(struct endpoint *ep, const struct id *untrusted_id)
{
    struct environment *e = ep->environment;
    bool known = e->mailbox->ops->ack(e->mailbox, untrusted_id);
    ep->router->stats.acked += known;
    e->stats.acked += known;
    count_stray(ep, !known);
    const struct router *r = ep->router;
    if (known && r->remote)
        r->remote->mail_processed(r->remote_arg, e->tenant, e->name);
}

void endpoint_release(struct endpoint *ep, const struct id *untrusted_id, bool failed)
{
    struct environment *e = ep->environment;
    struct router *r = ep->router;
    bool known = e->mailbox->ops->release(e->mailbox, untrusted_id, failed, r->ops->realtime_ms(r->ops_arg));
    ep->router->stats.released += known;
    e->stats.released += known;
    count_stray(ep, !known);
}

bool endpoint_put_off(struct endpoint *ep, const struct id *untrusted_id, bool failed)
{
    const struct router *r = ep->router;
    struct mailbox *mb = ep->environment->mailbox;
    bool known = mb->ops->put_off(mb, untrusted_id, failed, r->ops->realtime_ms(r->ops_arg));
    count_stray(ep, !known);
    return known;
}

enum receipt_code endpoint_register(struct endpoint *ep, const char *service)
{
    return directory_serve(&ep->router->directory, ep->environment, service) == 0 ? RECEIPT_ACCEPTED
                                                                                  : RECEIPT_RATE_LIMITED;
}

enum receipt_code endpoint_unregister(struct endpoint *ep, const char *service)
{
    return directory_unserve(&ep->router->directory, ep->environment, service) == 0
               ? RECEIPT_ACCEPTED
               : RECEIPT_NO_SUCH_ENVIRONMENT;
}

enum receipt_code endpoint_monitor(struct endpoint *ep, const char *address, struct monitors_answer *ret)
{
    return monitors_add(ep->router, ep->environment, address, ret);
}

enum receipt_code endpoint_unmonitor(struct endpoint *ep, const char *address)
{
    return monitors_remove(ep->router, ep->environment, address);
}
