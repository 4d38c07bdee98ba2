// virtio-console (virtio 1.2, section 5.3), one port, output only: what the guest writes goes to a sink. Made
// by the machine, runs on the I/O thread.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

// Takes len > 0 bytes the guest wrote; they are the guest's, anything at all. I/O thread (or the caller of
// drain), device's lock held: must not block nor call back into the device.
typedef void virtio_console_sink(void *arg, const uint8_t *untrusted_data, size_t len);

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
