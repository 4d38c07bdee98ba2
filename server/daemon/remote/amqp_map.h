// Envelopes as AMQP messages and back: which property and header says what, what may be believed, and what is
// refused. Pure: no broker, no router, no clock of its own. Called by outgoing.c and incoming.c.
//
//   message-id id, correlation-id, type subject, content-type, expiration ms that are left, priority,
//   timestamp, user-id our own; headers env-version "1", env-kind, env-from, env-to, env-expires (ms since
//   1970), env-image, env-label-KEY, env-h-NAME (the sender's own headers), env-host, env-epoch. The body is
//   the body.
//
// A dead letter that a host replays has env-replayed-by, that host, which vouches for its sender, and
// env-replayed-exchange, that it came by at first; env-host and env-epoch are as they were.
//
// A reply that is a refusal (ENVELOPE_REFUSED) has that header by its own name, for hosts and clients alike.
//
// A host is believed, and known by its user-id, which the broker validates, on an exchange to which only
// hosts may write. An outside client is known by its exchange, client.NAME, to which only it may write:
// whatever else it says about itself must agree. It needs no env-* headers: the routing key is the receiver,
// the type or a header `subject` the subject, and with a reply-to it is a call.
#pragma once

#include "broker/message.h"
#include "mediate/question.h"
#include "route/remote.h"

#define AMQP_EXCHANGE       "env"
#define AMQP_EXCHANGE_EVENT "env.event"
#define AMQP_EXCHANGE_DEAD  "env.dead"
#define AMQP_QUEUE_DEAD     "dead"
#define AMQP_USER_HOST      "envd."
#define AMQP_USER_CLIENT    "client."
#define AMQP_KEY_CAP        (2 * NAME_CAP + 2)

// The key of an address on the exchanges env and env.event: TENANT.NAME or TENANT.:SERVICE.
void amqp_key(const char *tenant, const char *name, bool is_service, char out[AMQP_KEY_CAP]);

// Who this host is on the wire.
struct amqp_self {
    const char *user; // "envd.<host>"
    const char *host;
    uint64_t epoch;
};

// A publication and what it points to: the message's own texts, and this.
struct amqp_outgoing {
    struct broker_publication publication; // patience_ms is the caller's
    size_t used;
    char text[16384];
};
// Views into m and *ret. -EMSGSIZE: it has more headers, or longer ones, than fit.
int amqp_write(const struct remote_message *m, const struct amqp_self *self, uint64_t realtime_ms,
               struct amqp_outgoing *ret);

enum amqp_fault {
    AMQP_GOOD = 0,
    AMQP_NOT_UTF8, // a text that should be
    AMQP_HEADERS,  // too many or too long
    AMQP_MISSING,  // a field that there must be
    AMQP_FIELD,    // a field that says what cannot be
    AMQP_VERSION,
    AMQP_SENDER,   // it lies about its sender, or nothing proves it
    AMQP_REPLY_TO, // an answer that would go to somebody else
    AMQP_FAULT_COUNT
};
const char *amqp_fault_name(enum amqp_fault fault); // "invalid-utf8", …

struct amqp_incoming {
    struct envelope envelope; // its id is zero when an outside client gave none
    struct address from, to;
    bool outside;
    bool replayed;       // from the dead letters, by the host that published it
    char host[NAME_CAP]; // of the sender; "" when outside
    uint64_t epoch;      // of that host
    const char *image;   // or NULL
    size_t n_labels;
    struct mediate_label labels[MEDIATE_LABELS_MAX];
    char reply_to[BROKER_SHORT_MAX + 1]; // of an outside call
    char correlation[BROKER_SHORT_MAX + 1];
    char from_text[ADDRESS_CAP], to_text[ADDRESS_CAP];
    size_t used;
    char text[16384]; // labels and image
};
// Validates everything. GOOD and *ret filled, with views into d and *ret; or what is wrong, and in *ret_what
// a constant sentence. Then *ret is unspecified, but for envelope.id, which is d's if that could be read.
enum amqp_fault amqp_read(const struct broker_delivery *d, uint64_t realtime_ms, struct amqp_incoming *ret,
                          const char **ret_what);
// What could not be read: whether it is an outside client's call that can be answered all the same. Then ret
// has its sender, reply_to, correlation, and its id if that could be read.
bool amqp_read_way_back(const struct broker_delivery *d, struct amqp_incoming *ret);
