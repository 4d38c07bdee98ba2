// One virtual machine with one vCPU on raw KVM ioctls. The descriptor of /dev/kvm is passed in; everything
// made here is closed by kvm_vm_done(). Called by machine (set-up) and vcpu (running); knows no device and no
// boot protocol.
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "memory.h"
#include "proto/cell.h"

struct kvm_vm {
    int dev_fd; // the caller's
    int vm_fd, vcpu_fd;
    struct kvm_run *run;
    size_t run_bytes;
    enum cell_flavour flavour;
    bool has_fsgsbase; // WRFSBASE works at CPL3
    bool has_xsave;
    uint64_t xcr0;  // what the guest may use of the vector registers
    uint32_t hwcap; // CPUID.1:EDX
    uint32_t tsc_khz;
};

// What a cell's code runs with: IF, and IOPL 3, because an emulated AMD CPU refuses a busy TSS's I/O bitmap.
// Port I/O at CPL3 gives the guest nothing: every port exits to envvm. KVM-PVM ignores IOPL and reads the
// bitmap.
#define KVM_CELL_RFLAGS 0x3202u

// Where the vCPU begins, at CPL3 in 64-bit mode on the boot tables.
struct kvm_start {
    uint64_t rip, rdi;
    uint64_t lstar;
};

// Checks version and extensions, makes the VM, maps memory, makes the vCPU, finds out the flavour. 0 or
// -errno with a text that says what this host lacks; half-made objects are for kvm_vm_done().
int kvm_vm_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, struct err *err);
void kvm_vm_done(struct kvm_vm *vm);
// Sets all registers. After cell_load().
int kvm_vm_set_start(const struct kvm_vm *vm, const struct kvm_start *start, struct err *err);
// A 32-bit write of `value` to gpa signals eventfd and does not leave the kernel.
int kvm_vm_add_doorbell(const struct kvm_vm *vm, uint64_t gpa, uint32_t value, int eventfd, struct err *err);
