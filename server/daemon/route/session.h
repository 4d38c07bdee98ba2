// The host's side of the agent protocol (proto/agent.h) on one stream socket, the vsock stream that envvm
// handed over. The environment life cycle makes one when the stream opens and hears of readiness and of the
// end; messages go between the stream and the router's endpoint. The agent is not trusted: what it sends is
// its environment's, whatever it says, and anything malformed or too much ends the session with a reason. One
// loop's thread; nothing blocks.
#pragma once

#include "common/err.h"
#include "proto/agent.h"
#include "route/router.h"

struct session;

struct session_config {
    uint32_t hello_timeout_ms;
    uint32_t ping_interval_ms; // silence after which the agent is asked whether it lives
    uint32_t ping_timeout_ms;  // silence after that until the session ends
    uint32_t out_max_bytes;    // queued output above which nothing is read and nothing delivered
    uint32_t frames_per_round; // frames served before other sessions have their turn
    uint32_t receipts_max;     // messages whose receipt is still owed; reading stops above it
};

void session_config_default(struct session_config *ret);

// Never called within a session_*() call of the same session.
struct session_cb {
    // HELLO was answered: the environment is ready. software is printable text of at most AGENT_SOFTWARE_MAX
    // bytes.
    void (*on_ready)(void *arg, const char *software, uint32_t capabilities);
    // The session is over; reason is a sentence for people, of printable text. It frees itself after this
    // returns; the pointer is dead. Not called after session_close().
    void (*on_closed)(void *arg, const char *reason);
};

// Takes over fd on success (on failure it stays the caller's), a connected SOCK_STREAM socket; tenant and
// name are those of a defined environment. config NULL: the defaults. 0, -ENOENT, -EBUSY (the environment has
// a session: close that first), -ENOMEM, or what fcntl says.
int session_new(struct router *router, struct event_base *base, const char *tenant, const char *name, int fd,
                const struct session_config *config, const struct session_cb *cb, void *arg,
                struct session **ret, struct err *err);
// Asks the agent to finish within grace_ms. -ENOTCONN before HELLO: the caller then does without.
int session_shutdown(struct session *s, uint32_t grace_ms, const char *reason);
// Ends it now, without a callback. Safe within the session's own callbacks.
void session_close(struct session *s);
// The same, because the guest or its connection is gone: a failed attempt at what the guest had in hand
// (mailbox.h), unless it was excused.
void session_lost(struct session *s);
// The guest is to end, by no fault of its messages: an operator wishes it.
void session_excuse(struct session *s);

// The first bytes of its stream, which were read before to see what the stream is (arrival.h): right after
// session_new(). 0 or -ENOMEM.
int session_begin_with(struct session *s, const void *untrusted, size_t len);

// --- what an agent is asked, one that said in HELLO that it can (AGENT_CAP_*) ---

// What the agent's HELLO said; 0 before.
uint32_t session_capabilities(const struct session *s);
// For how long the agent has sent nothing, not even an answer to PING: it is asked after ping_interval_ms.
uint64_t session_silent_ms(const struct session *s);

// The answer, or why there is none: 0, -ENOTCONN (the session ended, session_close() included), -ETIMEDOUT,
// or -EREMOTEIO with the agent's words in detail ("" else). Called once, never within the call that asked;
// must not close the session.
typedef void session_answer_cb(void *arg, int rc, const char *detail);
// The guest's view of itself: valid during the callback, NULL unless rc is 0.
typedef void session_stats_cb(void *arg, int rc, const struct agent_stats *stats);

struct session_network {
    uint32_t ipv4, gateway; // host order; 0: none
    uint8_t prefix;
    uint16_t mtu; // 0: as it is
    uint8_t mac[6];
};

// These return 0, -ENOTCONN before HELLO, -EOPNOTSUPP without the capability, -EBUSY with too many questions
// unanswered, or -ENOMEM; then no callback comes.
int session_request_stats(struct session *s, uint32_t timeout_ms, session_stats_cb *cb, void *arg);
// The host name is the environment's.
int session_configure(struct session *s, const struct session_network *network, session_answer_cb *cb,
                      void *arg);
// Asks the agent to connect another stream, which begins with token.
int session_open_stream(struct session *s, const struct id *token, enum agent_session_kind kind,
                        uint32_t timeout_ms, session_answer_cb *cb, void *arg);
// The virtual machine stood still and goes on: the agent sets its clock. Nothing is answered.
int session_resumed(struct session *s);

struct session_stats {
    uint64_t frames_in, frames_out;
    uint64_t bytes_in, bytes_out;
    size_t out_queued_bytes;
    uint32_t credit; // DELIVER frames that the agent will still take
};

void session_get_stats(const struct session *s, struct session_stats *ret);
