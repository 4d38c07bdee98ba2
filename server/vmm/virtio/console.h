// virtio-console (virtio 1.2, section 5.3), one port: what the guest writes goes to a sink, input comes from
// a caller who is told when more is welcome. Made by the machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

// Takes len > 0 bytes the guest wrote; they are the guest's, anything at all. I/O thread (or the caller of
// drain), device's lock held: must not block nor call back into the device.
typedef void virtio_console_sink(void *arg, const uint8_t *untrusted_data, size_t len);

// The guest has room for input again: virtio_console_input() is worth a try, later, not from in here. I/O
// thread, device's lock held: must not block nor call back into the device.
typedef void virtio_console_ready(void *arg);

struct virtio_console;

// 0 or -errno.
int virtio_console_new(struct virtio_console **ret, const struct virtio_machine *machine,
                       virtio_console_sink *sink, void *arg, struct err *err);
// I/O thread, or when it has ended. NULL is fine.
void virtio_console_free(struct virtio_console *console);
struct virtio_device *virtio_console_device(struct virtio_console *console);
// Hands all that the guest has made available to the sink, now, up to 1 MiB: before a guest's exit is
// reported. I/O thread, or when it has ended.
void virtio_console_drain(struct virtio_console *console);

// Gives the guest up to len bytes of input. Returns how many it has room for now, 0..len; when that is less
// than len, the ready callback follows as soon as there is room, also after a driver's start. I/O thread.
size_t virtio_console_input(struct virtio_console *console, const void *data, size_t len);
// At most one; NULL takes it back. I/O thread.
void virtio_console_on_ready(struct virtio_console *console, virtio_console_ready *ready, void *arg);
// Tells the guest the size of the window (VIRTIO_CONSOLE_F_SIZE); 0 by 0, the size at first: not known. I/O
// thread.
void virtio_console_resize(struct virtio_console *console, uint16_t cols, uint16_t rows);
