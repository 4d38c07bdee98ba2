// Control groups: envd-<instance>/<vm id> below the root of the hierarchy, in version 2 where it has the
// controllers we need, else in version 1. Nothing but groups of our own is ever made, changed or removed.
// Called by spawn.c and cleanup.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "names.h"

#define CGROUP_HIERARCHIES_MAX 3 // version 1: cpu, memory, pids, each mounted on its own; version 2 has one

enum cgroup_version { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };

struct cgroups {
    enum cgroup_version version;
    unsigned n;
    int base[CGROUP_HIERARCHIES_MAX];      // envd-<instance>
    int hierarchy[CGROUP_HIERARCHIES_MAX]; // its parent
    char name[16];                         // "envd-<instance>"
};

struct cgroup_limits {
    uint64_t memory_max_bytes;
    uint32_t cpu_weight;  // 1..10000, 100 is the default
    uint32_t cpu_percent; // of one CPU; 0: no quota
    uint32_t pids_max;
};

// A way into a group that was made. Version 2: entry[0] is the folder, for CLONE_INTO_CGROUP. Version 1: the
// `tasks` files; a new process writes "0" to each (that moves a single thread and needs no grace period,
// unlike cgroup.procs).
struct cgroup_entry {
    enum cgroup_version version;
    unsigned n;
    int fd[CGROUP_HIERARCHIES_MAX];
};

// Finds the hierarchies by the text of /proc/self/mountinfo, makes the instance's groups and locks them.
// Where there are no usable ones, version is CGROUP_NONE, err says why, and the result is still 0:
// environments then have no such limits. -EBUSY: another envpriv uses this instance.
int cgroups_open(struct cgroups *cg, const char *mountinfo, const struct instance *i, struct err *err);
// Accepts the zeroed.
void cgroups_close(struct cgroups *cg);
// Kills what is left in the instance's groups below the base and removes them; the base too when with_base.
int cgroups_clean(struct cgroups *cg, bool with_base, struct err *err);
const char *cgroup_version_name(enum cgroup_version v);

// Makes the group vm with its limits. Undone on failure. The entry is the caller's to close.
int cgroup_make(struct cgroups *cg, const char *vm, const struct cgroup_limits *limits,
                struct cgroup_entry *ret, struct err *err);
void cgroup_entry_close(struct cgroup_entry *e);
// Removes the group; nobody may be in it any more. Missing is no error.
int cgroup_remove(struct cgroups *cg, const char *vm, struct err *err);

// Pure, for tests: weight 1..10000 of version 2 as cpu.shares of version 1 (100 is 1024).
uint32_t cgroup_shares_of_weight(uint32_t weight);
// Pure, for tests: the mount point of a hierarchy. controller: of version 1, or NULL for version 2. False:
// not mounted.
bool cgroup_find_mount(const char *mountinfo, const char *controller, char *ret, unsigned long cap);
