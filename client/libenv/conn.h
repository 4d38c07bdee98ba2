// The connection to the agent, frame by frame. Private to libenv.
#pragma once

#include "env/env.h"
#include "proto/agent.h"

#define ERROR_CAP 256

struct queued_message; // message.c

struct queued_gone {
    struct queued_gone *next;
    struct env_gone gone;
};

// What a request waits for; answered by conn.c while it handles incoming frames.
struct pending {
    uint32_t tag; // RECEIPT, RESULT or CLOCK_IS with this tag; 0: nothing
    bool answered;
    enum receipt_code code;
    uint64_t realtime_ns;
    bool wants_reply; // a reply to this call
    struct id call;
    struct env_message *reply;
};

struct env {
    int fd;
    char error[ERROR_CAP];
    char tenant[NAME_CAP], name[NAME_CAP];
    struct env_identity identity;
    uint64_t clock_offset_ns; // the host's realtime minus our monotonic time
    uint32_t last_tag;
    unsigned window, credit; // credit: messages that may still come
    struct queued_message *first, *last;
    unsigned n_queued;
    struct queued_gone *gone; // at most one for each address, in order
    uint32_t agent_can;       // AGENT_CAN_*
    bool greeted, rejected, shutting_down;
    char shutdown_reason[AGENT_DETAIL_MAX + 1];
    struct pending pending;
    // bytes that were read: at most one incomplete frame stays here
    uint8_t *in;
    size_t in_len, in_cap;
};

// Sets env->error and returns rc.
__attribute__((format(printf, 3, 4))) int env_fail(struct env *env, int rc, const char *format, ...);
uint64_t conn_monotonic_ns(void);
// Monotonic time at which timeout_ms (negative: never) is over.
uint64_t conn_deadline(int timeout_ms);

// Connects to the socket at path and says HELLO; conn_wait() until env->greeted or env->rejected.
int conn_open(struct env *env, const char *path);
// Writes a frame, reading meanwhile what the agent has for us, so that neither waits for the other for ever.
int conn_write(struct env *env, const struct agent_frame *f);
// The same for a frame that is encoded already.
int conn_write_raw(struct env *env, uint8_t *data, size_t n);
// Handles what comes in until something was handled or the deadline is over: 0, -ETIMEDOUT, or the
// connection's end.
int conn_wait(struct env *env, uint64_t deadline_ns);
uint32_t conn_tag(struct env *env);

// message.c
// A copy of a received message that owns what it points to; NULL without memory.
struct env_message *message_new(const struct envelope *e);
void message_queue(struct env *env, struct env_message *m);
struct env_message *message_dequeue(struct env *env);
// Encodes a SEND frame. 0 with *ret_frame (the caller's to free) and *ret_len; -EINVAL with env_error();
// positive: the host would refuse it.
int message_encode(struct env *env, const struct env_outgoing *m, enum message_kind kind, const struct id *id,
                   uint64_t expires_ms, uint32_t tag, uint8_t **ret_frame, size_t *ret_len);
