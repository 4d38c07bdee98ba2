// Where the kernel waits: serving the devices and the timers until something may have changed. Called by
// blocking system calls, by the upcall and before the return to the program.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Serves whatever the devices have. True when one of them had something.
bool wait_poll(void);
// For the way back to the program: serves due timers, and tells envvm when the next one is due.
void wait_run_timers(void);
// Serves devices and due timers; when there is nothing, sleeps until envvm has something, or until
// deadline_ns (monotonic; NEVER for none). May return early: callers look at their condition again.
void wait_event(uint64_t deadline_ns);
