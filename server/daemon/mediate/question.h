// What mediation is asked and what it answers: who sends what to whom, and whether that may be. Plain structs
// that the router, the API (policy test, explain) and the policy share; nobody here knows how rules are
// written or messages kept.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/envelope.h"
#include "proto/receipt.h"

#define MEDIATE_LABELS_MAX      32 // labels of one environment; a question with more is denied, never cut
#define MEDIATE_LABEL_KEY_MAX   63
#define MEDIATE_LABEL_VALUE_MAX 252
#define MEDIATE_IMAGE_LEN       71 // "sha256:" and 64 lower-case hex digits
#define MEDIATE_LINE_NONE       0  // lines count from 1

// What rules can name: keys [A-Za-z0-9] [A-Za-z0-9._/-]{0,62}, values of at most 252 bytes of UTF-8 without
// blanks and control characters.
struct mediate_label {
    const char *key;
    const char *value;
};

// One side of a message. All strings are NUL-terminated, never NULL, and the asker's.
struct mediate_party {
    const char *tenant;
    const char *name; // "" on the target's side: a service that nobody serves
    const struct mediate_label *labels;
    size_t n_labels;
};

struct mediate_question {
    struct mediate_party source;
    struct mediate_party target; // the environment that would receive it
    const char *service;         // the service that it is addressed to; NULL: the environment by its name
    const char *subject;
    enum message_kind kind; // SEND, CALL or EVENT: a reply is never asked about
    uint64_t body_bytes;
    const char *image; // what the source was started from, "sha256:<hex>", or NULL
    bool elsewhere;    // the target is not on this host: its labels are not known, and its host decides again
};

// Why the answer is what it is. The first six come from mediation, the others from the router.
enum mediate_reason {
    MEDIATE_REASON_RULE = 0,        // the rule says allow or deny
    MEDIATE_REASON_NO_MATCH = 1,    // no rule matched: deny
    MEDIATE_REASON_NO_POLICY = 2,   // there is no policy at all: deny
    MEDIATE_REASON_RULE_BODY = 3,   // allowed, but larger than the rule's max-body
    MEDIATE_REASON_RULE_RATE = 4,   // allowed, but over the rule's rate
    MEDIATE_REASON_LABELS = 5,      // more labels than MEDIATE_LABELS_MAX: deny
    MEDIATE_REASON_REPLY = 6,       // a reply to a permitted call: needs no rule
    MEDIATE_REASON_NO_CALL = 7,     // a reply, but no call is waiting for it
    MEDIATE_REASON_NO_TARGET = 8,   // the receiver does not exist
    MEDIATE_REASON_BODY_LIMIT = 9,  // larger than the host's limit
    MEDIATE_REASON_RATE_LIMIT = 10, // over the environment's message rate
    MEDIATE_REASON_CALL_LIMIT = 11, // too many of the sender's calls wait for replies
    MEDIATE_REASON_MAILBOX = 12,    // the receiver's mailbox is full
    MEDIATE_REASON_EXPIRED = 13,    // the message's time is over
    MEDIATE_REASON_ADDRESS = 14,    // the address or a field cannot be
    MEDIATE_REASON_LINK = 15,       // the broker did not take it, or did not say
    MEDIATE_REASON_SENDER = 16,     // from outside: it lies about its sender
    MEDIATE_REASON_STALE = 17,      // from outside: its host has started anew since
    MEDIATE_REASON_MALFORMED = 18,  // from outside: it is no message
    MEDIATE_REASON_COUNT
};

struct mediate_decision {
    enum receipt_code code; // ACCEPTED, or the refusal
    enum mediate_reason reason;
    bool notify;       // the deciding rule asks that operators be told
    uint32_t rule;     // index into the policy, or POLICY_RULE_NONE
    uint32_t line;     // of the deciding rule in its file, or MEDIATE_LINE_NONE
    uint64_t revision; // of the policy that decided, 0 when there was none
};

// "rule", "no-match", …: stable words for JSON. And one sentence for people.
const char *mediate_reason_name(enum mediate_reason reason);
const char *mediate_reason_text(enum mediate_reason reason);
// What labels and image digests may look like: the same for the API that stores them and the rules that name
// them.
bool mediate_label_key_valid(const char *s, size_t len);
bool mediate_label_value_valid(const char *s, size_t len);
bool mediate_image_valid(const char *s, size_t len);
