// A small virtio driver for tests and fuzz targets: guest memory, rings written as a guest writes them,
// registers through the MMIO transport, and, on request, the device's loop on a thread of its own as in
// envvm.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"
#include "memory.h"
#include "virtio/device.h"
#include "virtio/mmio.h"

#define DRIVER_MEMORY_BYTES (1u << 20)
#define DRIVER_QUEUE_SIZE   16u
#define DRIVER_QUEUE_GPA(q) (0x1000ull * (1u + (q))) // descriptors at +0, available at +0x800, used at +0xa00
#define DRIVER_HEAP_GPA     0x8000u

struct driver_buffer {
    uint64_t gpa;
    uint32_t len;
    bool writable;
};

struct driver {
    struct guest_memory memory;
    struct loop *loop;
    struct virtio_machine machine; // for the device's constructor
    struct virtio_device *dev;
    struct virtio_mmio mmio;
    uint64_t heap; // next free gpa
    uint16_t next_desc[VIRTIO_QUEUES_MAX], next_avail[VIRTIO_QUEUES_MAX], next_used[VIRTIO_QUEUES_MAX];
    unsigned raised;         // interrupts, atomic
    const char *broken;      // why the device broke, atomic
    pthread_t thread;        // of the loop
    struct loop_source *end; // ends it
    int end_fd;
    bool running;
};

// Zeroed memory and a loop. Aborts when there is none: tests need it.
void driver_init(struct driver *d);
void driver_done(struct driver *d); // the device was freed before
void driver_attach(struct driver *d, struct virtio_device *dev);

// The registers, as 32-bit accesses.
uint32_t driver_read(struct driver *d, uint32_t offset);
void driver_write(struct driver *d, uint32_t offset, uint32_t value);
// Steps of the initialization (virtio 1.2, section 3.1.1). start: all of it, every queue the device has.
void driver_negotiate(struct driver *d, uint64_t features);
void driver_setup_queue(struct driver *d, unsigned queue);
void driver_start(struct driver *d, uint64_t features);
struct ring_config driver_queue_config(unsigned queue);
void driver_preset(struct driver *d, uint64_t features);
// Forgets the rings' indices and clears them, before a new start.
void driver_clear_rings(struct driver *d);

// Guest memory.
uint64_t driver_alloc(struct driver *d, uint32_t len);
void *driver_at(struct driver *d, uint64_t gpa, uint32_t len);
uint64_t driver_copy(struct driver *d, const void *data, uint32_t len); // allocates

// Makes a chain available and returns its head; no kick.
uint16_t driver_push(struct driver *d, unsigned queue, const struct driver_buffer *buffers, unsigned n);
// The same, with the chain in an indirect table at gpa.
uint16_t driver_push_table(struct driver *d, unsigned queue, uint64_t gpa,
                           const struct driver_buffer *buffers, unsigned n);
uint16_t driver_push_out(struct driver *d, unsigned queue, const void *data, uint32_t len);
uint16_t driver_push_in(struct driver *d, unsigned queue, uint64_t gpa, uint32_t len);
// Kicks through QueueNotify, unless the device asked not to. True when it did kick.
bool driver_kick(struct driver *d, unsigned queue);
// The next used entry. False when there is none.
bool driver_used(struct driver *d, unsigned queue, uint16_t *ret_head, uint32_t *ret_len);
uint16_t driver_used_flags(struct driver *d, unsigned queue);
void driver_set_avail_flags(struct driver *d, unsigned queue, uint16_t flags);

// The loop on its own thread. Without it tests call virtio_device_process() themselves.
void driver_run_loop(struct driver *d);
void driver_stop_loop(struct driver *d);
// Waits for a used entry, up to 5 s. False when none came.
bool driver_wait_used(struct driver *d, unsigned queue, uint16_t *ret_head, uint32_t *ret_len);
// Waits up to 5 s for DEVICE_NEEDS_RESET. Returns why, or NULL.
const char *driver_wait_broken(struct driver *d);
