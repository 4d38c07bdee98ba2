// The vCPUs of a Linux guest: a thread each, exits to the bus, and how it all ends. Started by machine_linux;
// the in-kernel interrupt controllers do their idling and their start (INIT, SIPI).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "linux_bus.h"
#include "outcome.h"
#include "vcpu_thread.h"

struct linux_vcpus;

struct linux_vcpu {
    struct linux_vcpus *all;
    const struct kvm_vcpu *kvm;
    struct vcpu_thread thread;
    atomic_bool stands_still; // when last kicked: no interrupt could wake it
};

struct linux_vcpus {
    struct linux_bus *bus;
    int wake_fd; // eventfd: written when the outcome is there, and by each vCPU that is held
    unsigned n;
    struct linux_vcpu vcpus[KVM_VCPUS_MAX];
    atomic_bool ending; // the first to end says how
    atomic_bool ended;  // outcome is there; it is constant from then on
    struct outcome outcome;
    unsigned n_still; // looks in a row that found all of them standing still
};

// Prepares. vm and bus outlive the vCPUs. 0 or -errno.
int linux_vcpus_init(struct linux_vcpus *v, const struct kvm_vm *vm, struct linux_bus *bus, int wake_fd,
                     struct err *err);
// Starts all threads, and with them the guest. 0 or -errno; linux_vcpus_stop() is due in both cases.
int linux_vcpus_start(struct linux_vcpus *v, struct err *err);
void linux_vcpus_stop(struct linux_vcpus *v);
// The guest stands still until it is released. I/O thread.
void linux_vcpus_hold(struct linux_vcpus *v);
void linux_vcpus_release(struct linux_vcpus *v);
bool linux_vcpus_held(const struct linux_vcpus *v);
uint64_t linux_vcpus_cpu_ns(const struct linux_vcpus *v);
// A look at whether the guest will ever run again, which kicks every vCPU: to be taken now and then. True
// when the last two found all of them halted with interrupts off, or not started by any other. I/O thread.
bool linux_vcpus_look_dead(struct linux_vcpus *v);
// The outcome, or NULL while the guest runs. Any thread.
const struct outcome *linux_vcpus_outcome(const struct linux_vcpus *v);
