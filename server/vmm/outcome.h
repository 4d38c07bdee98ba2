// How a virtual machine ended: what the STATE message and the exit status are made of. Filled once, by the
// vCPU thread or by main's error path.
#pragma once

#include "proto/vmctl.h"

struct outcome {
    enum vmctl_state state; // VMCTL_EXITED or VMCTL_FAILED
    enum vmctl_cause cause;
    int32_t code;
    char reason[VMCTL_REASON_MAX + 1];
};

// Sets FAILED with a text; a text that does not fit is cut.
__attribute__((format(printf, 3, 4))) void outcome_fail(struct outcome *o, enum vmctl_cause cause,
                                                        const char *format, ...);
// Sets EXITED. reason is "" or a constant sentence.
void outcome_exit(struct outcome *o, int32_t code, const char *reason);
