// Says in words how a guest went wrong: which of kernel and program, where, with which registers. Called by
// vcpu on the way to a FAILED outcome; reads guest memory, changes nothing.
#pragma once

#include "kvm_cell.h"
#include "outcome.h"

struct fault_context {
    const struct kvm_cell *cell;
    const struct guest_memory *mem;
    const struct cell_kernel_header *kernel;
};

// A CPL0 gate was entered for this vector (CELL_PORT_FAULT).
void fault_report_vector(const struct fault_context *c, uint32_t untrusted_vector, struct outcome *ret);
// Memory that is neither RAM nor a device's was touched.
void fault_report_access(const struct fault_context *c, uint64_t gpa, bool is_write, struct outcome *ret);
// The CPU gave up on the guest: a fault while delivering a double fault.
void fault_report_shutdown(const struct fault_context *c, struct outcome *ret);
// Anything else that ends a guest: text says what happened, registers are added.
void fault_report_stop(const struct fault_context *c, enum vmctl_cause cause, const char *text,
                       struct outcome *ret);
