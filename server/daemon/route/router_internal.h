// What the router's files share. Sessions and the rest of envd include router.h and endpoint.h instead.
#pragma once

#include "route/calls.h"
#include "route/directory.h"
#include "route/durable.h"
#include "route/monitors.h"
#include "route/remote.h"
#include "route/router.h"
#include "route/trace.h"

struct router {
    struct event_base *base;
    struct router_config config;
    const struct router_ops *ops;
    void *ops_arg;
    struct mediator *mediator;
    struct siphash_key key;
    struct directory directory;
    struct calls calls;
    struct monitors monitors;
    struct mailbox_budget budget;
    struct durable *durable;         // NULL: not opened, nothing can be stored
    const struct remote_ops *remote; // NULL: there are no other hosts
    void *remote_arg;
    struct event *sweep; // drops what expired in mailboxes that nobody reads
    struct router_stats stats;
    struct trace trace;
};

struct endpoint {
    struct router *router;
    struct environment *environment;
    const struct endpoint_cb *cb;
    void *arg;
};

// router.c. Tells the link, if there is one and it knows of the environment.
void router_tell_running(const struct router *r, const struct environment *e, bool running);

// submit.c. sender NULL: an operator, or who arrival says; on_reply and ret_handle are only an operator's. 0,
// or -ENOMEM and done is not called.
struct submit {
    struct environment *sender;
    const struct remote_arrival *arrival; // NULL: it was not sent elsewhere
    const struct envelope *untrusted_envelope;
    router_receipt_cb *done;
    remote_decided_cb *decided; // instead of done, of an arrival
    void (*on_reply)(void *arg, const struct envelope *reply);
    void *arg;
    uint64_t *ret_handle;
};
int router_submit(struct router *r, const struct submit *what);
// For a message, or for what is recorded like one.
struct id router_new_id(uint64_t realtime_ms);

// receipt.c. Counts what the sender (NULL: an operator) was told.
void router_count(struct router *r, struct environment *sender, enum receipt_code told);
// The same of what came from the broker.
void router_count_arrived(struct router *r, enum receipt_code code);
// Fills the receipt's code and detail: the reason for an operator, only the code and the id for a tenant.
void router_fill_receipt(const struct router *r, bool for_operator, const struct mediate_decision *d,
                         enum receipt_code told, struct router_receipt *receipt);
// What the sender of q may be told: d->code, but across tenants a refusal says nothing of what exists.
enum receipt_code router_may_tell(const struct router *r, const struct mediate_question *q,
                                  const struct mediate_decision *d);

// question.c. The party that an environment is, with what the rest of envd knows of it.
void router_describe(const struct router *r, const char *tenant, const char *name, struct mediate_party *ret,
                     const char **ret_image);
