// One virtual machine on raw KVM ioctls: what cells and Linux guests have in common. The descriptor of
// /dev/kvm is passed in; everything made here is closed by kvm_vm_done(). Called by machine (set-up) and the
// vCPU threads (running); knows no device and no boot protocol.
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "memory.h"

#define KVM_VCPUS_MAX 16u

struct kvm_vcpu {
    int fd;
    struct kvm_run *run;
    size_t run_bytes;
};

struct kvm_vm {
    int dev_fd; // the caller's
    int vm_fd;
    unsigned n_vcpus;
    struct kvm_vcpu vcpus[KVM_VCPUS_MAX];
};

// Checks version and extensions, makes the VM, maps memory; there is no vCPU yet. 0 or -errno with a text
// that says what this host lacks; half-made objects are for kvm_vm_done().
int kvm_vm_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, struct err *err);
// Makes the next vCPU, its APIC id being its number. 0 or -errno.
int kvm_vm_add_vcpu(struct kvm_vm *vm, struct err *err);
// Accepts what kvm_vm_init() or kvm_vm_none() left.
void kvm_vm_done(struct kvm_vm *vm);
struct kvm_vm kvm_vm_none(void);
// KVM without hardware virtualization (KVM-PVM); there is a vCPU.
bool kvm_vm_is_pvm(const struct kvm_vm *vm);
// A 32-bit write of `value` to gpa signals eventfd and does not leave the kernel.
int kvm_vm_add_doorbell(const struct kvm_vm *vm, uint64_t gpa, uint32_t value, int eventfd, struct err *err);
