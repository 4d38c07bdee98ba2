// A cell's vCPU: runs the guest, serves its exits, lets it idle, and interrupts a program that computes too
// long. Started by machine; the I/O thread talks to it through vcpu_notify(), vcpu_nudge() and vcpu_stop().
// Everything that the guest writes is untrusted: of the shared page only in_kernel, pending, wake_ns, fsbase
// and panic_text are read.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "clock.h"
#include "kvm_cell.h"
#include "outcome.h"
#include "vcpu_thread.h"

struct virtio_mmio;

struct vcpu_config {
    const struct kvm_cell *kvm;
    const struct guest_memory *mem;
    struct cell_kernel_header kernel;
    struct clock_page *clock;
    struct virtio_mmio *mmio; // one per page from CELL_MMIO_GPA on
    size_t n_mmio;
    int wake_fd; // eventfd: written when the outcome is there, the guest is held, or a pause of the clock
                 // ends
};

struct vcpu {
    struct vcpu_config config;
    struct cell_shared *shared;
    struct kvm_run *run;
    struct vcpu_thread thread;
    atomic_uint idle;          // asleep in idle, or about to be
    atomic_uint wake;          // futex: why it must not sleep on
    atomic_bool clock_stopped; // the I/O thread refreshes the clock no more, as the vCPU idles
    atomic_bool ended;         // outcome is there; it is constant from then on
    uint64_t spin_ns;          // how long idle looks for work before it sleeps
    struct outcome outcome;
};

// Prepares; nothing runs yet. What config points to outlives the vCPU. 0 or -errno.
int vcpu_init(struct vcpu *vcpu, const struct vcpu_config *config, struct err *err);
// Starts the thread, and with it the guest. 0 or -errno.
int vcpu_start(struct vcpu *vcpu, struct err *err);
// Ends the thread, wherever the guest is, and waits for it.
void vcpu_stop(struct vcpu *vcpu);
// The guest stands still until it is released; wake_fd is written when it does, and vcpu_is_held() then says
// so. I/O thread.
void vcpu_hold(struct vcpu *vcpu);
void vcpu_release(struct vcpu *vcpu);
bool vcpu_is_held(const struct vcpu *vcpu);

// A device gave the guest something. Any thread. True when the guest was not idle, so that vcpu_nudge() is
// worth calling after VCPU_NUDGE_NS.
bool vcpu_notify(struct vcpu *vcpu);
// Interrupts a program that has left a notification unseen. I/O thread. True when it should be called again
// later.
bool vcpu_nudge(struct vcpu *vcpu);
#define VCPU_NUDGE_NS 1000000ull
// The guest is not idle, and it is past the time at which it wants to be woken: notify it. I/O thread.
bool vcpu_is_late(const struct vcpu *vcpu, uint64_t monotonic_ns);

// The outcome, or NULL while the guest runs. Any thread.
const struct outcome *vcpu_outcome(const struct vcpu *vcpu);
// I/O thread: true when the vCPU is idle, and wake_fd will be written when that ends: the clock needs no
// refreshing till then.
bool vcpu_clock_pause(struct vcpu *vcpu);
