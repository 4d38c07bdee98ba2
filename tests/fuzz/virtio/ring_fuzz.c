// Fuzzes the walk over rings in arbitrary memory: whatever the guest wrote, requests lie inside its memory,
// and their sums are right. Input: u8 log2 of the size | 0x10 EVENT_IDX | 0x20 INDIRECT_DESC, three u16
// addresses, then guest memory from 0.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/ring.h"

#define MEMORY_BYTES 0x10000u

static struct guest_memory memory;

static void check_chain(const struct ring_chain *chain)
{
    uint64_t readable = 0, writable = 0;
    if ((unsigned)chain->n_readable + chain->n_writable > RING_CHAIN_MAX)
        abort();
    for (unsigned i = 0; i < (unsigned)chain->n_readable + chain->n_writable; i++) {
        const uint8_t *p = chain->iov[i].iov_base;
        if (p < memory.hva || chain->iov[i].iov_len == 0 ||
            chain->iov[i].iov_len > (size_t)(memory.hva + MEMORY_BYTES - p))
            abort();
        *(i < chain->n_readable ? &readable : &writable) += chain->iov[i].iov_len;
    }
    if (readable != chain->readable_bytes || writable != chain->writable_bytes)
        abort();
}

static void use_chain(struct ring *ring, struct ring_chain *chain, unsigned turn)
{
    uint8_t bytes[64];
    size_t n = ring_chain_read(chain, turn, bytes, sizeof bytes);
    if (n != (chain->readable_bytes <= turn                 ? 0
              : chain->readable_bytes - turn > sizeof bytes ? sizeof bytes
                                                            : chain->readable_bytes - turn))
        abort();
    ring_chain_write(chain, turn, bytes, n); // may well hit the rings themselves
    if (turn % 7 == 6) {
        ring_unpop(ring);
    } else if (turn % 7 == 5) {
        ring_put(ring, 0, chain->head, 0);
        ring_put(ring, 1, chain->head, (uint32_t)n);
        ring_publish_put(ring, 2);
    } else {
        ring_publish(ring, chain->head, (uint32_t)chain->writable_bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ring ring;
    struct ring_chain chain;
    struct err err;
    uint8_t head[7] = {0};
    size_t n = size < sizeof head ? size : sizeof head;
    memcpy(head, data, n);
    if (!memory.hva && guest_memory_init(&memory, MEMORY_BYTES, GUEST_MEMORY_SMALL_PAGES, &err) < 0)
        abort();
    memset(memory.hva, 0, MEMORY_BYTES);
    memcpy(memory.hva, data + n, size - n < MEMORY_BYTES ? size - n : MEMORY_BYTES);
    struct ring_config config = {.size = (uint16_t)(1u << (head[0] % 16u % 10u)),
                                 .event_idx = head[0] & 0x10,
                                 .indirect = head[0] & 0x20,
                                 .desc_gpa = (uint64_t)(head[1] | head[2] << 8),
                                 .avail_gpa = (uint64_t)(head[3] | head[4] << 8),
                                 .used_gpa = (uint64_t)(head[5] | head[6] << 8)};
    if (ring_enable(&ring, &memory, &config) < 0)
        return 0;
    for (unsigned turn = 0; turn < 600 && ring_pop(&ring, &chain) == 1; turn++) {
        check_chain(&chain);
        use_chain(&ring, &chain, turn);
        ring_kicks_off(&ring);
        ring_kicks_on(&ring);
        ring_take_interrupt(&ring);
    }
    return 0;
}
