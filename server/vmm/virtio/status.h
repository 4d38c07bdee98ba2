// The device status state machine (virtio 1.2, sections 2.1 and 3.1), inside the virtio folder only: device.c
// and transport.c feed it events, with the device's lock held.
#pragma once

#include "virtio/device.h"

enum virtio_status_event {
    VIRTIO_ON_RESET,       // the driver wrote 0
    VIRTIO_ON_ACKNOWLEDGE, // the driver set this bit, and so on
    VIRTIO_ON_DRIVER,
    VIRTIO_ON_FEATURES_OK,
    VIRTIO_ON_DRIVER_OK,
    VIRTIO_ON_FAILED,
    VIRTIO_ON_NONSENSE, // the driver cleared a bit, or set one that does not exist
    VIRTIO_ON_BREAK,    // the device found that the driver did what none may
    VIRTIO_EVENT_COUNT
};

// why: for BREAK, a constant sentence; NULL otherwise.
void virtio_status_event(struct virtio_device *dev, enum virtio_status_event event, const char *why);
// True when the features can be agreed on: a subset of the offered ones with VIRTIO_VERSION_1.
bool virtio_status_features_acceptable(const struct virtio_device *dev, uint64_t features);
// Enables a queue's ring as it is configured, with what was negotiated. As ring_enable().
int virtio_status_enable_ring(struct virtio_device *dev, unsigned queue);
// Makes the I/O thread look at a queue.
void virtio_status_ring_doorbell(struct virtio_device *dev, unsigned queue);
// Sets bits of InterruptStatus and interrupts the guest.
void virtio_status_interrupt(struct virtio_device *dev, uint32_t bits);
