// What every virtio device is to a transport and to the machine: identity, features, status, queues,
// configuration space (virtio 1.2, sections 2.1 to 2.5). Embedded as the first member of each device;
// transports (mmio.h, later PCI) drive it. It knows guest memory, the loop and two callbacks, never the whole
// machine.
//
// Threads: a device's own code runs on the I/O thread. Transports call transport.h's functions from vCPU
// threads; those touch only what is in struct virtio_device, under its lock. A reset stops the rings, and
// what the device does in the background (ops->quiesce), at once; its own clean-up (ops->reset) follows on
// the I/O thread, before it does anything else.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "memory.h"
#include "virtio/ring.h"

#define VIRTIO_QUEUES_MAX 5u           // a balloon has the most
#define VIRTIO_VERSION_1  (1ull << 32) // offered by and required of all; legacy drivers are refused
// Offered by all, beside what a device offers itself: VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX.
#define VIRTIO_RING_FEATURES (1ull << 28 | 1ull << 29)

struct virtio_device;

// What the machine gives to its devices. Callbacks are called on any thread with the device's lock held: they
// must not block and must not call back into the device.
struct virtio_machine {
    const struct guest_memory *memory;
    struct loop *loop;
    // Interrupts the guest: the used ring or the configuration changed.
    void (*raise)(void *arg);
    // Told once when a device goes to DEVICE_NEEDS_RESET: the guest did what no driver may. Both are constant
    // strings.
    void (*broken)(void *arg, const char *device, const char *why);
    void *arg;
};

// A kind of device. All functions are called on the I/O thread with the lock held, except quiesce and
// config_write.
struct virtio_device_ops {
    const char *name;
    uint32_t id; // virtio 1.2, section 5
    uint16_t n_queues;
    uint16_t queue_size_max;
    uint64_t features; // offered, VIRTIO_VERSION_1 included; those of the rings (below) come on top
    // Serves a queue, bounded. True when work remains: it is called again in a later round.
    bool (*process)(struct virtio_device *dev, unsigned queue);
    // Any thread, with the lock held: a reset begins, the rings are disabled already. When this returns
    // nothing of the device touches guest memory any more, for the driver may use it for something else at
    // once. May block as long as that takes. NULL: nothing does so beyond a round.
    void (*quiesce)(struct virtio_device *dev);
    // Back to the state after creation; the rings are disabled already.
    void (*reset)(struct virtio_device *dev);
    // Decides which back-end events are armed. The last thing of every round. May be NULL.
    void (*arm)(struct virtio_device *dev);
    // Any thread: the driver wrote configuration space, [offset, offset + len) inside it. NULL: writes are
    // ignored.
    void (*config_write)(struct virtio_device *dev, size_t offset, const void *data, size_t len);
};

enum virtio_state {
    VIRTIO_RESET,
    VIRTIO_ACKNOWLEDGED,
    VIRTIO_DRIVER,
    VIRTIO_FEATURES_OK,
    VIRTIO_DRIVER_OK,
    VIRTIO_FAILED, // the driver gave up
    VIRTIO_BROKEN, // DEVICE_NEEDS_RESET
    VIRTIO_STATE_COUNT
};

struct virtio_queue {
    struct virtio_device *dev;
    unsigned index;
    struct ring_config config;
    struct ring ring; // enabled = QueueReady
    int doorbell;     // eventfd
    struct loop_source *source;
};

struct virtio_device {
    const struct virtio_device_ops *ops;
    struct virtio_machine machine;
    uint64_t features; // offered: ops->features, those of the rings, and what the device adds after init
    void *config;      // configuration space, little endian, the device's own
    size_t config_bytes;
    pthread_mutex_t lock; // guards all below
    enum virtio_state state;
    uint8_t status; // the register
    uint64_t driver_features;
    // Read and acknowledged without the lock: each interrupt does both, on a vCPU thread that must not wait
    // for a round of the device's.
    atomic_uint interrupt_status;
    uint32_t config_generation;
    bool reset_pending; // ops->reset is owed, on the I/O thread
    struct virtio_queue queues[VIRTIO_QUEUES_MAX];
};

// Makes the doorbells and registers them. ops, config and what machine points to outlive the device. 0 or
// -errno.
int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
                       const struct virtio_machine *machine, void *config, size_t config_bytes,
                       struct err *err);
// I/O thread, or when it has ended. Accepts a device whose init failed or that is all zero.
void virtio_device_done(struct virtio_device *dev);

// The descriptor to register with KVM_IOEVENTFD for the queue's QueueNotify (datamatch: the queue's index).
// Stays the device's.
int virtio_device_doorbell(const struct virtio_device *dev, unsigned queue);

// Puts a device in RESET at DRIVER_OK with these features and queues (queues[i].size 0: not ready), as after
// restoring a snapshot. The guest may still reset and renegotiate. 0, or -EINVAL/-EFAULT with err set and the
// device in RESET: the features are not all offered or lack VIRTIO_VERSION_1, or a queue is not acceptable.
int virtio_device_preset(struct virtio_device *dev, uint64_t features, const struct ring_config *queues,
                         size_t n_queues, struct err *err);

// For devices, I/O thread. Every event begins with enter and ends with leave, which interrupts the guest
// where due and lets the device arm its events.
void virtio_device_enter(struct virtio_device *dev);
void virtio_device_leave(struct virtio_device *dev);
// One round for a queue, without the lock: what a doorbell does. True when work remains (the doorbell rings
// again).
bool virtio_device_process(struct virtio_device *dev, unsigned queue);
// Rings a queue's doorbell: it is processed in a later round. Any thread.
void virtio_device_again(struct virtio_device *dev, unsigned queue);

// What became of a request.
enum virtio_served {
    VIRTIO_SERVED,  // done: it is published with *ret_written bytes
    VIRTIO_BLOCKED, // the back end takes no more now: it stays in the queue until the device looks again by
                    // itself
    VIRTIO_TAKEN,   // the device publishes it itself, later
    VIRTIO_PARTLY, // this round's work is spent within the request: it stays in the queue and is popped again
};
typedef enum virtio_served virtio_serve(struct virtio_device *dev, const struct ring_chain *chain,
                                        uint32_t *ret_written);
// Between enter and leave: pops and serves at most budget requests. Kicks are off until the queue is empty.
// True when work remains for a later round; false when empty, blocked or the device broke.
bool virtio_device_serve(struct virtio_device *dev, unsigned queue, unsigned budget, virtio_serve *serve);

// Between enter and leave. Live: DRIVER_OK. broken: DEVICE_NEEDS_RESET, rings stop; why is a constant
// sentence.
bool virtio_device_live(const struct virtio_device *dev);
bool virtio_device_has_feature(const struct virtio_device *dev, uint64_t feature);
struct ring *virtio_device_ring(struct virtio_device *dev, unsigned queue);
void virtio_device_broken(struct virtio_device *dev, const char *why);
// After the device changed its configuration space.
void virtio_device_config_changed(struct virtio_device *dev);
