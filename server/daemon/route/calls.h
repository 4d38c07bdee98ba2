// Reply capabilities: who may reply to which call, once, and until when. A call that the policy permitted
// makes one; the reply, the deadline, or the end of one side takes it away. Caller and callee are
// environments of this host, or elsewhere: then an address stands for them. Used by the router's files only.
#pragma once

#include <event2/event.h>

#include "route/directory.h"

struct router;

// A caller that is not on this host.
struct call_far {
    struct address address;
    char host[NAME_CAP]; // ""  : an outside client, which is answered at:
    char *reply_to;      // owned, as is correlation; NULL: a host
    char *correlation;
};

struct call {
    struct table_node by_id, by_handle;
    LIST_ENTRY(call) in_caller, in_callee; // of the sides that are here
    struct router *router;
    uint64_t handle;
    struct id id;
    struct environment *caller; // NULL: an operator, or far
    struct call_far *far;       // owned; NULL: the caller is here
    struct environment *callee; // NULL: not here, or not known to be
    struct address called;      // what the call was addressed to
    struct event *timer;
    uint64_t deadline_ms;
    bool answering;         // a reply is on its way into the caller's mailbox
    uint64_t answering_key; // that reply's, which may be sent again
    uint64_t kept_seq;      // its record in the journal; 0: none
    bool owed;              // the caller has no receipt yet: a broker's confirm may come after the reply
    // Of an operator: the reply, which is kept until the deadline, for the call may be sent again by who did
    // not get it; and its record. on_reply is NULL once told, or cancelled.
    struct message *reply;
    uint64_t reply_seq;
    TAILQ_ENTRY(call) in_operators;
    void (*on_reply)(void *arg, const struct envelope *reply);
    void *arg;
};

struct calls {
    struct siphash_key key;
    struct table by_id, by_handle;
    uint64_t handles;
    TAILQ_HEAD(, call) operators; // made by operators, the oldest first
    uint32_t n_operators, n_answered;
    uint64_t reply_bytes; // of those that are answered
};

int calls_init(struct calls *c);  // 0 or -ENOMEM
void calls_done(struct calls *c); // frees what still waits, without a callback

// What a call is made of.
struct call_sides {
    struct environment *caller; // NULL: an operator, whose on_reply is set by the caller of this, or far
    struct call_far *far;       // taken over, on failure too
    struct environment *callee;
    const struct address *called;
    uint64_t kept_seq; // in the journal from before; 0: a new call
};

// The deadline takes the call away by itself. NULL: no memory.
struct call *calls_add(struct router *r, const struct id *id, const struct call_sides *sides,
                       uint64_t deadline_ms, uint64_t now_ms);
// The callee turned out to be here.
void calls_set_callee(struct call *call, struct environment *callee);
void calls_remove(struct call *call);
// An operator's reply is here: nobody may reply again. Takes a reference.
void calls_answer(struct call *call, struct message *reply);
// Whether an operator may make another call: one that is answered, or that nobody waits for, makes room.
bool calls_make_room(struct calls *c);
// Ends a call without a reply: an operator is told.
void calls_end(struct call *call);
// Ends every call that e made, and tells the callers of those that it was to answer that it is gone.
void calls_end_all(struct environment *e);

// NULL: no memory. reply_to and correlation are copied, and may be NULL.
struct call_far *call_far_new(const struct address *caller, const char *host, const char *reply_to,
                              const char *correlation);

struct call *calls_find_handle(const struct calls *c, uint64_t handle);
// The call of that id that the caller (NULL: operators) waits on.
struct call *calls_find_made(const struct calls *c, const struct environment *caller, const struct id *id);
// The call of that id that the far side `from` may answer to the caller.
struct call *calls_find_made_far(const struct calls *c, const struct environment *caller, const struct id *id,
                                 const struct address *from);
// The call of that id that the host of what was called, `from`, may refuse.
struct call *calls_find_refused(const struct calls *c, const struct environment *caller, const struct id *id,
                                const struct address *from);
// The call of that id that callee may answer and that `to` made.
struct call *calls_find_served(const struct calls *c, const struct environment *callee, const struct id *id,
                               const struct address *to);
