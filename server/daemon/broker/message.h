// What goes to a broker and comes from it: publications, deliveries, their properties. Shared by broker.h and
// its callers; knows AMQP 0-9-1's basic properties, not what envd means by them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// A view: not NUL-terminated, not owned. Names, property texts and header names are at most 255 bytes (AMQP's
// short strings), header values at most BROKER_VALUE_MAX.
struct broker_text {
    const char *data;
    size_t len;
};

// NULL: none.
static inline struct broker_text broker_text_of(const char *s)
{
    return (struct broker_text){s, s ? strlen(s) : 0};
}

static inline bool broker_text_begins(struct broker_text t, const char *prefix)
{
    size_t len = strlen(prefix);
    return t.len >= len && (len == 0 || memcmp(t.data, prefix, len) == 0);
}

static inline bool broker_text_is(struct broker_text t, const char *s)
{
    return t.len == strlen(s) && broker_text_begins(t, s);
}

#define BROKER_HEADERS_MAX 80
#define BROKER_SHORT_MAX   255
#define BROKER_VALUE_MAX   4096
#define BROKER_BODY_MAX    (16u << 20) // larger deliveries are dead-lettered unread

struct broker_header {
    struct broker_text name, value;
};

// Empty texts are absent properties. Everything is published persistent (delivery-mode 2).
struct broker_properties {
    struct broker_text message_id, correlation_id, reply_to, user_id, type, content_type, expiration;
    uint8_t priority;
    uint64_t timestamp; // s since 1970; 0: absent
    // Strings. From outside: integers and booleans come as decimal text, what is neither (x-death, …) is left
    // out, and headers beyond the most are dropped and truncated is set.
    size_t n_headers;
    struct broker_header headers[BROKER_HEADERS_MAX];
    bool headers_truncated;
};

// A message to publish.
struct broker_publication {
    struct broker_text exchange, routing_key;
    bool mandatory; // BROKER_RETURNED when no queue takes it; needs a message_id
    struct broker_properties properties;
    struct broker_text body;
    uint32_t patience_ms; // after this: NOT_SENT when it was not sent, else UNKNOWN; 0: the default, 30 s
};

// What became of a publication. It is not sent again after any of them; after UNKNOWN it may lie in a queue:
// publish it again with the same message_id.
enum broker_outcome {
    BROKER_CONFIRMED, // in every queue that it was routed to, on disk (quorum: of a majority)
    // No queue takes this key, or there is no such exchange. Not said of what this link itself wants to take,
    // nor for a minute after the broker lost its data: NOT_SENT then, for its host may not have declared it
    // anew.
    BROKER_RETURNED,
    BROKER_NACKED,    // a queue is full
    BROKER_UNKNOWN,   // it was sent, and its confirm did not come in time
    BROKER_NOT_SENT,  // certainly in no queue
    BROKER_FORBIDDEN, // the broker will not have it: no permission to write there, or a user_id not ours
};

typedef void broker_done_cb(void *arg, enum broker_outcome outcome);

// A message that came. Views are valid during the callback; the handle until it is settled.
struct broker_delivery {
    uint64_t handle;
    uint64_t consumer; // of broker_want_consumer(); 0 from broker_get()
    bool redelivered;
    struct broker_text exchange, routing_key;
    struct broker_properties properties;
    struct broker_text body;
};

enum broker_settlement {
    BROKER_ACK,
    BROKER_REQUEUE,     // back to its old place, as far as the queue can
    BROKER_DEAD_LETTER, // to the queue's dead letter exchange, gone when it has none
};
