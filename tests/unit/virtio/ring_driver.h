// A guest's side of a split virtqueue, for the tests of the device's (server/vmm/virtio/ring.c): one ring in
// memory of its own, which tests write as a driver does, or as none should.
#pragma once

#include "testing.h"

#include <linux/virtio_ring.h>

#include "virtio/ring.h"

#define MEMORY_BYTES (32u << 20)
#define SIZE         8u
#define DESC_GPA     0x1000u
#define AVAIL_GPA    0x3000u
#define USED_GPA     0x5000u
#define DATA_GPA     0x10000u

extern struct guest_memory memory;
extern struct ring ring;
extern struct ring_chain chain; // of the latest ring_pop()

// Memory, and the ring enabled with config.
int ring_driver_setup(const struct ring_config *config);
int ring_driver_teardown(void **state);

struct vring_desc *desc(void);
struct vring_avail *avail(void);
struct vring_used *used(void);
void set_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void make_available(uint16_t head);
// The next pop breaks the ring for this reason.
void assert_broken(const char *why);
