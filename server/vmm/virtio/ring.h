// A split virtqueue seen from the device (virtio 1.2, section 2.7). Owns the only loads and stores of the
// rings and the only memory barriers. Called by devices on the I/O thread and by device.c; knows no device
// and no transport.
//
// The guest can write all of it at any time: every index and descriptor is loaded once, into our memory, and
// validated there. What a guest must not do breaks the ring until the device is reset; nothing is ever
// asserted about a guest.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory.h"

#define RING_SIZE_MAX 256u // entries
#define RING_CHAIN_MAX                                                                                       \
    256u // buffers of a request: a chain can be as long as its ring, an indirect one always so long

// As the driver configured it. size: a power of two, 1..RING_SIZE_MAX.
struct ring_config {
    uint16_t size;
    bool event_idx;     // VIRTIO_F_EVENT_IDX was negotiated (section 2.7.10)
    bool indirect;      // VIRTIO_F_INDIRECT_DESC was (section 2.7.5.3)
    uint64_t desc_gpa;  // 16-byte aligned, 16 bytes per entry
    uint64_t avail_gpa; // 2-byte aligned, 6 + 2 bytes per entry
    uint64_t used_gpa;  // 4-byte aligned, 6 + 8 bytes per entry
};

// One popped request: the device-readable buffers, then the device-writable ones. The addresses are checked;
// the bytes behind them can still change at any time.
struct ring_chain {
    uint16_t head;
    uint16_t n_readable, n_writable; // iov[0..n_readable), iov[n_readable..n_readable + n_writable)
    uint64_t readable_bytes, writable_bytes;
    struct iovec iov[RING_CHAIN_MAX];
};

// Embedded in a device. Fields are ring.c's own.
struct ring {
    const struct guest_memory *memory;
    uint8_t *desc, *avail, *used; // NULL while disabled
    uint16_t size;
    bool event_idx, indirect;
    uint16_t next_avail; // index of the next request to pop; free-running, as the driver's
    uint16_t next_used;  // index of the next used entry to publish
    uint16_t told_used;  // next_used at the last ring_take_interrupt()
    const char *broken;  // what the guest did, NULL while all is well
};

// Starts at indices 0. 0, -EINVAL (size or alignment), or -EFAULT (not inside guest memory); the ring is
// disabled then. memory must outlive the ring and not move: the addresses are translated here, once.
int ring_enable(struct ring *ring, const struct guest_memory *memory, const struct ring_config *config);
void ring_disable(struct ring *ring);
bool ring_enabled(const struct ring *ring);

// 1: a request is in *ret. 0: none, or the ring is disabled. -EPROTO: the guest broke the ring; ring->broken
// says how.
int ring_pop(struct ring *ring, struct ring_chain *ret);
// Takes the latest pop back, unpublished; or the latest n.
void ring_unpop(struct ring *ring);
void ring_unpop_n(struct ring *ring, uint16_t n);
// Gives a popped request back, written_bytes of its writable buffers filled (from the front).
// Nothing on a ring that was disabled since.
void ring_publish(struct ring *ring, uint16_t head, uint32_t written_bytes);
// The same for n requests that the driver must see all at once: each is put at its place first, i = 0..n-1,
// n at most the ring's size.
void ring_put(struct ring *ring, uint16_t i, uint16_t head, uint32_t written_bytes);
void ring_publish_put(struct ring *ring, uint16_t n);
// True when something was published since the last call and the driver wants to be told.
bool ring_take_interrupt(struct ring *ring);

// Asks the driver not to kick while the device looks at the ring anyway. A hint: kicks may still come.
void ring_kicks_off(struct ring *ring);
// Asks for kicks again. True when requests came in meanwhile: look again before sleeping.
bool ring_kicks_on(struct ring *ring);

// Copies len bytes from offset of the readable buffers. Returns the number copied: less where the chain ends.
size_t ring_chain_read(const struct ring_chain *chain, uint64_t offset, void *out, size_t len);
// Copies len bytes to offset of the writable buffers. Returns the number copied.
size_t ring_chain_write(const struct ring_chain *chain, uint64_t offset, const void *data, size_t len);
// The buffers iov[0..n) from offset on, at most limit bytes, as at most cap entries of out. Returns the
// number of entries; *ret_bytes is their sum.
size_t ring_slice(const struct iovec *iov, size_t n, uint64_t offset, uint64_t limit, struct iovec *out,
                  size_t cap, uint64_t *ret_bytes);
// The same for the readable (or writable) buffers of a chain.
size_t ring_chain_readable(const struct ring_chain *chain, uint64_t offset, uint64_t limit, struct iovec *out,
                           size_t cap, uint64_t *ret_bytes);
size_t ring_chain_writable(const struct ring_chain *chain, uint64_t offset, uint64_t limit, struct iovec *out,
                           size_t cap, uint64_t *ret_bytes);
