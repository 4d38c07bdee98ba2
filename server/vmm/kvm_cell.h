// What a cell's virtual machine is beyond kvm.h: one vCPU that begins at CPL3 on the boot tables, on
// hardware KVM and KVM-PVM alike. Called by machine_cell; cell_vcpu runs what is made here.
#pragma once

#include "kvm.h"
#include "proto/cell.h"

struct kvm_cell {
    struct kvm_vm vm;
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

// The VM with its vCPU; finds out the flavour. 0 or -errno; kvm_vm_done() of ->vm is due in both cases.
int kvm_cell_init(struct kvm_cell *cell, int dev_fd, const struct guest_memory *mem, struct err *err);
// Sets all registers. After cell_load().
int kvm_cell_set_start(const struct kvm_cell *cell, const struct kvm_start *start, struct err *err);
