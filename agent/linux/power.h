// The orderly end: of a machine that we are PID 1 of, of one that an init system runs, or of this process
// alone. Called by guest and main.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

enum power_mode {
    POWER_INIT,    // we are PID 1: end everything, then the machine
    POWER_SERVICE, // ask systemd, or run poweroff
    POWER_PROCESS, // for development: only this process ends
};

enum power_end { POWER_OFF, POWER_REBOOT };

struct power; // opaque

// count_programs tells how many programs are connected to the agent: they are given time to end by
// themselves. NULL without memory.
struct power *power_new(struct loop *loop, enum power_mode mode, unsigned (*count_programs)(void *ctx),
                        void *ctx);
void power_free(struct power *p);
// Begins the end, which is there within grace_ms. Asked again: no effect.
void power_end(struct power *p, enum power_end end, uint32_t grace_ms);
bool power_is_ending(const struct power *p);
