// Owns the device status: the only writer of state and status register. Called by device.c (what the device
// found) and transport.c (what the driver wrote), with the device's lock held, on any thread; runs none of a
// device's own code but quiesce.
#include "virtio/status.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>

#include "common/log.h"

// Does the work of a transition. False: the device stays where it is.
typedef bool action(struct virtio_device *dev, const char *why);

struct cell {
    action *action; // NULL: a protocol error, which breaks the device
    enum virtio_state next;
};

static const char *const state_names[VIRTIO_STATE_COUNT] = {
    [VIRTIO_RESET] = "RESET",
    [VIRTIO_ACKNOWLEDGED] = "ACKNOWLEDGE",
    [VIRTIO_DRIVER] = "DRIVER",
    [VIRTIO_FEATURES_OK] = "FEATURES_OK",
    [VIRTIO_DRIVER_OK] = "DRIVER_OK",
    [VIRTIO_FAILED] = "FAILED",
    [VIRTIO_BROKEN] = "DEVICE_NEEDS_RESET",
};

static const uint8_t bits_of_event[VIRTIO_EVENT_COUNT] = {
    [VIRTIO_ON_ACKNOWLEDGE] = VIRTIO_CONFIG_S_ACKNOWLEDGE, [VIRTIO_ON_DRIVER] = VIRTIO_CONFIG_S_DRIVER,
    [VIRTIO_ON_FEATURES_OK] = VIRTIO_CONFIG_S_FEATURES_OK, [VIRTIO_ON_DRIVER_OK] = VIRTIO_CONFIG_S_DRIVER_OK,
    [VIRTIO_ON_FAILED] = VIRTIO_CONFIG_S_FAILED,           [VIRTIO_ON_BREAK] = VIRTIO_CONFIG_S_NEEDS_RESET,
};

void virtio_status_ring_doorbell(struct virtio_device *dev, unsigned queue)
{
    // Fails only when the counter is full, and then the doorbell rings already.
    (void)eventfd_write(dev->queues[queue].doorbell, 1);
}

void virtio_status_interrupt(struct virtio_device *dev, uint32_t bits)
{
    atomic_fetch_or(&dev->interrupt_status, bits);
    dev->machine.raise(dev->machine.arg);
}

bool virtio_status_features_acceptable(const struct virtio_device *dev, uint64_t features)
{
    return (features & ~dev->features) == 0 && (features & VIRTIO_VERSION_1);
}

int virtio_status_enable_ring(struct virtio_device *dev, unsigned queue)
{
    struct virtio_queue *q = &dev->queues[queue];
    struct ring_config config = q->config;
    config.event_idx = dev->driver_features & 1ull << VIRTIO_RING_F_EVENT_IDX;
    config.indirect = dev->driver_features & 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    return ring_enable(&q->ring, dev->machine.memory, &config);
}

static void stop_rings(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->ops->n_queues; i++)
        ring_disable(&dev->queues[i].ring);
}

static bool accept(struct virtio_device *dev, const char *why)
{
    (void)dev, (void)why;
    return true;
}

static bool ignore(struct virtio_device *dev, const char *why)
{
    (void)dev, (void)why;
    return false;
}

static bool reset(struct virtio_device *dev, const char *why)
{
    (void)why;
    stop_rings(dev);
    if (dev->ops->quiesce)
        dev->ops->quiesce(dev);
    for (unsigned i = 0; i < dev->ops->n_queues; i++)
        dev->queues[i].config = (struct ring_config){0};
    dev->status = 0;
    dev->driver_features = 0;
    atomic_store(&dev->interrupt_status, 0);
    dev->reset_pending = true;
    virtio_status_ring_doorbell(dev, 0);
    return true;
}

// Section 2.2.2: features that cannot be agreed on leave FEATURES_OK unset, which the driver reads back.
static bool agree(struct virtio_device *dev, const char *why)
{
    (void)why;
    return virtio_status_features_acceptable(dev, dev->driver_features);
}

// Looks at every queue once: after a preset they may hold requests that nobody kicks for.
static bool start(struct virtio_device *dev, const char *why)
{
    (void)why;
    for (unsigned i = 0; i < dev->ops->n_queues; i++)
        virtio_status_ring_doorbell(dev, i);
    return true;
}

static bool stop(struct virtio_device *dev, const char *why)
{
    (void)why;
    stop_rings(dev);
    return true;
}

// Section 2.1.2: the driver of a running device is told by a configuration change notification.
static bool fail(struct virtio_device *dev, const char *why)
{
    stop_rings(dev);
    if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
        virtio_status_interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
    dev->machine.broken(dev->machine.arg, dev->ops->name, why);
    return true;
}

// clang-format off
static const struct cell table[VIRTIO_STATE_COUNT][VIRTIO_EVENT_COUNT] = {
    [VIRTIO_RESET] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_ACKNOWLEDGE] = {accept, VIRTIO_ACKNOWLEDGED},
        [VIRTIO_ON_FAILED]      = {stop, VIRTIO_FAILED},
    },
    [VIRTIO_ACKNOWLEDGED] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_DRIVER]      = {accept, VIRTIO_DRIVER},
        [VIRTIO_ON_FAILED]      = {stop, VIRTIO_FAILED},
    },
    [VIRTIO_DRIVER] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_FEATURES_OK] = {agree, VIRTIO_FEATURES_OK},
        [VIRTIO_ON_FAILED]      = {stop, VIRTIO_FAILED},
    },
    [VIRTIO_FEATURES_OK] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_DRIVER_OK]   = {start, VIRTIO_DRIVER_OK},
        [VIRTIO_ON_FAILED]      = {stop, VIRTIO_FAILED},
    },
    [VIRTIO_DRIVER_OK] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_FAILED]      = {stop, VIRTIO_FAILED},
    },
    // Only a reset leads out of the last two.
    [VIRTIO_FAILED] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_ACKNOWLEDGE] = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_DRIVER]      = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_FEATURES_OK] = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_DRIVER_OK]   = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_FAILED]      = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_NONSENSE]    = {ignore, VIRTIO_FAILED},
        [VIRTIO_ON_BREAK]       = {ignore, VIRTIO_FAILED},
    },
    [VIRTIO_BROKEN] = {
        [VIRTIO_ON_RESET]       = {reset, VIRTIO_RESET},
        [VIRTIO_ON_ACKNOWLEDGE] = {ignore, VIRTIO_BROKEN},
        [VIRTIO_ON_DRIVER]      = {ignore, VIRTIO_BROKEN},
        [VIRTIO_ON_FEATURES_OK] = {ignore, VIRTIO_BROKEN},
        [VIRTIO_ON_DRIVER_OK]   = {ignore, VIRTIO_BROKEN},
        [VIRTIO_ON_FAILED]      = {accept, VIRTIO_FAILED},
        [VIRTIO_ON_NONSENSE]    = {ignore, VIRTIO_BROKEN},
        [VIRTIO_ON_BREAK]       = {ignore, VIRTIO_BROKEN},
    },
};
// clang-format on

static const struct cell nonsense = {fail, VIRTIO_BROKEN};

void virtio_status_event(struct virtio_device *dev, enum virtio_status_event event, const char *why)
{
    enum virtio_state old = dev->state;
    const struct cell *cell = &table[old][event];
    if (!cell->action) {
        cell = &nonsense;
        event = VIRTIO_ON_BREAK;
    }
    if (!cell->action(dev, why ? why : "a device status that no driver may write"))
        return;
    dev->state = cell->next;
    dev->status |= bits_of_event[event];
    log_debug(NULL, "virtio-%s: %s -> %s", dev->ops->name, state_names[old], state_names[dev->state]);
}
