// The router: every message of every environment on this host passes router_submit*(), which sets its sender,
// finds its receivers, asks the mediator, and puts it into mailboxes. It knows addresses, services, reply
// capabilities and mailboxes; it knows neither sessions (endpoint.h is what they hold) nor how environments
// run nor the store.
//
// The rest of envd tells it which environments are defined; a mailbox exists from router_environment_added()
// to router_environment_removed(), across stops, starts and agents that come and go. One loop's thread;
// nothing blocks.
#pragma once

#include <event2/event.h>

#include "journal/journal.h"
#include "mediate/mediator.h"
#include "proto/agent.h"

#define ROUTER_OPERATOR     "operator" // messages from the API come from host/operator
#define ROUTER_DETAIL_CAP   256
#define ROUTER_SERVICES_MAX 64 // that one environment may serve

struct router;

struct router_config {
    uint32_t body_max_bytes;       // up to ENVELOPE_BODY_MAX
    uint32_t mailbox_messages_max; // per environment; up to 65,536
    uint64_t mailbox_bytes_max;    // per environment; raised so that one message of body_max_bytes fits
    uint64_t total_bytes_max;      // of all mailboxes
    uint32_t attempts_max;         // at one message by its receiver, before it becomes a dead letter
    uint32_t dead_max;             // dead letters per environment
    uint32_t dedup_window;         // ids that a mailbox remembers to find what is sent again; up to 65,536
    uint32_t rate_per_s;           // messages that one environment may send; 0: no limit
    uint32_t rate_burst;
    uint32_t calls_max;           // of one sender that wait for replies at once
    uint64_t call_timeout_ms;     // deadline of a call that names none
    uint64_t call_timeout_max_ms; // later deadlines are brought forward to this
};

void router_config_default(struct router_config *ret);

// What the router asks of the rest of envd; called within router functions, must not call back.
struct router_identity {
    const struct mediate_label *labels; // valid until the loop is next returned to
    size_t n_labels;
    const char *image; // "sha256:<hex>" or NULL
};

struct router_ops {
    // Fills *ret for a defined environment; false: nothing is known, it has no labels and no image.
    bool (*describe)(void *arg, const char *tenant, const char *name, struct router_identity *ret);
    uint64_t (*realtime_ms)(void *arg);
    uint64_t (*monotonic_ns)(void *arg);
    // Whether a defined environment is known not to run, and then why. NULL: it is never known.
    bool (*away)(void *arg, const char *tenant, const char *name, char *ret_reason, size_t cap);
};

// Borrows base, ops, arg and mediator, which must outlive the router. NULL: no memory.
struct router *router_new(struct event_base *base, const struct router_config *config,
                          const struct router_ops *ops, void *arg, struct mediator *mediator);
// Operators' calls that still wait are cancelled without a callback. Endpoints must have been detached.
void router_free(struct router *r);
const struct router_config *router_get_config(const struct router *r);

// Opens the journal in which all mailboxes are kept, and reads what it holds; before environments are added,
// and once. Without it no message is accepted. What journal_open() says.
int router_open_journal(struct router *r, const struct journal_config *config, struct err *err);
// Every environment that there is was added: messages and calls of others are forgotten, their queues at
// the broker are deleted, and the calls that waited when envd ended wait again.
void router_settle(struct router *r);
// Waits until everything under way to the journal has its outcome, and its sender the receipt: for the way
// down, and for tests.
void router_flush(struct router *r);
// False: it is not open.
bool router_journal_stats(const struct router *r, struct journal_stats *ret);

// An environment was defined, or is found to be at start. Its mailbox holds what the journal held for it. 0,
// -EEXIST, -EINVAL (no such name can be), or -ENOMEM.
int router_environment_added(struct router *r, const char *tenant, const char *name);

// How messages reach its mailbox: directly when they come from this host, or through a queue of its own at
// the broker, whoever sends them. Only now other hosts learn of it. Once, after router_environment_added():
// it does not change. QUEUE without a broker: nothing is accepted for it. -ENOENT.
enum router_mailbox { ROUTER_MAILBOX_DEFAULT, ROUTER_MAILBOX_HOST, ROUTER_MAILBOX_QUEUE };
int router_environment_mailbox(struct router *r, const char *tenant, const char *name,
                               enum router_mailbox mailbox);
bool router_has_remote(const struct router *r); // there is a broker

// It was deleted: its mailbox and services go, its endpoint is told, calls that wait for it expire. -ENOENT.
int router_environment_removed(struct router *r, const char *tenant, const char *name);

// An environment stopped, failed, or its host cannot be reached: whoever monitors it is told. reason is for
// people, at most AGENT_REASON_MAX bytes of UTF-8. What nobody monitors is fine.
void router_environment_went(struct router *r, const char *tenant, const char *name,
                             enum agent_certainty certainty, const char *reason);

// What became of a message.
struct router_receipt {
    enum receipt_code code;
    struct id id;                   // of the message; made by the router when the sender left it zero
    char detail[ROUTER_DETAIL_CAP]; // of a refusal: to a tenant nothing but the id, to an operator the reason
};

typedef void router_receipt_cb(void *arg, const struct router_receipt *receipt);

// Operators. on_receipt is called once, possibly before router_submit_operator() returns. For a call that was
// accepted on_reply is then called once, later: with the reply (valid during the callback), which may be a
// refusal (envelope_refusal()), or NULL when the deadline passed.
struct router_operator_cb {
    router_receipt_cb *on_receipt;
    void (*on_reply)(void *arg, const struct envelope *reply);
};

// Submits for host/operator; `from` is ignored. *ret_handle names the call until on_reply (0: nothing to wait
// for); it is set before on_receipt is called and must live until then. 0, or -ENOMEM with no callback
// called.
int router_submit_operator(struct router *r, const struct envelope *untrusted_envelope,
                           const struct router_operator_cb *cb, void *arg, uint64_t *ret_handle);
// The operator went away: on_reply will not be called. Unknown handles are fine.
void router_operator_cancel(struct router *r, uint64_t handle);

// What the policy would decide, without sending anything or taking a token: on_answer is called once, before
// this returns, with what was asked and the answer. For a service it is asked about the server whose turn it
// is; an environment or a service that is not there is asked about by its name alone. from: with its tenant.
// For operators only: senders may not be told as much.
typedef void router_peek_cb(void *arg, const struct mediate_question *q, const struct mediate_decision *d);
void router_peek(struct router *r, const struct address *from, const struct address *to, const char *subject,
                 enum message_kind kind, uint64_t body_bytes, router_peek_cb *on_answer, void *arg);

struct router_stats {
    uint64_t accepted;
    uint64_t refused[RECEIPT_CODE_COUNT]; // by what the sender was told
    uint64_t duplicates;                  // accepted again without delivering again
    uint64_t delivered;                   // handed to an endpoint, redeliveries included
    uint64_t acked;
    uint64_t released; // given back by an endpoint
    uint64_t strays;   // acknowledged or given back by an endpoint that does not have it, and ignored
    uint64_t expired;  // dropped in a mailbox
    uint64_t dead;     // dead letters now
    uint64_t depth;    // messages in mailboxes now
    uint64_t depth_bytes;
    uint64_t calls_waiting;
    uint64_t arrived;                             // from the broker, and taken in
    uint64_t arrived_refused[RECEIPT_CODE_COUNT]; // from the broker, and refused here
};

void router_get_stats(const struct router *r, struct router_stats *ret);
// The same of one environment: sent messages in accepted and refused, its own mailbox in the rest. -ENOENT.
int router_environment_stats(const struct router *r, const char *tenant, const char *name,
                             struct router_stats *ret);

// --- mailboxes, for operators; all -ENOENT: no such environment ---

struct mailbox_item;
struct mailbox_stats;
int router_mailbox_stats(const struct router *r, const char *tenant, const char *name,
                         struct mailbox_stats *ret);
// Calls cb for each message that waits or is out, or for each dead letter; at most max. See mailbox.h.
int router_mailbox_list(const struct router *r, const char *tenant, const char *name, bool dead, size_t max,
                        void (*cb)(void *arg, const struct mailbox_item *item), void *arg);
// Queues dead letters again. id NULL: all. *ret_n: how many.
int router_mailbox_replay(struct router *r, const char *tenant, const char *name, const struct id *id,
                          size_t *ret_n);
// Forgets what waits, or dead letters. id NULL: all. *ret_n: how many.
int router_mailbox_purge(struct router *r, const char *tenant, const char *name, bool dead,
                         const struct id *id, size_t *ret_n);
