// What a Linux guest's virtual machine is beyond kvm.h: the in-kernel interrupt controllers, up to 16 vCPUs
// with their CPUID, and the first vCPU's registers; the others wait for INIT and SIPI. Called by
// machine_linux.
#pragma once

#include "kvm.h"

enum linux_entry {
    LINUX_ENTRY_64,  // 64-bit mode, paging one to one, %rsi = boot parameters
    LINUX_ENTRY_PVH, // 32-bit protected mode without paging, %ebx = start info
};

struct linux_start {
    enum linux_entry entry;
    uint64_t rip;
};

// 0; -ENOTSUP: this host's KVM has no hardware virtualization, or lacks what is named; -errno. kvm_vm_done()
// is due in any case.
int kvm_linux_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, unsigned n_vcpus,
                   struct err *err);
// An eventfd whose writes interrupt the guest at an I/O APIC input (edge). The caller closes it. -errno.
int kvm_linux_add_irq(const struct kvm_vm *vm, uint32_t gsi, struct err *err);
// Interrupts the guest at such an input, at once. Callers for one input take turns: an edge inside another's
// would be lost.
void kvm_linux_interrupt(const struct kvm_vm *vm, uint32_t gsi);
// Sets the registers of the first vCPU. After linux_load().
int kvm_linux_set_start(const struct kvm_vm *vm, const struct linux_start *start, struct err *err);
