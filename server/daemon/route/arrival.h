// A stream that a guest has just opened, until its first frame says what it is: HELLO, the agent's own
// connection (session.h), or ATTACH, a session's stream that the agent was asked for. Called by env/; one
// loop's thread.
#pragma once

#include <event2/event.h>

#include "proto/agent.h"

// Of a first frame, read before its kind is known and handed on with a HELLO.
#define ARRIVAL_HEAD_MAX (AGENT_HEADER_LEN + ID_LEN)

struct arrival;

// One of them is called, once; the arrival is gone then and fd is the callee's.
struct arrival_cb {
    // Not ATTACH. The bytes were read from fd already, and belong to whoever reads on.
    void (*on_agent)(void *arg, struct arrival *self, int fd, const void *untrusted, size_t len);
    void (*on_attach)(void *arg, struct arrival *self, int fd, const struct id *token);
    // Closed by the guest, silent for too long, or broken.
    void (*on_closed)(void *arg, struct arrival *self);
};

// Takes over fd on success. NULL: no memory, or what fcntl says is in errno.
struct arrival *arrival_new(struct event_base *base, int fd, uint32_t timeout_ms, const struct arrival_cb *cb,
                            void *arg);
// Closes it without a callback. Accepts NULL.
void arrival_free(struct arrival *a);
