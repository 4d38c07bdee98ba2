// An endpoint: the running side of one environment at the router, held by its session. What is submitted
// through it comes from that environment, whatever the bytes say; what is in the environment's mailbox is
// taken through it. At most one per environment. The router calls it only through the two callbacks.
#pragma once

#include "route/message.h"
#include "route/monitors.h"
#include "route/router.h"

struct endpoint;

struct endpoint_cb {
    // There is mail that was not there when endpoint_next() last returned NULL. May be called from any router
    // function.
    void (*on_mail)(void *arg);
    // The environment was removed: the endpoint is gone, detach is not needed and not allowed.
    void (*on_removed)(void *arg);
    // A monitored environment went; address as it was asked for. May be called from any router function.
    void (*on_gone)(void *arg, const char *address, enum agent_certainty certainty, const char *reason);
};

// Attaches to a defined environment. 0, -ENOENT, -EBUSY (another endpoint is attached), -ENOMEM.
int endpoint_attach(struct router *r, const char *tenant, const char *name, const struct endpoint_cb *cb,
                    void *arg, struct endpoint **ret);
// What was taken and not acknowledged goes back to the mailbox, services are unregistered. Receipts still
// owed are delivered to their callbacks all the same. NULL is fine.
void endpoint_detach(struct endpoint *ep);
// The same, because the receiver died or cannot be reached any more: for what it had in hand that was a
// failed attempt (mailbox.h).
void endpoint_lost(struct endpoint *ep);

// Submits a message. done is called exactly once, possibly before this returns. -ENOMEM: not called.
int endpoint_submit(struct endpoint *ep, const struct envelope *untrusted_envelope, router_receipt_cb *done,
                    void *arg);
// A message over the size limit was announced and thrown away unread: takes a token, records and counts the
// refusal.
void endpoint_refuse_oversized(struct endpoint *ep, const struct id *untrusted_id, uint64_t body_bytes,
                               struct router_receipt *ret);
// Takes the next message, or NULL; replies_only: only replies to calls of this environment. The caller owns a
// reference.
struct message *endpoint_next(struct endpoint *ep, bool replies_only);
// Processed, or to be delivered again; failed: it was tried, and after some times it becomes a dead letter.
// Ids of nothing that is out are ignored.
void endpoint_ack(struct endpoint *ep, const struct id *untrusted_id);
void endpoint_release(struct endpoint *ep, const struct id *untrusted_id, bool failed);
// The same, but it is released later. False: it will not be, there is nothing to release.
bool endpoint_put_off(struct endpoint *ep, const struct id *untrusted_id, bool failed);
// service: a valid name. ACCEPTED (also when registered before) or RATE_LIMITED (ROUTER_SERVICES_MAX).
enum receipt_code endpoint_register(struct endpoint *ep, const char *service);
// ACCEPTED or NO_SUCH_ENVIRONMENT.
enum receipt_code endpoint_unregister(struct endpoint *ep, const char *service);
// address: of an environment, valid. See monitors.h.
enum receipt_code endpoint_monitor(struct endpoint *ep, const char *address, struct monitors_answer *ret);
enum receipt_code endpoint_unmonitor(struct endpoint *ep, const char *address);
