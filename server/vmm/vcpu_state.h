// Says in words where a vCPU of a Linux guest stands: what there is to go by when a guest went wrong without
// a word of its own. Called by linux_vcpu for the reason and by machine_linux for the log; changes nothing,
// knows no device.
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>

#include "kvm.h"

#define VCPU_STATE_LINES    4
#define VCPU_STATE_LINE_MAX 200 // what a note in the guest's log can hold

struct vcpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    const struct kvm_run *run; // of its last exit
};

// What cannot be had reads as zero. The vCPU is outside of the guest; its own thread, or any once that has
// ended.
void vcpu_state_read(const struct kvm_vcpu *vcpu, struct vcpu_state *ret);
// True when nothing is known: AMD's CPUs keep no registers of a triple fault, and KVM has reset the vCPU.
bool vcpu_state_is_lost(const struct vcpu_state *s);
// Fills lines, without a line break at their end; returns how many.
unsigned vcpu_state_describe(const struct vcpu_state *s, unsigned index,
                             char ret_lines[VCPU_STATE_LINES][VCPU_STATE_LINE_MAX]);
