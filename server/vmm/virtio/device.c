// Owns a device's life and its rounds on the I/O thread: doorbells in, interrupts out. Called by the machine
// (init, preset), the loop (doorbells) and devices (enter, leave); knows no transport.
#include "virtio/device.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_mmio.h>

#include "virtio/status.h"

static void on_doorbell(void *arg, uint32_t events)
{
    (void)events;
    struct virtio_queue *q = arg;
    virtio_device_process(q->dev, q->index);
}

static int open_queue(struct virtio_device *dev, unsigned index, struct err *err)
{
    struct virtio_queue *q = &dev->queues[index];
    q->dev = dev;
    q->index = index;
    q->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (q->doorbell < 0)
        return err_errno(err, -errno, "virtio-%s: make a doorbell", dev->ops->name);
    q->source = loop_add(dev->machine.loop, q->doorbell, EPOLLIN, on_doorbell, q);
    if (!q->source)
        return err_errno(err, -errno, "virtio-%s: watch a doorbell", dev->ops->name);
    return 0;
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
                       const struct virtio_machine *machine, void *config, size_t config_bytes,
                       struct err *err)
{
    *dev = (struct virtio_device){.ops = ops,
                                  .machine = *machine,
                                  .features = ops->features | VIRTIO_RING_FEATURES,
                                  .config = config,
                                  .config_bytes = config_bytes};
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        dev->queues[i].doorbell = -1;
    int rc = -pthread_mutex_init(&dev->lock, NULL);
    if (rc < 0) {
        dev->ops = NULL; // nothing for virtio_device_done()
        return err_errno(err, rc, "virtio-%s: make a lock", ops->name);
    }
    for (unsigned i = 0; i < ops->n_queues && rc == 0; i++)
        rc = open_queue(dev, i, err);
    if (rc < 0)
        virtio_device_done(dev);
    return rc;
}

void virtio_device_done(struct virtio_device *dev)
{
    if (!dev->ops)
        return;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        struct virtio_queue *q = &dev->queues[i];
        if (q->source)
            loop_remove(q->source);
        if (q->doorbell >= 0)
            close(q->doorbell);
    }
    pthread_mutex_destroy(&dev->lock);
    dev->ops = NULL;
}

int virtio_device_doorbell(const struct virtio_device *dev, unsigned queue)
{
    return dev->queues[queue].doorbell;
}

static int check_preset(const struct virtio_device *dev, uint64_t features, const struct ring_config *queues,
                        size_t n_queues, struct err *err)
{
    const char *name = dev->ops->name;
    if (!virtio_status_features_acceptable(dev, features))
        return err_set(err, -EINVAL, "virtio-%s: features %#llx are not offered", name,
                       (unsigned long long)features);
    if (dev->state != VIRTIO_RESET || n_queues > dev->ops->n_queues)
        return err_set(err, -EINVAL, "virtio-%s: %zu queues preset in state %d", name, n_queues,
                       (int)dev->state);
    for (size_t i = 0; i < n_queues; i++) {
        struct ring scratch;
        if (queues[i].size == 0)
            continue;
        int rc = queues[i].size > dev->ops->queue_size_max
                     ? -EINVAL
                     : ring_enable(&scratch, dev->machine.memory, &queues[i]);
        if (rc < 0)
            return err_errno(err, rc, "virtio-%s: preset queue %zu of %u entries", name, i, queues[i].size);
    }
    return 0;
}

// Takes the driver's steps (section 3.1.1) in one go, through the same table as the registers.
int virtio_device_preset(struct virtio_device *dev, uint64_t features, const struct ring_config *queues,
                         size_t n_queues, struct err *err)
{
    pthread_mutex_lock(&dev->lock);
    int rc = check_preset(dev, features, queues, n_queues, err);
    if (rc == 0) {
        virtio_status_event(dev, VIRTIO_ON_ACKNOWLEDGE, NULL);
        virtio_status_event(dev, VIRTIO_ON_DRIVER, NULL);
        dev->driver_features = features;
        virtio_status_event(dev, VIRTIO_ON_FEATURES_OK, NULL);
        for (size_t i = 0; i < n_queues; i++) {
            dev->queues[i].config = queues[i];
            if (queues[i].size > 0)
                (void)virtio_status_enable_ring(dev, (unsigned)i); // checked above
        }
        virtio_status_event(dev, VIRTIO_ON_DRIVER_OK, NULL);
    }
    pthread_mutex_unlock(&dev->lock);
    return rc;
}

void virtio_device_enter(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    if (dev->reset_pending) {
        dev->reset_pending = false;
        dev->ops->reset(dev);
    }
}

void virtio_device_leave(struct virtio_device *dev)
{
    bool due = false;
    const char *broken = NULL;
    for (unsigned i = 0; i < dev->ops->n_queues; i++) {
        struct ring *ring = &dev->queues[i].ring;
        due |= ring_take_interrupt(ring);
        if (!broken)
            broken = ring->broken;
    }
    if (due)
        virtio_status_interrupt(dev, VIRTIO_MMIO_INT_VRING);
    if (broken)
        virtio_device_broken(dev, broken);
    if (dev->ops->arm)
        dev->ops->arm(dev);
    pthread_mutex_unlock(&dev->lock);
}

bool virtio_device_process(struct virtio_device *dev, unsigned queue)
{
    eventfd_t kicks;
    // Taken before the ring is looked at: a kick that comes later rings again.
    (void)eventfd_read(dev->queues[queue].doorbell, &kicks);
    virtio_device_enter(dev);
    bool more = virtio_device_live(dev) && dev->ops->process(dev, queue);
    virtio_device_leave(dev);
    if (more)
        virtio_device_again(dev, queue);
    return more;
}

void virtio_device_again(struct virtio_device *dev, unsigned queue)
{
    virtio_status_ring_doorbell(dev, queue);
}

bool virtio_device_serve(struct virtio_device *dev, unsigned queue, unsigned budget, virtio_serve *serve)
{
    struct ring *ring = virtio_device_ring(dev, queue);
    struct ring_chain chain;
    ring_kicks_off(ring);
    // Every turn counts, also one that finds nothing: a guest that plays with its index must not keep us
    // here.
    for (unsigned turn = 0; turn < budget; turn++) {
        int rc = ring_pop(ring, &chain);
        if (rc < 0)
            return false;
        if (rc == 0) {
            if (!ring_kicks_on(ring))
                return false;
            ring_kicks_off(ring);
            continue;
        }
        uint32_t written = 0;
        enum virtio_served served = serve(dev, &chain, &written);
        if (!virtio_device_live(dev))
            return false;
        if (served == VIRTIO_TAKEN)
            continue;
        if (served != VIRTIO_SERVED) {
            ring_unpop(ring);
            return served == VIRTIO_PARTLY;
        }
        ring_publish(ring, chain.head, written);
    }
    return true;
}

bool virtio_device_live(const struct virtio_device *dev)
{
    return dev->state == VIRTIO_DRIVER_OK;
}

bool virtio_device_has_feature(const struct virtio_device *dev, uint64_t feature)
{
    return (dev->driver_features & feature) == feature;
}

struct ring *virtio_device_ring(struct virtio_device *dev, unsigned queue)
{
    return &dev->queues[queue].ring;
}

void virtio_device_broken(struct virtio_device *dev, const char *why)
{
    virtio_status_event(dev, VIRTIO_ON_BREAK, why);
}

void virtio_device_config_changed(struct virtio_device *dev)
{
    dev->config_generation++;
    if (virtio_device_live(dev))
        virtio_status_interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}
