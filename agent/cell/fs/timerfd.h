// timerfds.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct file;

// realtime: the clock it counts by. NULL without memory.
struct file *timerfd_new(bool realtime, uint32_t flags);
bool timerfd_is(const struct file *file);
// First expiry at value_ns of its clock when absolute, else from now; 0 disarms.
void timerfd_set(struct file *file, uint64_t value_ns, uint64_t interval_ns, bool absolute);
// What is left to the next expiry (0 = disarmed) and the interval.
void timerfd_get(struct file *file, uint64_t *ret_left_ns, uint64_t *ret_interval_ns);
// The earliest expiry of all, monotonic: when the idle loop must look again.
uint64_t timerfd_next_ns(void);
