// What a transport may do to a device: the status state machine and the queues' configuration (virtio 1.2,
// sections 2.1, 3.1 and 4.1). Implemented by transport.c over device.h; called by mmio.c and later
// virtio-pci, on any thread: each call takes the device's lock. What a driver may not do at this point is
// ignored or breaks the device, as the table in transport.c says.
#pragma once

#include "virtio/device.h"

void virtio_device_write_status(struct virtio_device *dev, uint8_t value);
void virtio_device_write_features(struct virtio_device *dev, unsigned half, uint32_t value);
void virtio_device_write_queue(struct virtio_device *dev, unsigned queue, const struct ring_config *config);
// All zero for a queue that the device does not have.
struct ring_config virtio_device_queue_config(struct virtio_device *dev, unsigned queue);
void virtio_device_write_ready(struct virtio_device *dev, unsigned queue, bool ready);
bool virtio_device_ready(struct virtio_device *dev, unsigned queue);
void virtio_device_notify(struct virtio_device *dev, unsigned queue);
uint8_t virtio_device_status(struct virtio_device *dev);
uint32_t virtio_device_interrupt_status(struct virtio_device *dev);
void virtio_device_acknowledge(struct virtio_device *dev, uint32_t bits);
uint32_t virtio_device_generation(struct virtio_device *dev);
// Bytes beyond the end read as zero; a write that is not wholly inside is ignored.
void virtio_device_config_read(struct virtio_device *dev, uint64_t offset, void *out, size_t len);
void virtio_device_config_write(struct virtio_device *dev, uint64_t offset, const void *data, size_t len);
