// The request for a virtual machine. Called by run.c and start_linux.c.
#pragma once

#include "env/internal.h"

// Asks for the machine of a cell. 0: the answer comes to helper.c; negative: *ret_reason says why not.
int spawn_request(struct env *e, struct reason *ret_reason);

// What a guest of kind linux is made from. Descriptors and strings stay the caller's.
struct spawn_guest {
    const char *cmdline;
    bool has_initrd;
    size_t n_disks;
    struct vmctl_disk disks[VMCTL_DISKS_MAX];
    size_t n_fds;
    int fds[PRIVCTL_FDS_MAX]; // in the order of SPAWN
};
// 0 or -errno of the request.
int spawn_linux(struct env *e, const struct spawn_guest *guest);
// The environment's log, the caller's to close; negative: *ret_reason says why not.
int spawn_open_log(struct env *e, struct reason *ret_reason);
