// Records of the VMs: from SPAWN to FORGET, in slots. A slot is also the VM's user id and the name of its
// tap, so it is not given away before FORGET. Called by spawn.c, requests.c and reap.c; starts and ends
// nothing.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "net_link.h"
#include "proto/name.h"

#define VMS_MAX 2048

struct vm {
    bool used;
    struct id id;
    char tenant[NAME_CAP];
    char name[NAME_CAP];
    pid_t pid; // meaningful until exited
    uint32_t uid;
    uint16_t net;
    struct guest_address guest;
    int control; // envd's end of the control socket; kept for the next envd, and for what an ended VM said
                 // last
    bool exited;
    int wait_status;
    bool exit_told; // an EXITED event went out
};

struct vms {
    struct vm *slots;
    unsigned n_high;   // no slot from here on is used
    unsigned n_untold; // exits that no envd was told of
};

int vms_init(struct vms *v);
void vms_done(struct vms *v);
unsigned vms_slot(const struct vms *v, const struct vm *vm);
// A free slot, marked used and otherwise empty (control is -1), or NULL when all are taken.
struct vm *vms_reserve(struct vms *v);
// Closes the control socket and frees the slot.
void vms_release(struct vms *v, struct vm *vm);
// NULL when there is none.
struct vm *vms_find(const struct vms *v, const struct id *id);
struct vm *vms_find_running(const struct vms *v, pid_t pid);
void vms_set_exited(struct vms *v, struct vm *vm, int wait_status);
void vms_set_told(struct vms *v, struct vm *vm);
// Counts of VMs that have not exited: all, and those on a network.
unsigned vms_n_running(const struct vms *v);
unsigned vms_n_on_net(const struct vms *v, uint16_t net);
// True when a running VM on the network has the MAC or the address.
bool vms_address_taken(const struct vms *v, uint16_t net, const struct guest_address *guest);
