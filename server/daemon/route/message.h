// A message on its way: the encoded envelope as the receiver will see it, sender set by the host, and the few
// fields that the host needs to look at. Immutable and reference counted: an event lies in many mailboxes
// once.
#pragma once

#include <stdbool.h>

#include "proto/envelope.h"

struct message {
    unsigned n_refs;
    enum message_kind kind;
    uint8_t priority;
    struct id id;
    struct id correlation;
    uint64_t expires_ms; // 0: never
    uint64_t dedup_key;  // keyed hash of sender and id: equal for the same message sent again
    size_t len;
    uint8_t bytes[]; // the envelope, encoded
};

// Encodes e. NULL: no memory.
struct message *message_new(const struct envelope *e, uint64_t dedup_key);
struct message *message_ref(struct message *m);
void message_unref(struct message *m); // NULL is fine
// Decodes it again: views into m. True but for a bug: it was encoded from a valid envelope.
bool message_envelope(const struct message *m, struct envelope *ret);
static inline bool message_expired(const struct message *m, uint64_t realtime_ms)
{
    return m->expires_ms != 0 && m->expires_ms <= realtime_ms;
}
