// The virtio-mmio transport, version 2 (virtio 1.2, section 4.2): registers to device calls. Called by vCPU
// threads for exits inside a device's window; holds only the driver's selectors.
#pragma once

#include <stdint.h>

#include "virtio/device.h"

#define VIRTIO_MMIO_BYTES 0x200u // the window: registers, then configuration space from 0x100

struct virtio_mmio {
    struct virtio_device *dev;
    uint32_t device_features_sel, driver_features_sel, queue_sel;
};

// dev outlives the transport.
void virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *dev);
// offset: from the start of the device's window; len: 1, 2, 4 or 8, as in the exit. Registers take aligned
// 32-bit accesses only, configuration space aligned ones of any length; anything else reads as zero and
// writes nothing. One vCPU thread at a time; different from the I/O thread is fine.
void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t offset, void *out, uint32_t len);
void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t offset, const void *data, uint32_t len);
