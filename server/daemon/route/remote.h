// Where the router meets what lies beyond this host: what it asks of the link (remote/ is the one behind it),
// and how the link hands it what came in. Addresses and envelopes only: the router knows no AMQP, the link no
// policy.
#pragma once

#include "route/router.h"

// Where a message goes on its way out.
enum remote_way {
    REMOTE_TO_RECEIVER, // the environment or one server of the service that it is addressed to
    REMOTE_TO_SERVERS,  // every server of the service: an event
    REMOTE_TO_HOST,     // a reply, to the host of the caller
    REMOTE_TO_CLIENT,   // a reply, to a program outside that is no environment
};

struct remote_message {
    enum remote_way way;
    const struct envelope *envelope; // with its sender, and with the receiver's tenant
    const struct address *to;
    const struct mediate_party *source;
    const char *image;       // of the source, or NULL
    const char *host;        // REMOTE_TO_HOST
    const char *reply_to;    // REMOTE_TO_CLIENT: what the call named
    const char *correlation; // REMOTE_TO_CLIENT: and how it wants the reply marked
};

enum remote_outcome {
    REMOTE_STORED,      // as durable as the broker makes it
    REMOTE_NOBODY,      // no host has such a receiver
    REMOTE_FULL,        // its queue takes no more
    REMOTE_UNREACHABLE, // it was not sent
    REMOTE_UNKNOWN,     // it was sent, and may or may not have been stored
};

typedef void remote_done_cb(void *arg, enum remote_outcome outcome);

// Called within router functions; must not call back from within, done excepted.
struct remote_ops {
    // Copies what it keeps; done is called exactly once, possibly before this returns. -EMSGSIZE: it cannot
    // be said in AMQP; -ENOBUFS: too much waits to be sent; -ENOMEM. done is not called then.
    int (*send)(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg);
    // An environment is defined here, its mail comes by a queue of its own or by this host's; or no longer.
    void (*environment_added)(void *arg, const char *tenant, const char *name, bool queue);
    void (*environment_removed)(void *arg, const char *tenant, const char *name, bool queue);
    // A queue of an environment that was deleted while the broker could not be told: when envd has begun.
    void (*queue_left)(void *arg, const char *queue);
    // Something is attached that takes its mail, or no longer.
    void (*environment_running)(void *arg, const char *tenant, const char *name, bool running);
    // Somebody here serves that service, or nobody any more.
    void (*service_served)(void *arg, const char *tenant, const char *service, bool served);
    // Mail was processed: there may be room for more.
    void (*mail_processed)(void *arg, const char *tenant, const char *name);
    // An environment of this host has gone. NULL: no other host is to know.
    void (*environment_went)(void *arg, const char *tenant, const char *name, const char *reason);
    // Somebody here monitors an environment that is not here: ask whose it is.
    void (*environment_asked)(void *arg, const char *tenant, const char *name);
    // What is wrong with the link, for operators.
    void (*describe_link)(void *arg, char *out, size_t cap);
};

// Before environments are added. Borrows ops and arg, which outlive the router's last environment.
void router_set_remote(struct router *r, const struct remote_ops *ops, void *arg);

// A message that came in, by a sender that the link believes.
struct remote_arrival {
    const struct envelope *envelope; // valid, with the tenants of its sender and receiver
    const struct mediate_label *labels;
    size_t n_labels;
    const char *image;       // or NULL
    bool own;                // this host sent it, and has decided on it
    const char *host;        // of the sender; NULL: an outside client
    const char *reply_to;    // of an outside client's call
    const char *correlation; // or NULL
};

// A message that was refused here after its sender had heard `accepted`.
struct remote_refusal {
    struct address sender, receiver; // as it was addressed
    struct id id;
    enum message_kind kind;
    enum receipt_code code;               // what its sender may know
    char text[ROUTER_DETAIL_CAP];         // the same
    bool own;                             // its sender is on this host
    char host[NAME_CAP];                  // of its sender; "": an outside client, or not known any more
    char reply_to[256], correlation[256]; // of an outside client's call, or ""
};

// Decides, and puts the message into mailboxes of this host. done is called once, possibly before this
// returns, when it is durable or refused; the receipt's detail says why, as to an operator, and refusal, NULL
// when it is accepted, is valid during the callback. Views of the arrival need not outlive the call. -ENOMEM:
// done is not called.
typedef void remote_decided_cb(void *arg, const struct router_receipt *receipt,
                               const struct remote_refusal *refusal);
int router_deliver(struct router *r, const struct remote_arrival *a, remote_decided_cb *done, void *arg);
// Sends a refused call's caller, wherever it is, the refusal as the reply: the call is over. Nothing of what
// is no call, or has nowhere to be answered. Not within remote_ops.
void router_tell_caller(struct router *r, const struct remote_refusal *refusal);

// Messages that wait at an environment, or at the server of a service where the fewest do; 0 when there is
// none.
uint64_t router_depth(const struct router *r, const char *tenant, const char *name);
// Whether its mail comes by a queue of its own.
bool router_mailbox_is_queue(const struct router *r, const char *tenant, const char *name);
uint64_t router_service_depth(const struct router *r, const char *tenant, const char *service);

// ---- what hosts tell each other about their environments (monitors.c) ----

// Whether that environment is one of this host's; then reason says why it does not run, "" when it does.
bool router_presence_here(const struct router *r, const char *tenant, const char *name, char *ret_reason,
                          size_t cap);
// Another host answers: it is one of its own, and does not run unless reason is "".
void router_presence_told(struct router *r, const char *host, const char *tenant, const char *name,
                          const char *reason);
// An environment of another host has gone.
void router_presence_went(struct router *r, const char *host, const char *tenant, const char *name,
                          const char *reason);
// Nothing has been heard of that host for a while.
void router_host_silent(struct router *r, const char *host);
// Asks again for what nobody has answered, and after a while says so to who waits. Every second or so.
void router_presence_tick(struct router *r, uint64_t now_ms);
