// virtio-console, output only: stdout, stderr and the kernel's own lines become the environment's log.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// A device that is missing swallows the output.
void console_init(void);
// All of it, waiting for room as long as it takes.
void console_write(const void *data, size_t n);
// As much as there is room for, without waiting: for the kernel's own lines, which may come from inside a
// wait.
void console_write_nowait(const void *data, size_t n);
// Frees buffers that the device has read. True when there were any.
bool console_poll(void);
// Waits until the device has read everything.
void console_flush(void);
