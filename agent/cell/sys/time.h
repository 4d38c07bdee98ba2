// Times that programs pass: checked and turned into deadlines. Between sys/time.c, poll.c, events.c and
// process.c.
#pragma once

#include <stdint.h>

// Reads a struct timespec. 0, -EFAULT, -EINVAL.
int time_get(uint64_t address, uint64_t *ret_ns);
int time_put(uint64_t address, uint64_t ns);
// Monotonic time in `ns` from now; NEVER when that is beyond counting.
uint64_t time_deadline(uint64_t ns);
