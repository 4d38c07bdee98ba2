// What envpriv works with; made by main.c, handed to the handlers of requests. One thread.
#pragma once

#include "cgroup.h"
#include "jail.h"
#include "kvm.h"
#include "net_link.h"
#include "proto/privctl.h"
#include "vms.h"

#define KVM_PATH "/dev/kvm"

struct net {
    bool up;
    struct subnet subnet;
};

struct priv {
    struct instance instance;
    uint32_t uid_base; // VM in slot n runs as uid_base + n
    struct kvm kvm;
    struct cgroups cgroups;
    struct jail jail;
    struct netlink rt; // links, addresses, routes
    struct netlink nf; // packet filters
    struct net nets[PRIVCTL_NET_MAX];
    struct vms vms;
};

// nets.c: a tenant's bridge. Up twice with the same subnet is no error; with another it is. Down is refused
// (-EBUSY) while a VM is on it, and no error when it is not up.
int net_up(struct priv *p, uint16_t net, struct subnet s, struct err *err);
int net_down(struct priv *p, uint16_t net, struct err *err);

// spawn.c: checks the request and its descriptors (which: privctl.h; they stay the caller's),
// then makes cgroup, process, tap and filter, and configures envvm. Undone on failure.
int spawn_vm(struct priv *p, const struct privctl_spawn *request, const int *fds, size_t n_fds,
             struct vm **ret, struct err *err);
// Removes what an ended VM leaves in the kernel; goes on after a failure and returns the first.
int spawn_undo(struct priv *p, const struct vm *vm, struct err *err);
// The two checks, for tests: nothing but reads.
int spawn_check(const struct priv *p, const struct privctl_spawn *request, struct err *err);
// *ret_file_bytes: the size of the largest file that envvm may write to; none of them ever grows.
int spawn_check_fds(enum privctl_kind kind, const int *fds, size_t n_fds, uint64_t *ret_file_bytes,
                    struct err *err);

// reap.c: takes note of every VM that ended, and cleans up after it. Logs each.
void reap_ended(struct priv *p);

// cleanup.c: what a predecessor of this instance left when it was killed; and, at the end, everything.
int cleanup_leftovers(struct priv *p, struct err *err);
int cleanup_everything(struct priv *p, struct err *err);
