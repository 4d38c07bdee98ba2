// What hosts tell each other about a message's stages, as bytes; and the stages of several hosts as one
// story. Pure: no broker, no router, no clock of its own. Called by trace.c.
//
// An answer's body, little endian:
//   u8 version 1, u64 the host's clock (us since 1970), u8 more (it remembers more stages than these),
//   u16 n, n times: u8 stage, u8 code, u64 ns ago by a clock that only goes forward, str tenant, str name
#pragma once

#include "remote/far_trace.h"

#define TRACE_ANSWER_STAGES 256  // of one host
#define TRACE_STORY_STAGES  8192 // of all
#define TRACE_ANSWER_CAP    (16 + TRACE_ANSWER_STAGES * (10 + 2 * (2 + NAME_CAP)))

// The stages that the router remembers of a message, at most TRACE_ANSWER_STAGES, into h->stages (the
// caller's to free), with this host's clock. -ENOMEM.
int trace_collect(const struct router *router, const struct id *id, uint64_t realtime_us,
                  struct remote_trace_host *h);

// Bytes written.
size_t trace_write(const struct remote_trace_host *h, uint8_t out[TRACE_ANSWER_CAP]);
// Fills now_us, more, stages (the caller's to free) and n_stages. False: these are no such bytes, or there is
// no memory; then *ret is as it was.
bool trace_read(const void *untrusted, size_t len, struct remote_trace_host *ret);

// What this host's clock says of another's, which it read between asked_us and got_us of ours.
void trace_compare_clocks(struct remote_trace_host *h, uint64_t asked_us, uint64_t got_us);

// All stages in the order in which they happened, as far as clocks tell: a host's own order always holds, and
// nothing arrives before something was sent. Room for all of them; how many.
size_t trace_merge(const struct remote_trace_host *hosts, size_t n_hosts, struct remote_trace_line *lines);
