// Pipes and eventfds.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct file;

// Two files, ret[0] to read and ret[1] to write. 0 or -ENOMEM.
int pipe_new(uint32_t flags, struct file *ret[2]);
// NULL without memory.
struct file *eventfd_new(uint64_t value, bool semaphore, uint32_t flags);
