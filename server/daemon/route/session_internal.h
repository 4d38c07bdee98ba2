// What the session's files share: session.c (life), session_io.c (bytes), session_frames.c (what each frame
// does), session_questions.c (what the agent is asked), session_deferred.c (what it does not want yet).
#pragma once

#include <event2/buffer.h>
#include <event2/event.h>
#include <sys/queue.h>

#include "proto/agent.h"
#include "route/endpoint.h"
#include "route/session.h"

#define SESSION_REASON_CAP 160

enum session_state {
    SESSION_GREETING, // waits for HELLO
    SESSION_READY,
    SESSION_CLOSING, // over; freed when the last call into it returns
    SESSION_STATE_COUNT
};

// A message whose receipt is owed. It outlives the session when the receipt is late.
struct pending {
    LIST_ENTRY(pending) link;
    struct session *session; // NULL: the session is gone
    uint32_t tag;
};

// Something that the agent was asked.
struct question {
    LIST_ENTRY(question) link;
    uint32_t tag;
    enum agent_frame_type answer; // RESULT or STATS_IS
    uint64_t due_ns;
    session_answer_cb *on_answer;
    session_stats_cb *on_stats;
    void *arg;
};

struct session {
    enum session_state state;
    unsigned busy;    // calls into the session that have not returned
    bool told;        // on_closed is not owed any more
    bool excused;     // its end is no fault of the messages that the agent has
    const char *doom; // why the session must end, found where it could not be ended
    char reason[SESSION_REASON_CAP];

    struct router *router;
    struct endpoint *endpoint;
    char tenant[NAME_CAP], name[NAME_CAP];
    struct session_config config;
    const struct session_cb *cb;
    void *cb_arg;

    int fd;
    struct event *readable, *writable; // armed by session_arm() alone
    struct event *wake;                // something happened outside: mail, receipts, doom
    struct event *again;               // whole frames are left for the next round
    struct event *timer;               // HELLO's deadline, then the watch over silence
    struct evbuffer *in, *out;
    size_t discard;      // bytes of an oversized message that are still to be thrown away
    size_t frame_max;    // longest payload that is taken in
    uint64_t last_in_ns; // when the agent last sent a byte
    bool pinged;         // it was asked since
    bool blocked;        // the socket took no more
    bool stalled;        // frames may be left in the input that could not be served
    uint32_t credit;
    uint32_t n_pending;
    LIST_HEAD(, pending) pending;
    uint32_t capabilities;
    uint32_t last_tag; // of questions
    uint32_t n_questions;
    LIST_HEAD(, question) questions;
    struct event *overdue; // the next question's time is over
    uint32_t n_deferred;
    TAILQ_HEAD(deferred_list, deferred) deferred; // the next due first
    struct event *due;                            // it is
    struct session_stats stats;
};

// session.c: the one way to end; format gives the reason. Everything stops at once, the rest when the call
// returns.
__attribute__((format(printf, 2, 3))) void session_fail(struct session *s, const char *format, ...);
// Around every call that comes from outside. leave: delivers, flushes, arms, or ends what failed.
void session_enter(struct session *s);
void session_leave(struct session *s);

// session_io.c
// Serves whole frames of the input, a round's worth; what is left has its turn after other sessions'.
void session_serve(struct session *s);
// Takes in what the socket has.
void session_fill(struct session *s);
// Delivers as credit and the output's cap allow, and writes.
void session_flush(struct session *s);
// The only place that arms the descriptor's events.
void session_arm(struct session *s);
void session_push(struct session *s, const struct agent_frame *f);

// session_frames.c
uint64_t session_realtime_ns(void);
// Whether a frame of that type may come in this state.
bool session_expects(const struct session *s, enum agent_frame_type type);
void session_handle(struct session *s, const struct agent_frame *f);
void session_push_gone(struct session *s, uint32_t tag, const char *address, enum agent_certainty certainty,
                       const char *reason);
// An announced payload is longer than frame_max and will be thrown away; id is what its envelope begins with.
void session_handle_oversized(struct session *s, const struct agent_header *h, const struct id *id);

// session_questions.c
// RESULT or STATS_IS: ends the question that it answers. One that nobody waits for any more is ignored.
void session_answered(struct session *s, const struct agent_frame *f);
void session_check_overdue(struct session *s);
// The agent is gone: nobody waits any longer.
void session_drop_questions(struct session *s);

// session_deferred.c
// DEFER: takes the message back, for later.
void session_defer(struct session *s, const struct agent_frame *f);
void session_release_due(struct session *s);
// Everything that was deferred may come again now.
void session_recall(struct session *s);
// The session is over: the mailbox has everything back.
void session_drop_deferred(struct session *s);
