// The broker's dead letters, deliveries that hosts refused: looked at, thrown away, replayed. Called by the
// API; dead.c walks the queue from its front, and what nothing is done with goes back to its place.
#pragma once

#include "remote/remote.h"

// Each walk begins at the front: AMQP has no other place to begin, and a walk that stayed open between two
// pages would keep what lies there from everybody else. So position + limit letters are taken and put back
// for a page, and listing all that can be reached, REACH letters, in pages of n takes REACH * REACH / (2 * n)
// of them: 142,000 in the longest pages of the API.
#define REMOTE_DEAD_REACH    16000 // a walk goes no further from the front
#define REMOTE_DEAD_NAME_CAP 17

// One of them. Texts are whatever somebody sent, valid during the callback; code, why, host and exchange are
// empty when the broker itself put it there.
struct remote_dead {
    char letter[REMOTE_DEAD_NAME_CAP]; // its name, from what it says, for those without an id of their own
    struct broker_text id, from, to, subject;
    struct broker_text code, why, host, exchange; // of the refusal
    struct broker_text user;                      // the broker's name of who published it
    size_t body_bytes;
    const struct broker_properties *properties;
};

enum remote_dead_what { REMOTE_DEAD_LOOK, REMOTE_DEAD_PURGE, REMOTE_DEAD_REPLAY };

struct remote_dead_ask {
    enum remote_dead_what what;
    const char *letter; // only the first of that name or message id; NULL: limit of them from position on
    uint32_t position, limit; // together less than REMOTE_DEAD_REACH
};

struct remote_dead_end {
    const char *why; // the walk ended early; NULL: it is whole
    uint32_t done;   // looked at, thrown away or replayed
    uint32_t kept;   // not replayed; of the last of these:
    char code[32], text[256];
    bool more; // behind these
};

// cb for each letter that is looked at, then once with d NULL; later, and not after remote_stop(). -EBUSY:
// somebody walks already; -ENOTCONN: stopped; -ENOMEM. A replayed letter is published to where it came from,
// for the receiver's host to decide on again, and gone once the broker has it: at least once.
typedef void remote_dead_cb(void *arg, uint64_t tag, const struct remote_dead *d,
                            const struct remote_dead_end *end);
int remote_dead_walk(struct remote *r, const struct remote_dead_ask *ask, remote_dead_cb *cb, void *arg,
                     uint64_t tag);
