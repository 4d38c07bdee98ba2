// See virtqueue.h. Called by the drivers only. The host is trusted by its guest, yet ids are masked: a wrong
// one must not turn into a wild pointer.
#include "drivers/virtqueue.h"

#define DESC_WRITE         2
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1
#define DOORBELL_OFFSET    0x50

struct virtq_desc {
    uint64_t gpa;
    uint32_t len_bytes;
    uint16_t flags, next;
};

struct virtq_avail {
    uint16_t flags, index;
    uint16_t ring[CELL_QUEUE_SIZE];
};

struct virtq_used {
    uint16_t flags, index;
    struct {
        uint32_t id, len_bytes;
    } ring[CELL_QUEUE_SIZE];
};

const struct cell_device *virtqueue_find_device(uint32_t type)
{
    const struct cell_boot *boot = cell_boot();
    for (uint32_t i = 0; i < boot->n_devices && i < CELL_DEVICES_MAX; i++)
        if (boot->devices[i].type == type)
            return &boot->devices[i];
    return NULL;
}

bool virtqueue_init(struct virtqueue *q, const struct cell_device *dev, uint32_t index, bool quiet)
{
    if (!dev || index >= dev->n_queues || index >= CELL_QUEUES_MAX)
        return false;
    uintptr_t page = dev->queue_gpa[index];
    *q = (struct virtqueue){
        .desc = (struct virtq_desc *)page,
        .avail = (struct virtq_avail *)(page + CELL_QUEUE_AVAIL),
        .used = (struct virtq_used *)(page + CELL_QUEUE_USED),
        .doorbell = (volatile uint32_t *)(uintptr_t)(dev->mmio_gpa + DOORBELL_OFFSET),
        .index = index,
    };
    if (quiet)
        virtqueue_set_quiet(q, true);
    return true;
}

void virtqueue_set_quiet(struct virtqueue *q, bool quiet)
{
    __atomic_store_n(&q->avail->flags, quiet ? AVAIL_NO_INTERRUPT : 0, __ATOMIC_RELAXED);
    // Pairs with the device's fence between publishing used entries and reading the flag.
    memory_fence();
}

void virtqueue_add(struct virtqueue *q, uint16_t id, const void *data, uint32_t len_bytes, bool device_writes)
{
    id %= CELL_QUEUE_SIZE;
    q->desc[id] = (struct virtq_desc){(uintptr_t)data, len_bytes, device_writes ? DESC_WRITE : 0, 0};
    q->avail->ring[q->avail_next % CELL_QUEUE_SIZE] = id;
    q->avail_next++;
    // Pairs with the device's acquire of avail->index: the entry is seen before the index that covers it.
    __atomic_store_n(&q->avail->index, q->avail_next, __ATOMIC_RELEASE);
}

void virtqueue_kick(struct virtqueue *q)
{
    if (q->kicked == q->avail_next)
        return;
    q->kicked = q->avail_next;
    // Pairs with the device's fence between clearing NO_NOTIFY and its last look at avail->index.
    memory_fence();
    if (!(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY))
        *q->doorbell = q->index;
}

bool virtqueue_take(struct virtqueue *q, uint16_t *ret_id, uint32_t *ret_len_bytes)
{
    // Pairs with the device's release of used->index.
    if (__atomic_load_n(&q->used->index, __ATOMIC_ACQUIRE) == q->used_seen)
        return false;
    *ret_id = q->used->ring[q->used_seen % CELL_QUEUE_SIZE].id % CELL_QUEUE_SIZE;
    *ret_len_bytes = q->used->ring[q->used_seen % CELL_QUEUE_SIZE].len_bytes;
    q->used_seen++;
    return true;
}
