// The stages of one message on every host that saw it. Called by the API; trace.c asks the other hosts, which
// costs nothing until somebody wants to know.
#pragma once

#include "remote/remote.h"
#include "route/trace.h"

struct remote_trace_stage {
    enum trace_stage stage;
    enum receipt_code code;                // of a refusal
    uint64_t ago_ns;                       // before now_us
    char tenant[NAME_CAP], name[NAME_CAP]; // "": none, or it was deleted
};

enum remote_trace_state {
    REMOTE_TRACE_HERE, // this host itself
    REMOTE_TRACE_ANSWERED,
    REMOTE_TRACE_LATE,       // it is there, and did not answer in time
    REMOTE_TRACE_SILENT,     // it has not been heard of for a while: not waited for
    REMOTE_TRACE_UNREADABLE, // it answered what this host does not understand
    REMOTE_TRACE_STATES
};
const char *remote_trace_state_name(enum remote_trace_state state); // "here", "answered", …

struct remote_trace_host {
    char name[NAME_CAP];
    enum remote_trace_state state;
    uint64_t now_us;   // its clock, since 1970
    int64_t ahead_us;  // of this host's clock,
    uint64_t error_us; // give or take this
    bool more;         // it remembers more stages than these
    size_t n_stages;
    struct remote_trace_stage *stages;
};

// A stage in the story of all hosts.
struct remote_trace_line {
    size_t host, stage; // indices
    bool across; // the line before is of another host: after_us is by two clocks, give or take error_us
    bool known;  // false for the first, and when clocks say that it was before the one before
    uint64_t after_us, error_us; // since the line before
};

struct remote_trace {
    struct id id;
    const struct remote_trace_host *hosts; // this one first
    size_t n_hosts;
    const struct remote_trace_line *lines;
    size_t n_lines;
    const char *why; // no other host was asked; NULL: all were
};

// Asks all hosts, waits a second at most for those that are known to be there, and calls cb, later; not after
// remote_stop(). arg and tag are handed on. -ENOTCONN: stopped; -EBUSY: too many at once; -ENOMEM.
typedef void remote_trace_cb(void *arg, uint64_t tag, const struct remote_trace *t);
int remote_trace(struct remote *r, const struct id *id, remote_trace_cb *cb, void *arg, uint64_t tag);
// The same of this host alone, within the call, where there is no broker.
int remote_trace_here(const struct router *router, const char *host, const struct id *id, remote_trace_cb *cb,
                      void *arg, uint64_t tag);
