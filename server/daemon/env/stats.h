// What environments use, as their monitors and agents say when they are asked. Called by api/. One loop's
// thread.
#pragma once

#include "env/manager.h"
#include "proto/agent.h"
#include "proto/vmctl.h"

struct env_stats {
    enum env_state state;
    uint64_t taken_ms; // when the monitor answered last, ms since 1970; 0: it has not, and vm is empty
    struct vmctl_stats vm;
    bool has_guest; // its agent says what it sees
    struct agent_stats guest;
    uint64_t memory_mib;
    uint32_t vcpus;
    uint64_t disk_used_bytes; // of the host's disk
    struct router_stats messages;
};

struct stats_round;
typedef void stats_cb(void *arg);

// Asks the environments of tenant (NULL: of all) of that name (NULL: all of its) that run, and calls cb once,
// not within this call, when they have answered or a short time has passed. NULL: no memory.
struct stats_round *stats_refresh(struct manager *m, const char *tenant, const char *name, stats_cb *cb,
                                  void *arg);
void stats_cancel(struct stats_round *r); // cb does not run any more. Accepts NULL
// As last answered. False: there is no such environment.
bool stats_get(const struct manager *m, const char *tenant, const char *name, struct env_stats *ret);
// The sums over all runs of all environments since envd's start (memory: over those that run).
void stats_totals(const struct manager *m, struct vmctl_stats *ret);
