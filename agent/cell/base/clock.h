// The clocks, from the page that envvm keeps (cell.h) and the time stamp counter; no exit to the host.
#pragma once

#include <stdint.h>

uint64_t clock_monotonic_ns(void);
uint64_t clock_realtime_ns(void);
// The program starts now.
void clock_start(void);
uint64_t clock_start_ns(void);
// Processor time: monotonic time since the program's start less what was spent idle.
uint64_t clock_busy_ns(void);
// The idle loop reports what it slept.
void clock_add_idle_ns(uint64_t ns);
