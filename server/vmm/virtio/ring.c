// Owns the device side of a split virtqueue: the only code that loads from and stores to rings, and the only
// memory barriers. Called by the devices' process functions and by transport.c; knows no device.
//
//   descriptor table          available ring (driver writes)      used ring (device writes)
//   0    8     12     14      0       2     4                     0       2     4         8
//   | addr | len | flags | next  | flags | idx | ring[size] u16     | flags | idx | id, len | …
//                                | used_event u16                   | avail_event u16
//
// The two events are there with EVENT_IDX: the index whose entry the other side wants to be told of. The
// flags are not used then. An indirect descriptor names a table of more descriptors.
//
// Little endian throughout (virtio 1.2, section 1.4); envvm runs on x86-64 only.
#include "virtio/ring.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC_BYTES       16u
#define AVAIL_FLAGS      0u
#define AVAIL_IDX        2u
#define AVAIL_RING       4u
#define USED_FLAGS       0u
#define USED_IDX         2u
#define USED_RING        4u
#define USED_ENTRY_BYTES 8u
#define CHAIN_BYTES_MAX  (1ull << 32)       // section 2.7.5
#define TABLE_BYTES_MAX  (DESC_BYTES << 16) // more could not be reached by a 16-bit next

_Static_assert(sizeof(struct vring_desc) == DESC_BYTES, "section 2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == USED_ENTRY_BYTES, "section 2.7.8");

// Guest memory is loaded by these three and no others, each time exactly once: the compiler must neither
// repeat nor split a load, for the guest may store in between. Alignment was checked by ring_enable().
static uint16_t load_u16(const uint8_t *p)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
}

// Indirect tables may lie anywhere.
typedef uint64_t __attribute__((aligned(1), may_alias)) u64_anywhere;

static uint64_t load_u64(const uint8_t *p)
{
    return *(const volatile u64_anywhere *)p;
}

// Barrier: acquire. Pairs with the driver's release (write barrier) between filling ring entries and
// descriptors and storing the available idx (section 2.7.13.3): what the index covers is visible once the
// index is.
static uint16_t load_avail_idx(const struct ring *ring)
{
    return __atomic_load_n((const uint16_t *)(const void *)(ring->avail + AVAIL_IDX), __ATOMIC_ACQUIRE);
}

static void store_u32(uint8_t *p, uint32_t v)
{
    __atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}

static uint8_t *used_event(const struct ring *ring)
{
    return ring->avail + AVAIL_RING + 2ul * ring->size;
}

static uint8_t *avail_event(const struct ring *ring)
{
    return ring->used + USED_RING + (size_t)USED_ENTRY_BYTES * ring->size;
}

static void *part_at(const struct guest_memory *memory, uint64_t gpa, uint64_t len, uint64_t align)
{
    return gpa % align == 0 ? guest_memory_at(memory, gpa, len) : NULL;
}

int ring_enable(struct ring *ring, const struct guest_memory *memory, const struct ring_config *config)
{
    *ring = (struct ring){0};
    uint16_t size = config->size;
    if (size == 0 || size > RING_SIZE_MAX || (size & (size - 1)) != 0)
        return -EINVAL;
    uint8_t *desc = part_at(memory, config->desc_gpa, (uint64_t)DESC_BYTES * size, 16);
    uint8_t *avail = part_at(memory, config->avail_gpa, AVAIL_RING + 2ull * size + 2, 2);
    uint8_t *used = part_at(memory, config->used_gpa, USED_RING + (uint64_t)USED_ENTRY_BYTES * size + 2, 4);
    if (!desc || !avail || !used)
        return -EFAULT;
    *ring = (struct ring){.memory = memory,
                          .desc = desc,
                          .avail = avail,
                          .used = used,
                          .size = size,
                          .event_idx = config->event_idx,
                          .indirect = config->indirect};
    return 0;
}

void ring_disable(struct ring *ring)
{
    *ring = (struct ring){0};
}

bool ring_enabled(const struct ring *ring)
{
    return ring->desc != NULL;
}

static int ring_break(struct ring *ring, const char *why)
{
    ring->broken = why;
    return -EPROTO;
}

// Adds one snapshotted descriptor to the chain.
static int chain_append(struct ring *ring, struct ring_chain *chain, const struct vring_desc *desc)
{
    unsigned n = (unsigned)chain->n_readable + chain->n_writable;
    bool writable = desc->flags & VRING_DESC_F_WRITE;
    if (n == RING_CHAIN_MAX)
        return ring_break(ring, "a descriptor chain longer than any queue");
    if (!writable && chain->n_writable > 0)
        return ring_break(ring, "a readable descriptor after a writable one");
    void *hva = guest_memory_at(ring->memory, desc->addr, desc->len);
    if (!hva)
        return ring_break(ring, "an empty descriptor, or one outside guest memory");
    chain->iov[n] = (struct iovec){.iov_base = hva, .iov_len = desc->len};
    if (writable) {
        chain->n_writable++;
        chain->writable_bytes += desc->len;
    } else {
        chain->n_readable++;
        chain->readable_bytes += desc->len;
    }
    if (chain->readable_bytes + chain->writable_bytes > CHAIN_BYTES_MAX)
        return ring_break(ring, "a descriptor chain of more than 4 GiB");
    return 0;
}

// Where descriptors are walked: the ring's own, or an indirect table. steps: how many may still be taken, so
// that a chain that loops ends.
struct table {
    const uint8_t *desc;
    uint32_t n, steps;
    bool is_indirect; // not told by the address: a guest may name its ring's own table
};

// Copies descriptor `index`, in two loads.
static struct vring_desc snapshot(const struct table *table, uint16_t index)
{
    const uint8_t *p = table->desc + (size_t)index * DESC_BYTES;
    uint64_t addr = load_u64(p);
    uint64_t rest = load_u64(p + 8);
    return (struct vring_desc){
        .addr = addr, .len = (uint32_t)rest, .flags = (uint16_t)(rest >> 32), .next = (uint16_t)(rest >> 48)};
}

// From the ring's table into the indirect one that desc names. It is the last of its chain; whether it says
// that it is writable means nothing (section 2.7.5.3.2).
static int enter_table(struct ring *ring, const struct vring_desc *desc, struct table *table)
{
    if (!ring->indirect)
        return ring_break(ring, "an indirect descriptor, which was not negotiated");
    if (table->is_indirect)
        return ring_break(ring, "an indirect descriptor inside an indirect table");
    if (desc->flags & VRING_DESC_F_NEXT)
        return ring_break(ring, "an indirect descriptor with a next one");
    if (desc->len == 0 || desc->len % DESC_BYTES != 0 || desc->len > TABLE_BYTES_MAX)
        return ring_break(ring, "an indirect table of a wrong length");
    const uint8_t *at = guest_memory_at(ring->memory, desc->addr, desc->len);
    if (!at)
        return ring_break(ring, "an indirect table outside guest memory");
    // Linux makes indirect chains longer than a small queue, though section 2.7.5.3.1 forbids it.
    *table =
        (struct table){.desc = at, .n = desc->len / DESC_BYTES, .steps = RING_CHAIN_MAX, .is_indirect = true};
    return 0;
}

static int walk(struct ring *ring, uint16_t head, struct ring_chain *ret)
{
    struct table table = {.desc = ring->desc, .n = ring->size, .steps = ring->size};
    uint16_t index = head;
    bool more = true;
    ret->head = head;
    ret->n_readable = ret->n_writable = 0;
    ret->readable_bytes = ret->writable_bytes = 0;
    while (more) {
        if (index >= table.n)
            return ring_break(ring, "a descriptor index beyond its table");
        if (table.steps-- == 0)
            return ring_break(ring, "a descriptor chain longer than its queue");
        struct vring_desc desc = snapshot(&table, index);
        bool indirect = desc.flags & VRING_DESC_F_INDIRECT;
        int rc = indirect ? enter_table(ring, &desc, &table) : chain_append(ring, ret, &desc);
        if (rc < 0)
            return rc;
        more = indirect || (desc.flags & VRING_DESC_F_NEXT);
        index = indirect ? 0 : desc.next;
    }
    return 0;
}

int ring_pop(struct ring *ring, struct ring_chain *ret)
{
    if (ring->broken)
        return -EPROTO;
    if (!ring_enabled(ring))
        return 0;
    uint16_t n = (uint16_t)(load_avail_idx(ring) - ring->next_avail);
    if (n == 0)
        return 0;
    if (n > ring->size)
        return ring_break(ring, "more requests available than the queue holds");
    uint16_t slot = ring->next_avail & (uint16_t)(ring->size - 1);
    int rc = walk(ring, load_u16(ring->avail + AVAIL_RING + 2ul * slot), ret);
    if (rc < 0)
        return rc;
    ring->next_avail++;
    return 1;
}

void ring_unpop(struct ring *ring)
{
    ring_unpop_n(ring, 1);
}

void ring_unpop_n(struct ring *ring, uint16_t n)
{
    ring->next_avail -= n;
}

void ring_put(struct ring *ring, uint16_t i, uint16_t head, uint32_t written_bytes)
{
    if (!ring_enabled(ring))
        return;
    uint16_t slot = (uint16_t)(ring->next_used + i) & (uint16_t)(ring->size - 1);
    uint8_t *entry = ring->used + USED_RING + (size_t)USED_ENTRY_BYTES * slot;
    store_u32(entry, head);
    store_u32(entry + 4, written_bytes);
}

void ring_publish_put(struct ring *ring, uint16_t n)
{
    if (!ring_enabled(ring))
        return;
    ring->next_used += n;
    // Barrier: release. Pairs with the driver's read barrier between the used idx and the used entry (section
    // 2.7.14): entries and buffers are visible before the index.
    __atomic_store_n((uint16_t *)(void *)(ring->used + USED_IDX), ring->next_used, __ATOMIC_RELEASE);
}

void ring_publish(struct ring *ring, uint16_t head, uint32_t written_bytes)
{
    ring_put(ring, 0, head, written_bytes);
    ring_publish_put(ring, 1);
}

// The event lies in [told, used), all modulo 2^16 (section 2.7.10, vring_need_event()).
static bool passed(uint16_t event, uint16_t used, uint16_t told)
{
    return (uint16_t)(used - event - 1u) < (uint16_t)(used - told);
}

bool ring_take_interrupt(struct ring *ring)
{
    uint16_t told = ring->told_used, used = ring->next_used;
    if (told == used)
        return false;
    ring->told_used = used;
    // Barrier: full, between the used idx's store in ring_publish_put() and these loads. Pairs with the
    // driver's full barrier between storing used_event, or clearing NO_INTERRUPT, and looking at the used idx
    // again (section 2.7.7): either we see what it stored or the driver sees the entry.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->event_idx)
        return passed(load_u16(used_event(ring)), used, told);
    return !(load_u16(ring->avail + AVAIL_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
}

// With EVENT_IDX, avail_event stays behind what the driver adds, and the flags have no meaning.
void ring_kicks_off(struct ring *ring)
{
    if (ring_enabled(ring) && !ring->event_idx)
        __atomic_store_n((uint16_t *)(void *)(ring->used + USED_FLAGS), VRING_USED_F_NO_NOTIFY,
                         __ATOMIC_RELAXED);
}

bool ring_kicks_on(struct ring *ring)
{
    if (!ring_enabled(ring))
        return false;
    uint8_t *at = ring->event_idx ? avail_event(ring) : ring->used + USED_FLAGS;
    // Barrier: full, between this store and load. Pairs with the driver's full barrier between storing the
    // available idx and loading avail_event, or the used flags (section 2.7.13.4.1): either the driver kicks
    // or we see its request.
    __atomic_store_n((uint16_t *)(void *)at, ring->event_idx ? ring->next_avail : 0, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load_avail_idx(ring) != ring->next_avail;
}

size_t ring_slice(const struct iovec *iov, size_t n, uint64_t offset, uint64_t limit, struct iovec *out,
                  size_t cap, uint64_t *ret_bytes)
{
    size_t used = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n && used < cap && bytes < limit; i++) {
        uint64_t len = iov[i].iov_len;
        if (offset >= len) {
            offset -= len;
            continue;
        }
        uint64_t take = len - offset < limit - bytes ? len - offset : limit - bytes;
        out[used++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + offset, .iov_len = take};
        bytes += take;
        offset = 0;
    }
    *ret_bytes = bytes;
    return used;
}

size_t ring_chain_readable(const struct ring_chain *chain, uint64_t offset, uint64_t limit, struct iovec *out,
                           size_t cap, uint64_t *ret_bytes)
{
    return ring_slice(chain->iov, chain->n_readable, offset, limit, out, cap, ret_bytes);
}

size_t ring_chain_writable(const struct ring_chain *chain, uint64_t offset, uint64_t limit, struct iovec *out,
                           size_t cap, uint64_t *ret_bytes)
{
    return ring_slice(chain->iov + chain->n_readable, chain->n_writable, offset, limit, out, cap, ret_bytes);
}

// Not inlined into devices (it is in another translation unit): what it copied is what they go on to read.
size_t ring_chain_read(const struct ring_chain *chain, uint64_t offset, void *out, size_t len)
{
    size_t done = 0;
    struct iovec part;
    uint64_t n;
    while (done < len && ring_chain_readable(chain, offset + done, len - done, &part, 1, &n) == 1) {
        memcpy((uint8_t *)out + done, part.iov_base, n);
        done += n;
    }
    return done;
}

size_t ring_chain_write(const struct ring_chain *chain, uint64_t offset, const void *data, size_t len)
{
    size_t done = 0;
    struct iovec part;
    uint64_t n;
    while (done < len && ring_chain_writable(chain, offset + done, len - done, &part, 1, &n) == 1) {
        memcpy(part.iov_base, (const uint8_t *)data + done, n);
        done += n;
    }
    return done;
}
