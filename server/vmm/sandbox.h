// envvm's inside half of its jail: what it does to itself before it looks at anything hostile. (envpriv does
// the outside half: uid, namespaces, empty root, cgroup.) Called by main.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/vmctl.h"

enum sandbox_phase {
    SANDBOX_SETUP = 1, // from CONFIG to the first instruction of the guest
    SANDBOX_RUN = 2,   // while the guest runs
};

// Closes every descriptor that is neither standard nor one of the n of keep, drops all capabilities, sets
// no_new_privs and lowers resource limits. max_log_bytes is the size of the only file that a cell's is
// written. 0 or -errno.
int sandbox_drop(const int *keep, unsigned n, enum vmctl_kind kind, uint64_t max_log_bytes, struct err *err);
// Allows only the system calls of this phase and kind from now on; any other kills the process with SIGSYS.
// Filters add up: phases only ever narrow. Before threads are started. 0 or -errno.
int sandbox_enter(enum sandbox_phase phase, enum vmctl_kind kind, struct err *err);
