// The guest's figures, from /proc and the root file system. Called by guest.
#pragma once

#include <stdbool.h>

#include "proto/agent.h"

// What cannot be read is zero.
void figures_read(struct agent_stats *ret);
// The parsers, for tests. text ends with NUL.
// The value of a line "Name:   123 kB" of /proc/meminfo, in bytes; 0 when it is not there.
uint64_t figures_parse_meminfo(const char *text, const char *name);
// "0.20 0.18 0.12 1/80 11206": the load of a minute in thousandths. Processes: threads, as the kernel counts
// them.
bool figures_parse_loadavg(const char *text, uint32_t *ret_load1_milli, uint32_t *ret_processes);
