// One virtual machine: memory, devices, log, loop, control, and what connects them. Called by main in the
// order of the functions here; runs on the I/O thread. What cells and Linux guests do not share is behind
// struct machine_kind (machine_kind.h).
#pragma once

#include "common/loop.h"
#include "config.h"
#include "control.h"
#include "guest_log.h"
#include "machine_cell.h"
#include "machine_linux.h"
#include "outcome.h"
#include "residency.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/mmio.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

#define MACHINE_DEVICES   4u                                       // of every machine
#define MACHINE_SLOTS_MAX (MACHINE_DEVICES + 1u + VMCTL_DISKS_MAX) // a balloon, disks

struct console_attach;
struct machine;
struct machine_kind;

enum machine_pause { MACHINE_RUNS, MACHINE_PAUSES, MACHINE_PAUSED };

// Where a device is plugged in.
struct machine_slot {
    struct machine *machine;
    struct virtio_device *dev;
    uint32_t gsi; // of Linux guests: what it interrupts them by
};

struct machine {
    const struct config *config;
    struct control *control;
    const struct machine_kind *kind;
    struct guest_memory mem;
    struct guest_log log;
    struct loop *loop;
    struct loop_source *flush_timer; // log header and LOG hint, once per round and not too often
    struct loop_source *wake_source;
    uint64_t flushed_ns;
    int wake_fd; // vCPU threads write it
    pthread_t io_thread;
    struct virtio_console *console;
    struct console_attach *attach; // NULL: nobody has asked for the live console yet
    struct virtio_vsock *vsock;
    struct virtio_net *net;
    struct virtio_rng *rng;
    struct machine_slot slots[MACHINE_SLOTS_MAX]; // the first MACHINE_DEVICES in the order above
    struct virtio_mmio mmio[MACHINE_SLOTS_MAX];
    size_t n_slots;
    enum machine_pause pause;
    struct residency residency;
    struct outcome outcome;
    struct machine_cell cell;
    struct machine_linux guest_linux;
};

// Guest memory, event loop, log, VM. On failure *ret_cause says whose fault it is. The objects given outlive
// the machine. machine_done() is due whatever the result.
int machine_init(struct machine *m, const struct config *config, struct control *control,
                 enum vmctl_cause *ret_cause, struct err *err);
// Devices and their doorbells; what the guest is made of; registers.
int machine_load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err);
// Runs the guest until it ends, is told to, or nobody is there any more. 0 and m->outcome, or -errno.
int machine_run(struct machine *m, struct err *err);
void machine_done(struct machine *m);
