// The driver's side of one split virtqueue (virtio 1.2, 2.7) whose page envvm has set up (cell.h): every
// buffer is one descriptor. The only file of the kernel with ring barriers. Knows nothing of what is in the
// buffers.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/kernel.h"

struct virtqueue {
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    volatile uint32_t *doorbell;
    uint32_t index;      // of the queue in its device
    uint16_t avail_next; // free running
    uint16_t used_seen;
    uint16_t kicked; // avail_next at the last doorbell
};

// The device of a type, or NULL when envvm gave none.
const struct cell_device *virtqueue_find_device(uint32_t type);
// False when the device has no such queue. quiet: no notice of used buffers is wanted.
bool virtqueue_init(struct virtqueue *q, const struct cell_device *dev, uint32_t index, bool quiet);
// Asks for notices, or asks for none. Look at the ring once more after asking.
void virtqueue_set_quiet(struct virtqueue *q, bool quiet);
// Makes buffer `id` (0..CELL_QUEUE_SIZE-1, not in flight) available. device_writes: the device fills it.
void virtqueue_add(struct virtqueue *q, uint16_t id, const void *data, uint32_t len_bytes,
                   bool device_writes);
// Tells the device of what was added since the last kick, unless it said that it looks by itself.
void virtqueue_kick(struct virtqueue *q);
// The next buffer that the device has finished with: its id and how much it wrote. False when there is none.
bool virtqueue_take(struct virtqueue *q, uint16_t *ret_id, uint32_t *ret_len_bytes);
