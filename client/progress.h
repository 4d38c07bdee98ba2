// Progress of long transfers: one line on standard error, only when that is a terminal.
#pragma once

#include <stdint.h>

// Shows what is done, of total bytes (0: not known), and the rate; a few times a second at most.
void progress_show(const char *what, uint64_t done_bytes, uint64_t total_bytes);
// Removes the line. Harmless when there is none.
void progress_end(void);
