// Owns what a driver can do to a device through a transport's registers. Called by mmio.c on vCPU threads:
// every function takes the lock (but for the interrupt status), touches only struct virtio_device, and leaves
// the device's own code to the I/O thread.
#include "virtio/transport.h"

#include <linux/virtio_config.h>
#include <string.h>

#include "common/checked.h"
#include "virtio/status.h"

// The bits a driver may set, in the order in which it must.
static const struct {
    uint8_t bit;
    enum virtio_status_event event;
} driver_bits[] = {
    {VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_ON_ACKNOWLEDGE}, {VIRTIO_CONFIG_S_DRIVER, VIRTIO_ON_DRIVER},
    {VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_ON_FEATURES_OK}, {VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_ON_DRIVER_OK},
    {VIRTIO_CONFIG_S_FAILED, VIRTIO_ON_FAILED},
};
#define DRIVER_BITS                                                                                          \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |                    \
     VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

void virtio_device_write_status(struct virtio_device *dev, uint8_t value)
{
    pthread_mutex_lock(&dev->lock);
    // DEVICE_NEEDS_RESET is the device's: a driver that writes back what it read, or an older value, means no
    // change.
    uint8_t wanted = value & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
    uint8_t had = dev->status & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
    if (value == 0) {
        virtio_status_event(dev, VIRTIO_ON_RESET, NULL);
    } else if ((had & ~wanted) || (wanted & ~DRIVER_BITS)) {
        virtio_status_event(dev, VIRTIO_ON_NONSENSE, NULL);
    } else {
        for (size_t i = 0; i < ARRAY_LEN(driver_bits); i++)
            if ((wanted & ~had) & driver_bits[i].bit)
                virtio_status_event(dev, driver_bits[i].event, NULL);
    }
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_write_features(struct virtio_device *dev, unsigned half, uint32_t value)
{
    pthread_mutex_lock(&dev->lock);
    if (dev->state == VIRTIO_DRIVER && half < 2) {
        unsigned shift = half * 32;
        dev->driver_features &= ~(0xffffffffull << shift);
        dev->driver_features |= (uint64_t)value << shift;
    }
    pthread_mutex_unlock(&dev->lock);
}

struct ring_config virtio_device_queue_config(struct virtio_device *dev, unsigned queue)
{
    struct ring_config config = {0};
    pthread_mutex_lock(&dev->lock);
    if (queue < dev->ops->n_queues)
        config = dev->queues[queue].config;
    pthread_mutex_unlock(&dev->lock);
    return config;
}

// Queues are set up between FEATURES_OK and DRIVER_OK (section 3.1.1, step 7), each while it is not ready.
static bool configurable(const struct virtio_device *dev, unsigned queue)
{
    return queue < dev->ops->n_queues && dev->state == VIRTIO_FEATURES_OK &&
           !ring_enabled(&dev->queues[queue].ring);
}

void virtio_device_write_queue(struct virtio_device *dev, unsigned queue, const struct ring_config *config)
{
    pthread_mutex_lock(&dev->lock);
    if (configurable(dev, queue))
        dev->queues[queue].config = *config;
    pthread_mutex_unlock(&dev->lock);
}

static void make_ready(struct virtio_device *dev, struct virtio_queue *q)
{
    if (q->config.size > dev->ops->queue_size_max)
        virtio_status_event(dev, VIRTIO_ON_BREAK, "a queue larger than the device allows");
    else if (virtio_status_enable_ring(dev, q->index) < 0)
        virtio_status_event(dev, VIRTIO_ON_BREAK, "a queue with a wrong size, or not in guest memory");
}

void virtio_device_write_ready(struct virtio_device *dev, unsigned queue, bool ready)
{
    pthread_mutex_lock(&dev->lock);
    if (ready && configurable(dev, queue))
        make_ready(dev, &dev->queues[queue]);
    else if (!ready && queue < dev->ops->n_queues)
        ring_disable(&dev->queues[queue].ring);
    pthread_mutex_unlock(&dev->lock);
}

bool virtio_device_ready(struct virtio_device *dev, unsigned queue)
{
    pthread_mutex_lock(&dev->lock);
    bool ready = queue < dev->ops->n_queues && ring_enabled(&dev->queues[queue].ring);
    pthread_mutex_unlock(&dev->lock);
    return ready;
}

void virtio_device_notify(struct virtio_device *dev, unsigned queue)
{
    if (queue < dev->ops->n_queues)
        virtio_status_ring_doorbell(dev, queue);
}

uint8_t virtio_device_status(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    uint8_t status = dev->status;
    pthread_mutex_unlock(&dev->lock);
    return status;
}

uint32_t virtio_device_interrupt_status(struct virtio_device *dev)
{
    return atomic_load(&dev->interrupt_status);
}

void virtio_device_acknowledge(struct virtio_device *dev, uint32_t bits)
{
    atomic_fetch_and(&dev->interrupt_status, ~bits);
}

uint32_t virtio_device_generation(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    uint32_t generation = dev->config_generation;
    pthread_mutex_unlock(&dev->lock);
    return generation;
}

void virtio_device_config_read(struct virtio_device *dev, uint64_t offset, void *out, size_t len)
{
    memset(out, 0, len);
    pthread_mutex_lock(&dev->lock);
    if (offset < dev->config_bytes) {
        size_t there = dev->config_bytes - offset;
        memcpy(out, (const uint8_t *)dev->config + offset, len < there ? len : there);
    }
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_config_write(struct virtio_device *dev, uint64_t offset, const void *data, size_t len)
{
    pthread_mutex_lock(&dev->lock);
    if (dev->ops->config_write && dev->state != VIRTIO_RESET && range_inside(offset, len, dev->config_bytes))
        dev->ops->config_write(dev, offset, data, len);
    pthread_mutex_unlock(&dev->lock);
}
