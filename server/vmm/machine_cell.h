// A cell's part of its machine: boot contract, shared page, upcalls, clock page. Embedded in struct machine.
#pragma once

#include <stdbool.h>

#include "clock.h"
#include "common/loop.h"
#include "kvm_cell.h"
#include "vcpu.h"

struct machine_cell {
    struct kvm_cell kvm;
    struct clock_page clock;
    struct cell_kernel_header kernel;
    struct loop_source *tick_timer;  // clock, while the guest runs
    struct loop_source *nudge_timer; // upcall, while a notification is unseen
    bool nudging;
    struct vcpu vcpu;
};
