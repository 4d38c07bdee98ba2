// Owns the records of the VMs. Called by spawn.c, requests.c and reap.c; makes no system call but close.
#include "vms.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

int vms_init(struct vms *v)
{
    *v = (struct vms){.slots = calloc(VMS_MAX, sizeof(struct vm))};
    return v->slots ? 0 : -ENOMEM;
}

void vms_done(struct vms *v)
{
    for (unsigned i = 0; i < v->n_high; i++)
        if (v->slots[i].used)
            cleanup_close(&v->slots[i].control);
    free(v->slots);
    *v = (struct vms){0};
}

unsigned vms_slot(const struct vms *v, const struct vm *vm)
{
    return (unsigned)(vm - v->slots);
}

struct vm *vms_reserve(struct vms *v)
{
    unsigned i = 0;
    while (i < v->n_high && v->slots[i].used)
        i++;
    if (i == VMS_MAX)
        return NULL;
    if (i == v->n_high)
        v->n_high++;
    v->slots[i] = (struct vm){.used = true, .control = -1};
    return &v->slots[i];
}

void vms_release(struct vms *v, struct vm *vm)
{
    vms_set_told(v, vm);
    cleanup_close(&vm->control);
    vm->used = false;
    while (v->n_high > 0 && !v->slots[v->n_high - 1].used)
        v->n_high--;
}

struct vm *vms_find(const struct vms *v, const struct id *id)
{
    for (unsigned i = 0; i < v->n_high; i++)
        if (v->slots[i].used && id_equals(&v->slots[i].id, id))
            return &v->slots[i];
    return NULL;
}

static bool running(const struct vm *vm)
{
    return vm->used && !vm->exited;
}

struct vm *vms_find_running(const struct vms *v, pid_t pid)
{
    for (unsigned i = 0; i < v->n_high; i++)
        if (running(&v->slots[i]) && v->slots[i].pid == pid)
            return &v->slots[i];
    return NULL;
}

void vms_set_exited(struct vms *v, struct vm *vm, int wait_status)
{
    vm->exited = true;
    vm->wait_status = wait_status;
    v->n_untold++;
}

void vms_set_told(struct vms *v, struct vm *vm)
{
    if (vm->exited && !vm->exit_told)
        v->n_untold--;
    vm->exit_told = vm->exited;
}

unsigned vms_n_running(const struct vms *v)
{
    unsigned n = 0;
    for (unsigned i = 0; i < v->n_high; i++)
        n += running(&v->slots[i]);
    return n;
}

unsigned vms_n_on_net(const struct vms *v, uint16_t net)
{
    unsigned n = 0;
    for (unsigned i = 0; i < v->n_high; i++)
        n += running(&v->slots[i]) && v->slots[i].net == net;
    return n;
}

bool vms_address_taken(const struct vms *v, uint16_t net, const struct guest_address *guest)
{
    for (unsigned i = 0; i < v->n_high; i++) {
        const struct vm *vm = &v->slots[i];
        if (running(vm) && vm->net == net &&
            (vm->guest.ipv4 == guest->ipv4 || memcmp(vm->guest.mac, guest->mac, sizeof guest->mac) == 0))
            return true;
    }
    return false;
}
