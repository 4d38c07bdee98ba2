// What the vCPUs of a Linux guest see of the CPU: what KVM supports, less what is no guest's business, with
// one package of n cores. Called by kvm_linux.
#pragma once

#include <linux/kvm.h>

#include "common/err.h"

struct kvm_vm;

#define LINUX_CPUID_ENTRIES_MAX 256u

struct linux_cpuid {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[LINUX_CPUID_ENTRIES_MAX];
};

// Pure. Makes what KVM supports the table of vCPU `index` of n, n in 1 to 16. May be called again, for
// another index, on its own result. What KVM does not have is not added, but for the topology's leaves that
// are there.
void linux_cpuid_adjust(struct linux_cpuid *table, unsigned index, unsigned n);
// Gives every vCPU its table, and XCR0 all that it names. 0 or -errno.
int linux_cpuid_set(const struct kvm_vm *vm, struct err *err);
