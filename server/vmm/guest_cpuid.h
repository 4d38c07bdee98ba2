// What the guest sees of the CPU. Called by kvm_cell.c when the vCPU is new.
#pragma once

#include "common/err.h"

struct kvm_cell;

// Gives the vCPU its CPUID table and fills in has_fsgsbase, has_xsave, xcr0 and hwcap. The flavour is known.
int guest_cpuid_set(struct kvm_cell *cell, struct err *err);
