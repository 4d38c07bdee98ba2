// A vCPU thread with a little memory and a tiny guest (guest_code.S), on the KVM of this machine, whichever
// flavour it is: for the tests of what ends a guest (vcpu_exit_test.c) and of when it runs (vcpu_test.c).
// Needs /dev/kvm.
#pragma once

#include "testing.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "boot/layout.h"
#include "boot/tables.h"
#include "vcpu.h"

#define MEMORY_BYTES    (8u << 20)
#define KERNEL_CODE     0x31000u // inside the kernel's text
#define UPCALL_CODE     0x31400u
#define DIRECT_CODE     0x31800u
#define SAVED_CODE      0x31c00u
#define TEXT_END        0x32000u
#define PROGRAM_CODE    0x200000u
#define DATA            0x300000u
#define STACK           0x310000u
#define CHECKSUM_ROUNDS 50000000u

#define SNIPPET(name) extern const uint8_t guest_##name[], guest_##name##_end[]
SNIPPET(exit_42);
SNIPPET(write_null);
SNIPPET(read_unmapped);
SNIPPET(read_file_page);
SNIPPET(write_page_table);
SNIPPET(jump_null);
SNIPPET(undefined_opcode);
SNIPPET(divide_by_zero);
SNIPPET(breakpoint);
SNIPPET(other_port);
SNIPPET(fault_port);
SNIPPET(byte_port);
SNIPPET(halt);
SNIPPET(read_no_device);
SNIPPET(panic);
SNIPPET(idle_rounds);
SNIPPET(follow_ring);
SNIPPET(fsbase);
SNIPPET(fsbase_bad);
SNIPPET(syscall);
SNIPPET(kernel_syscall_direct);
SNIPPET(kernel_syscall_saved);
SNIPPET(spin);
SNIPPET(kernel_upcall);
SNIPPET(checksum);
SNIPPET(kernel_spin);
SNIPPET(spin_in_kernel);
SNIPPET(vector);

struct rig {
    struct guest_memory mem;
    struct kvm_cell kvm;
    struct clock_page clock;
    struct cell_shared *shared;
    struct vcpu vcpu;
    int wake_fd;
};

// Opens KVM. False, and the reason on standard output, when the tests are to be skipped.
bool rig_prepare(void);
int rig_setup(void **state);
int rig_teardown(void **state);
#define RIG_CASE(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

// Copies code into the guest's memory.
void put(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end);
// What the guest keeps at DATA.
volatile uint32_t *data32(struct rig *r, uint64_t offset);
uint64_t data64(struct rig *r, uint64_t offset);
void start_at(struct rig *r, uint64_t rip);
const struct outcome *wait_outcome(struct rig *r);
// Copies code, starts there, and waits for the end.
const struct outcome *run(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end);
#define RUN(r, gpa, name) run(r, gpa, guest_##name, guest_##name##_end)
void wait_until(volatile uint32_t *word, uint32_t at_least);
void wait_idle(struct rig *r);
