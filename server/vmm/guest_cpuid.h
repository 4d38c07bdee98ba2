// What the guest sees of the CPU. Called by kvm.c when the vCPU is new.
#pragma once

#include "common/err.h"

struct kvm_vm;

// Gives the vCPU its CPUID table and fills in has_fsgsbase, has_xsave, xcr0 and hwcap. The flavour is known.
int guest_cpuid_set(struct kvm_vm *vm, struct err *err);
