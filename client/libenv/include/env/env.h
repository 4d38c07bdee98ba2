// libenv: for programs inside an environment. A blocking connection to the agent: send, call, receive, reply,
// serve.
//
// Return values: 0 is success; positive is a refusal by the host (enum receipt_code, see
// receipt_code_name()); negative is -errno. env_error() has a sentence for people. One connection is for one
// thread at a time; open one per thread.
//
//     struct env *env;
//     if (env_open(&env) < 0)
//         errx(1, "%s", env_error(NULL));
//     struct env_outgoing hello = {.to = "db", .subject = "greeting", .body = "hello", .body_len = 5};
//     int rc = env_send(env, &hello, NULL);
//
// System calls used: socket, connect, sendmsg, read, poll, clock_gettime, getrandom, close, and malloc's.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/envelope.h"
#include "proto/receipt.h"

struct env; // opaque

// Who this environment is. The strings live as long as the connection.
struct env_identity {
    const char *tenant;
    const char *name;
    uint32_t body_max; // largest body, in bytes
};

struct env_header {
    const char *name;
    const char *value;
};

// A message to send. Zero is a good value for every field but `to`. Everything stays the caller's.
struct env_outgoing {
    const char *to;           // "name", "tenant/name", ":service", "tenant/:service"
    const char *subject;      // NULL: "message"
    const char *content_type; // NULL: none
    const void *body;
    size_t body_len;
    bool event;          // to every server of a service (env_send only)
    uint8_t priority;    // 0..9
    uint64_t expires_ms; // realtime since 1970, 0: never (env_call sets its own)
    struct id id;        // zero: made here. Repeat an id to send again after an unknown outcome
    struct id correlation;
    const struct env_header *headers; // at most ENVELOPE_HEADERS_MAX
    size_t n_headers;
};

// A received message. Owned by whoever received it; env_message_free() frees it and everything it points to.
struct env_message {
    enum message_kind kind;
    uint8_t priority;
    struct id id;
    struct id correlation;
    uint64_t expires_ms;
    const char *from; // "tenant/name", set by the host
    const char *to;
    const char *subject;
    const char *content_type;
    struct env_header headers[ENVELOPE_HEADERS_MAX];
    size_t n_headers;
    const void *body; // followed by a NUL that body_len does not count
    size_t body_len;
};

// Connects to $ENV_AGENT_SOCKET or AGENT_SOCKET_PATH and waits until the agent has said who we are. -ENOENT
// and -ECONNREFUSED: no agent here; -EPROTO: it speaks another version, or not this protocol at all;
// -ETIMEDOUT: it has had no link to its host for a minute.
int env_open(struct env **ret_env);
// Closes; messages that were not acknowledged are delivered again, to whoever receives next. env may be NULL.
void env_close(struct env *env);
// What went wrong last, in one sentence; with NULL: in this thread's last env_open(). Never NULL.
const char *env_error(const struct env *env);
const struct env_identity *env_identity(const struct env *env);

// Sends and waits for the receipt, which is unknown-outcome when none comes within a minute. 0: accepted. The
// message's id goes to *ret_id (may be NULL) whatever happens.
int env_send(struct env *env, const struct env_outgoing *message, struct id *ret_id);
// Sends and waits for the reply until timeout_ms (1 or more) has passed, which is also the message's
// deadline. 0: the reply is in *ret_reply, needs no env_ack(), and is the caller's to free. A refusal may come
// from the receiver's host, later than from one's own. -ETIMEDOUT: nothing came in time.
int env_call(struct env *env, const struct env_outgoing *message, int timeout_ms,
             struct env_message **ret_reply);
// Waits for the next message, at most timeout_ms (negative: for ever, 0: only looks). 0: it is in
// *ret_message and the caller's to free, after env_ack() or env_release(). -ETIMEDOUT. -ESHUTDOWN: the host
// wants the environment to end and nothing is left to receive; env_error() says why.
int env_recv(struct env *env, int timeout_ms, struct env_message **ret_message);
// How many messages may be on their way to us before env_recv() asks for them: 1 (the default) to 256.
void env_set_window(struct env *env, unsigned n_messages);
// Processed: never deliver it again.
int env_ack(struct env *env, const struct env_message *message);
// Not processed: deliver it again, to this or another program.
int env_release(struct env *env, const struct env_message *message);
// Answers a call. Waits for the receipt like env_send(); -EINVAL when `call` is not one.
int env_reply(struct env *env, const struct env_message *call, const struct env_outgoing *reply);
void env_message_free(struct env_message *message);

// From now on messages to ":service" of this tenant come here too. Undone by env_close().
int env_register(struct env *env, const char *service);
int env_unregister(struct env *env, const char *service);
// The host's clock: nanoseconds since 1970.
int env_clock(struct env *env, uint64_t *ret_realtime_ns);
// The same in milliseconds and without asking again: for expires_ms.
uint64_t env_now_ms(const struct env *env);

// ---- monitors ----

// A monitored environment has gone.
struct env_gone {
    char address[ADDRESS_CAP]; // as env_monitor() got it
    bool certain;              // it ended; false: its host cannot be reached, or does not tell any more
    char reason[256];          // for people
};

// From now on env_wait_gone() tells each time that the environment goes away, and at once if it is away. The
// policy must let us send it messages with subject "monitor". Undone by env_close(). -EOPNOTSUPP: this host
// is too old.
int env_monitor(struct env *env, const char *address);
int env_unmonitor(struct env *env, const char *address);
// Waits until a monitored environment has gone, at most timeout_ms (negative: for ever, 0: only looks).
// Messages that come meanwhile wait for env_recv(). 0, -ETIMEDOUT, or -ESHUTDOWN like env_recv(). What was
// not asked for in time is told once: the last word about each environment.
int env_wait_gone(struct env *env, int timeout_ms, struct env_gone *ret);

// For poll(): readable means that env_recv(env, 0, …) or env_wait_gone(env, 0, …) has something to look at.
// Call that once before the first poll, and after each until it returns -ETIMEDOUT: messages may wait inside
// the library.
int env_fd(const struct env *env);
