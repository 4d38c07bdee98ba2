// One cell: memory, virtual machine, devices, vCPU, log, and what connects them. Called by main in the order
// of the functions here; runs on the I/O thread.
#pragma once

#include "clock.h"
#include "config.h"
#include "control.h"
#include "guest_log.h"
#include "kvm.h"
#include "common/loop.h"
#include "outcome.h"
#include "vcpu.h"
#include "virtio/console.h"
#include "virtio/mmio.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

#define MACHINE_DEVICES 4u

struct machine {
    const struct config *config;
    struct control *control;
    struct guest_memory mem;
    struct kvm_vm vm;
    struct clock_page clock;
    struct cell_kernel_header kernel;
    struct guest_log log;
    struct loop *loop;
    struct loop_source *tick_timer;  // clock, while the guest runs
    struct loop_source *nudge_timer; // upcall, while a notification is unseen
    struct loop_source *flush_timer; // log header and LOG hint, once per round and not too often
    struct loop_source *wake_source;
    uint64_t flushed_ns;
    bool nudging;
    int wake_fd;
    pthread_t io_thread;
    struct virtio_console *console;
    struct virtio_vsock *vsock;
    struct virtio_net *net;
    struct virtio_rng *rng;
    struct virtio_mmio mmio[MACHINE_DEVICES]; // in the order of cell_boot.devices
    struct vcpu vcpu;
    struct outcome outcome;
};

// Guest memory, VM and vCPU, event loop, log. On failure *ret_cause says whose fault it is. The objects given
// outlive the machine. machine_done() is due whatever the result.
int machine_init(struct machine *m, const struct config *config, struct control *control,
                 enum vmctl_cause *ret_cause, struct err *err);
// Kernel, program, archive, boot tables; devices and their doorbells; registers.
int machine_load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err);
// Runs the guest until it ends, is told to, or nobody is there any more. 0 and m->outcome, or -errno.
int machine_run(struct machine *m, struct err *err);
void machine_done(struct machine *m);
