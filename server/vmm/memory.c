// Owns the mapping of guest memory. Called by boot (to fill it) and virtio (through the checked translation).
#include "memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "common/checked.h"
#include "common/io.h"

#define PAGE_BYTES    4096u
#define CHUNK_PAGES   16384u
#define COUNT_SHARE   100u // of the time that counting took, until the next
#define COUNT_MIN_GAP 100000000ull
#define HUGE_PAGE     0x200000ull

// Where it lies modulo `align`, guest-physical 0 must lie too: KVM maps a huge page only as one.
static void *map_aligned(uint64_t size_bytes, uint64_t align)
{
    const uint64_t more = align - PAGE_BYTES;
    uint8_t *p = mmap(NULL, size_bytes + more, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    const uint64_t before = -(uintptr_t)p & (align - 1);
    if (before > 0)
        munmap(p, before);
    if (more > before)
        munmap(p + before + size_bytes, more - before);
    return p + before;
}

int guest_memory_init(struct guest_memory *mem, uint64_t size_bytes, enum guest_memory_pages pages,
                      struct err *err)
{
    void *p = map_aligned(size_bytes, pages == GUEST_MEMORY_HUGE_PAGES ? HUGE_PAGE : PAGE_BYTES);
    if (!p)
        return err_errno(err, -errno, "map %llu bytes of guest memory", (unsigned long long)size_bytes);
    // A huge page is 2 MiB resident for the first byte touched: too much for a cell, and less work for a
    // guest that touches all. Fails only where there are none.
    madvise(p, size_bytes, pages == GUEST_MEMORY_HUGE_PAGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    *mem = (struct guest_memory){.hva = p, .size_bytes = size_bytes};
    if (size_bytes > GUEST_MEMORY_LOW_MAX) {
        mem->size_bytes = GUEST_MEMORY_LOW_MAX;
        mem->high_hva = mem->hva + GUEST_MEMORY_LOW_MAX;
        mem->high_bytes = size_bytes - GUEST_MEMORY_LOW_MAX;
    }
    return 0;
}

void guest_memory_done(struct guest_memory *mem)
{
    if (mem->hva)
        munmap(mem->hva, mem->size_bytes + mem->high_bytes);
    *mem = (struct guest_memory){0};
}

void *guest_memory_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
    if (len == 0)
        return NULL;
    if (range_inside(gpa, len, mem->size_bytes))
        return mem->hva + gpa;
    if (gpa >= GUEST_MEMORY_HIGH_GPA && range_inside(gpa - GUEST_MEMORY_HIGH_GPA, len, mem->high_bytes))
        return mem->high_hva + (gpa - GUEST_MEMORY_HIGH_GPA);
    return NULL;
}

static uint64_t resident_pages(uint8_t *hva, uint64_t bytes)
{
    uint8_t present[CHUNK_PAGES];
    uint64_t n = 0;
    const uint64_t chunk = (uint64_t)CHUNK_PAGES * PAGE_BYTES;
    for (uint64_t at = 0; at < bytes; at += chunk) {
        const uint64_t len = bytes - at < chunk ? bytes - at : chunk;
        if (mincore(hva + at, len, present) < 0)
            return n;
        for (uint64_t i = 0; i < len / PAGE_BYTES; i++)
            n += present[i] & 1;
    }
    return n;
}

uint64_t guest_memory_resident(const struct guest_memory *mem, struct memory_residency *r, uint64_t now_ns)
{
    if (now_ns < r->again_ns)
        return r->bytes;
    r->bytes = resident_pages(mem->hva, mem->size_bytes + mem->high_bytes) * PAGE_BYTES;
    const uint64_t end_ns = io_monotonic_ns();
    const uint64_t gap_ns = (end_ns - now_ns) * COUNT_SHARE;
    r->again_ns = end_ns + (gap_ns > COUNT_MIN_GAP ? gap_ns : COUNT_MIN_GAP);
    return r->bytes;
}
