// Owns the device side of a split virtqueue: the only code that loads from and stores to rings, and the only
// memory barriers. Called by the devices' process functions and by transport.c; knows no device.
//
//   descriptor table          available ring (driver writes)      used ring (device writes)
//   0    8     12     14      0       2     4                     0       2     4         8
//   | addr | len | flags | next  | flags | idx | ring[size] u16     | flags | idx | id, len | …
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
#define CHAIN_BYTES_MAX  (1ull << 32) // section 2.7.5

_Static_assert(sizeof(struct vring_desc) == DESC_BYTES, "section 2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == USED_ENTRY_BYTES, "section 2.7.8");

// Guest memory is loaded by these three and no others, each time exactly once: the compiler must neither
// repeat nor split a load, for the guest may store in between. Alignment was checked by ring_enable().
static uint16_t load_u16(const uint8_t *p)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
}

static uint64_t load_u64(const uint8_t *p)
{
    return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
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
    *ring = (struct ring){.memory = memory, .desc = desc, .avail = avail, .used = used, .size = size};
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
    if (desc->flags & VRING_DESC_F_INDIRECT)
        return ring_break(ring, "an indirect descriptor, which was not negotiated");
    if (n == ring->size)
        return ring_break(ring, "a descriptor chain longer than its queue");
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

// Copies descriptor `index`, in two loads.
static struct vring_desc snapshot(const struct ring *ring, uint16_t index)
{
    const uint8_t *p = ring->desc + (size_t)index * DESC_BYTES;
    uint64_t addr = load_u64(p);
    uint64_t rest = load_u64(p + 8);
    return (struct vring_desc){
        .addr = addr, .len = (uint32_t)rest, .flags = (uint16_t)(rest >> 32), .next = (uint16_t)(rest >> 48)};
}

// A chain that loops is longer than its queue: chain_append() ends it.
static int walk(struct ring *ring, uint16_t head, struct ring_chain *ret)
{
    ret->head = head;
    ret->n_readable = ret->n_writable = 0;
    ret->readable_bytes = ret->writable_bytes = 0;
    for (uint16_t index = head;;) {
        if (index >= ring->size)
            return ring_break(ring, "a descriptor index beyond the queue");
        struct vring_desc desc = snapshot(ring, index);
        int rc = chain_append(ring, ret, &desc);
        if (rc < 0)
            return rc;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 0;
        index = desc.next;
    }
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
    ring->next_avail--;
}

void ring_publish(struct ring *ring, uint16_t head, uint32_t written_bytes)
{
    if (!ring_enabled(ring))
        return;
    uint8_t *entry =
        ring->used + USED_RING + (size_t)USED_ENTRY_BYTES * (ring->next_used & (ring->size - 1u));
    store_u32(entry, head);
    store_u32(entry + 4, written_bytes);
    ring->next_used++;
    // Barrier: release, made sequentially consistent. Pairs with the driver's read barrier between the used
    // idx and the used entry (section 2.7.14): entry and buffers are visible before the index. The stronger
    // order is for ring_take_interrupt().
    __atomic_store_n((uint16_t *)(void *)(ring->used + USED_IDX), ring->next_used, __ATOMIC_SEQ_CST);
    ring->published = true;
}

bool ring_take_interrupt(struct ring *ring)
{
    if (!ring->published)
        return false;
    ring->published = false;
    // Barrier: full, between the used idx's store in ring_publish() and this load. Pairs with the driver's
    // full barrier between clearing NO_INTERRUPT and looking at the used idx again (section 2.7.7): either we
    // see the flag cleared or the driver sees the entry.
    uint16_t flags = __atomic_load_n((uint16_t *)(void *)(ring->avail + AVAIL_FLAGS), __ATOMIC_SEQ_CST);
    return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
}

void ring_kicks_off(struct ring *ring)
{
    if (ring_enabled(ring))
        __atomic_store_n((uint16_t *)(void *)(ring->used + USED_FLAGS), VRING_USED_F_NO_NOTIFY,
                         __ATOMIC_RELAXED);
}

bool ring_kicks_on(struct ring *ring)
{
    if (!ring_enabled(ring))
        return false;
    __atomic_store_n((uint16_t *)(void *)(ring->used + USED_FLAGS), 0, __ATOMIC_SEQ_CST);
    // Barrier: full, between the flag's store and this load. Pairs with the driver's full barrier between
    // storing the available idx and loading the used flags (section 2.7.13.4.1): either the driver kicks or
    // we see its request.
    uint16_t idx = __atomic_load_n((uint16_t *)(void *)(ring->avail + AVAIL_IDX), __ATOMIC_SEQ_CST);
    return idx != ring->next_avail;
}

// The buffers iov[0..n) from offset on, at most limit bytes, as at most cap entries.
static size_t slice(const struct iovec *iov, size_t n, uint64_t offset, uint64_t limit, struct iovec *out,
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
    return slice(chain->iov, chain->n_readable, offset, limit, out, cap, ret_bytes);
}

size_t ring_chain_writable(const struct ring_chain *chain, uint64_t offset, uint64_t limit, struct iovec *out,
                           size_t cap, uint64_t *ret_bytes)
{
    return slice(chain->iov + chain->n_readable, chain->n_writable, offset, limit, out, cap, ret_bytes);
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
