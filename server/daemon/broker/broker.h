// A link to an AMQP 0-9-1 broker (RabbitMQ): one connection to publish and one to consume, on a thread of its
// own that never holds up the loop. Called by remote/ on the loop's thread, where all callbacks arrive too.
// Knows AMQP, not envd's messages.
//
// It connects by itself, for ever, with backoff. What is wanted (exchanges, queues, bindings, consumers) is
// remembered and redone at every connection; publications that were not confirmed are published again, in
// their order, with their message_id. The order of publications to a key is kept.
// They go out before everything is declared: only those that this link's own bindings take wait for these.
#pragma once

#include <event2/event.h>

#include "broker/message.h"
#include "common/err.h"

struct broker;

// Strings are copied; NULL and "" mean none. 0 means the default in brackets.
struct broker_config {
    // Names or addresses, with commas between them, each with :PORT if it likes: nodes of one cluster, tried
    // in turn.
    const char *host;
    uint16_t port;     // [5672, with TLS 5671]
    const char *vhost; // ["/"]
    const char *user;  // SASL PLAIN; with a certificate and without a password SASL EXTERNAL
    const char *password;
    bool tls;                    // 1.2 or later; the certificate must be good and name host
    const char *ca, *cert, *key; // PEM files; cert and key may be NULL. Read at each connection
    const char *name;            // of the connections, as the broker shows them ["envd"]
    // AUTO: quorum when three addresses or more are given, else what the broker makes by itself.
    enum broker_queue_type { BROKER_QUEUE_AUTO, BROKER_QUEUE_CLASSIC, BROKER_QUEUE_QUORUM } queue_type;
    uint32_t heartbeat_s;                        // [10]
    uint32_t publish_window;                     // unconfirmed at once [2000]
    uint32_t connect_timeout_ms, rpc_timeout_ms; // [3000] TCP and TLS, [5000] each answer of the set-up
    uint32_t backoff_min_ms, backoff_max_ms;     // [100], [10000]
    uint64_t outbox_bytes_max;                   // of publications whose outcome is not known [64 MiB]
};

enum broker_state {
    BROKER_CONNECTING,
    BROKER_READY,     // publishes; on_state says so again with a reason when something wanted was refused, or
                      // a queue is there with other arguments: it is used as it is
    BROKER_BLOCKED,   // connected, and the broker's memory or disk alarm stops publishers
    BROKER_REFUSED,   // credentials, virtual host, permissions
    BROKER_UNTRUSTED, // a certificate: its, or ours
    BROKER_SILENT,    // accepts TCP, says nothing
    BROKER_UNREACHABLE,
    BROKER_STATE_COUNT
};
const char *broker_state_name(enum broker_state state); // "connecting", "ready", …

struct broker_cb {
    // why: a sentence, "" when there is nothing to say. Changes that the loop was too late for are skipped.
    void (*on_state)(void *arg, enum broker_state state, const char *why);
    void (*on_delivery)(void *arg, const struct broker_delivery *d); // settle it now or later
    // The wanted queue exists and its bindings hold; again after every connection. May be NULL.
    void (*on_queue_ready)(void *arg, const char *queue);
    // A queue that was to be deleted is not there any more. May be NULL.
    void (*on_queue_deleted)(void *arg, const char *queue);
};

// Starts the thread, which connects at once. Errors: -EINVAL (no host, a text too long), -ENOMEM, -EMFILE.
int broker_new(struct event_base *base, const struct broker_config *config, const struct broker_cb *cb,
               void *arg, struct broker **ret, struct err *err);
// Ends the thread (within a second when the broker answers, or rpc_timeout_ms). Publications without an
// outcome get theirs before it returns: NOT_SENT or UNKNOWN. No other callback is made. Accepts NULL. Not
// from a callback.
void broker_free(struct broker *b);

// Copies p. done is called once, on the loop, later, in the order in which outcomes come to be known. Works
// in every state. -ENOBUFS: the outbox is full; -EINVAL: a text too long, mandatory without message_id;
// -ENOMEM; done is not called then.
int broker_publish(struct broker *b, const struct broker_publication *p, broker_done_cb *done, void *arg);

// What shall be there. 0, -EINVAL (a name of more than 255 bytes) or -ENOMEM. Wanting the same again is fine.
struct broker_binding {
    const char *exchange, *key;
};
struct broker_queue {
    const char *name;                 // durable; of the type that the configuration says
    uint32_t messages_max;            // 0: no limit; when full, publications are NACKED
    uint64_t bytes_max;               // likewise
    const char *dead_letter_exchange; // NULL: none
    bool one_consumer;   // is served, the next when it and what it was given are back: keeps the order
    bool exclusive_host; // its consumers shut others out, such as a second host of the same name
    const struct broker_binding *bindings; // besides those of broker_want_binding()
    size_t n_bindings;
};
int broker_want_exchange(struct broker *b, const char *name,
                         const char *type); // durable: direct, fanout, topic
int broker_want_queue(struct broker *b, const struct broker_queue *q);
int broker_want_binding(struct broker *b, const char *queue, const char *exchange, const char *key);
int broker_unwant_binding(struct broker *b, const char *queue, const char *exchange,
                          const char *key); // and undo
// delete_it: with everything in it, also one that was not wanted before. Consumers of it end, if they are not
// wanted elsewhere.
int broker_unwant_queue(struct broker *b, const char *name, bool delete_it);
// consumer: the caller's name for it, not 0, unique; at most prefetch deliveries are unsettled at once.
int broker_want_consumer(struct broker *b, const char *queue, uint16_t prefetch, uint64_t consumer);
// Deliveries under way are put back; what was delivered is still the caller's to settle.
int broker_unwant_consumer(struct broker *b, uint64_t consumer);

// Settles a delivery. Handles of a lost connection, and unknown ones, are ignored: that message comes again.
void broker_settle(struct broker *b, uint64_t handle, enum broker_settlement how);

#define BROKER_GET_MAX 16384
// Takes up to n (at most BROKER_GET_MAX) messages from the front of a queue, for listing and replaying: cb
// for each, then once with d NULL, why NULL or the reason why it ended early. Settle each after the last:
// REQUEUE to have only looked. -EBUSY: another one is under way; -EINVAL; -ENOMEM; cb is not called then.
typedef void broker_get_cb(void *arg, const struct broker_delivery *d, const char *why);
int broker_get(struct broker *b, const char *queue, uint32_t n, broker_get_cb *cb, void *arg);

#define BROKER_WHY_CAP 256
// Asks how many messages wait in a queue, besides those that somebody has and did not settle: cb later, once,
// why NULL or the reason why it is not known; not after broker_free(). arg and tag are handed on. -EINVAL;
// -ENOMEM.
typedef void broker_count_cb(void *arg, uint64_t tag, uint32_t messages, const char *why);
int broker_count(struct broker *b, const char *queue, broker_count_cb *cb, void *arg, uint64_t tag);

struct broker_stats {
    enum broker_state state;
    uint64_t since_ms; // realtime
    char why[BROKER_WHY_CAP];
    bool tls;
    char product[64]; // "RabbitMQ 3.10.8", of the last connection
    uint64_t published, confirmed, returned, nacked, forbidden, unknown, not_sent, republished, renewed;
    uint64_t waiting, unconfirmed, outbox_bytes; // now
    uint64_t deliveries, acked, requeued, dead_lettered, unsettled;
    uint64_t connects, reconnects, blocked_ms;
    uint64_t wanted, wanted_missing; // exchanges, queues, bindings and consumers; those not (yet) there
    uint64_t differing;              // queues with other arguments than wanted, used as they are
};
void broker_get_stats(struct broker *b, struct broker_stats *ret);
