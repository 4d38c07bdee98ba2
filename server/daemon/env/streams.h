// Streams to a running guest, for sessions: exec and copy with its agent, and the console. Called by api/.
// The agent is asked for a stream under a random token that serves once, for that environment only, and for
// STREAMS_WAIT_MS; envvm is asked for the console. One loop's thread.
#pragma once

#include "env/manager.h"
#include "env/refusal.h"
#include "proto/agent.h"

#define STREAMS_WAIT_MS 10000u

struct stream_wait;

// fd is the callee's, a connected stream socket; or it is -1, and why says why. Called once, not within the
// call that asked, never after streams_cancel().
typedef void stream_cb(void *arg, int fd, const struct refusal *why);

// Both: 0 with *ret, valid until the callback; or -errno with *ret_why filled.
int streams_open(struct manager *m, const char *tenant, const char *name, enum agent_session_kind kind,
                 stream_cb *cb, void *arg, struct stream_wait **ret, struct refusal *ret_why);
int streams_open_console(struct manager *m, const char *tenant, const char *name, stream_cb *cb, void *arg,
                         struct stream_wait **ret, struct refusal *ret_why);
void streams_cancel(struct stream_wait *w); // accepts NULL
// The console's size. -ENOTCONN: the environment does not run.
int streams_resize_console(struct manager *m, const char *tenant, const char *name, uint16_t columns,
                           uint16_t rows);
