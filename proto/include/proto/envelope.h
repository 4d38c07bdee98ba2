// The message envelope: what a sender's program writes and a receiver's program reads, with the meanings of the AMQP
// 0-9-1 basic properties. The same bytes travel program - agent - host - agent - program. Freestanding.
//
// Encoding (little endian, see wire.h for str and bytes):
//
//   u8   version          1
//   u8   kind             enum message_kind
//   u8   priority         0..9
//   u8   reserved         0
//   id   id               16 bytes, UUIDv7, made by the sender's agent when the program leaves it zero
//   id   correlation      16 bytes: the call's id in a reply, else zero unless the program sets it
//   u64  expires_ms       realtime in ms since 1970 after which the message is worthless, 0 = never; a call's deadline
//   str  from             address; empty from the guest (ignored if not): THE HOST SETS IT, never the guest
//   str  to               address
//   str  subject          see name.h; may be empty only in a reply
//   str  content_type     at most 127 bytes, may be empty
//   u16  header count     at most 32, then per header: str name (1..63), str value (at most 1023)
//   bytes body            at most ENVELOPE_BODY_MAX; the host's configured limit may be lower
#pragma once

#include "proto/name.h"
#include "proto/receipt.h"
#include "proto/wire.h"

#define ENVELOPE_VERSION       1
#define ENVELOPE_BODY_MAX      (16u << 20)
#define ENVELOPE_BODY_DEFAULT  (1u << 20)
#define ENVELOPE_HEADERS_MAX   32
#define ENVELOPE_OVERHEAD_MAX  (64u << 10) // everything but the body, encoded
#define ENVELOPE_CONTENT_TYPE_MAX 127
#define ENVELOPE_HEADER_NAME_MAX  63
#define ENVELOPE_HEADER_VALUE_MAX 1023
// Only hosts put this header into a reply: then the call was refused after it had been accepted, the value is the code's
// name (receipt.h) and the body a sentence for people.
#define ENVELOPE_REFUSED "env-refused"

enum message_kind {
    MESSAGE_SEND = 0,  // one receiver, no answer
    MESSAGE_CALL = 1,  // one receiver, one reply before expires_ms
    MESSAGE_REPLY = 2, // answers `correlation`; needs no rule of its own
    MESSAGE_EVENT = 3, // every server of a service
    MESSAGE_KIND_COUNT
};

struct envelope_header {
    struct wire_view name;
    struct wire_view value;
};

// Decoded: views point into the decoded buffer.
struct envelope {
    enum message_kind kind;
    uint8_t priority;
    struct id id;
    struct id correlation;
    uint64_t expires_ms;
    struct wire_view from;
    struct wire_view to;
    struct wire_view subject;
    struct wire_view content_type;
    uint16_t n_headers;
    struct envelope_header headers[ENVELOPE_HEADERS_MAX];
    struct wire_view body;
};

// Reads one envelope from r; complains in r->error. Validates every field: addresses parse, subject is a subject, kind
// and priority are in range. Whether `to` exists, and who `from` is, is for the host.
bool envelope_read(struct wire_reader *r, struct envelope *ret);
void envelope_write(struct wire_writer *w, const struct envelope *e);
size_t envelope_size(const struct envelope *e);
// The refusal that a reply is; ACCEPTED: it is none. A code that is not known is UNKNOWN_OUTCOME.
enum receipt_code envelope_refusal(const struct envelope *e);
const char *message_kind_name(enum message_kind kind);
bool message_kind_parse(const char *s, enum message_kind *ret);
