// The jail that every envvm runs in, from its first instruction: own uid and gid without rights, empty
// read-only root, own mount, pid, ipc, net and uts namespaces, no capability, no_new_privs, resource limits,
// two descriptors' worth of world
// (/dev/null on 0..2, the control socket on 3), dead when envpriv dies. envvm adds its system-call filter
// itself. Called by spawn.c; knows no requests.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroup.h"
#include "common/err.h"

// Making a network namespace takes longer than all the rest of entering the jail, so a few lie ready; each is
// used once.
#define JAIL_SPARE_NETS 4

struct jail {
    int envvm;      // the executable
    int null;       // /dev/null
    int parent;     // this process, for its children to see whether it still lives
    int empty_root; // a mount namespace that holds nothing but an empty read-only root
    int host_net;   // this process's network namespace
    int spare_nets[JAIL_SPARE_NETS];
    unsigned n_spare_nets;
};

struct jail_request {
    int control;                      // becomes descriptor 3
    const struct cgroup_entry *entry; // the group to be in
    uint32_t uid;                     // also the gid
    uint64_t file_bytes_max;          // RLIMIT_FSIZE
    uint32_t pids_max;                // RLIMIT_NPROC
    const char *host_name;
    const char *title; // argv[1], for ps: "tenant/name"
};

// Everything closed, so that jail_close() accepts it.
void jail_init(struct jail *j);
// Opens the executable, which must be a static one that everybody may execute, and makes the empty root.
int jail_open(struct jail *j, const char *envvm_path, struct err *err);
void jail_close(struct jail *j);
// Starts envvm. Returns at once; a failure in the child is reported as a STATE datagram (vmctl.h) on the
// control socket, and the child exits with JAIL_EXIT_STATUS.
int jail_spawn(struct jail *j, const struct jail_request *r, pid_t *ret_pid, struct err *err);

// True while there are fewer spare network namespaces than there could be.
bool jail_wants_spare(const struct jail *j);
// Makes one, to be called when there is nothing else to do. On failure there just is none.
void jail_make_spare(struct jail *j);

#define JAIL_EXIT_STATUS 121
