// Monitors: environments that want to hear when another goes away. endpoint.c adds and removes them, the
// router's other files tell what happened; monitors.c knows nothing of sessions. A monitor outlives its
// agent's connection, so that what happened meanwhile is told when the agent asks again; it ends with the run
// of the environment that asked.
#pragma once

#include <sys/queue.h>

#include "common/table.h"
#include "route/router.h"

#define MONITORS_MAX        64 // of one environment
#define MONITORS_SUBJECT    "monitor"
#define MONITORS_REASON_CAP (AGENT_REASON_MAX + 1)

struct environment;
struct endpoint;

struct monitors {
    struct table watched;     // environments that somebody monitors, by their names
    struct table watchers;    // environments that monitor, by their serials
    LIST_HEAD(, watched) far; // watched ones that are not of this host
};

int monitors_init(struct monitors *m); // 0 or -ENOMEM
void monitors_done(struct router *r);

// What is known when a monitor begins, or begins again.
struct monitors_answer {
    bool away; // it does not run, or has ended since the same monitor was asked for before. Of another host's
               // environments that is told later
    enum agent_certainty certainty;
    char reason[MONITORS_REASON_CAP];
    struct id refusal; // by which an operator can have a refusal explained; zero: there is none
};

// The agent asks; address as it wrote it, valid and of an environment. ACCEPTED, or what it may be told; *ret
// is filled either way.
enum receipt_code monitors_add(struct router *r, struct environment *watcher, const char *address,
                               struct monitors_answer *ret);
// ACCEPTED, or NO_SUCH_ENVIRONMENT: it was not monitored.
enum receipt_code monitors_remove(struct router *r, struct environment *watcher, const char *address);
// The environment's endpoint is gone: nothing can be told until it asks again.
void monitors_detached(struct router *r, struct environment *watcher);
// The environment is about to be freed.
void monitors_environment_removed(struct router *r, struct environment *e);
