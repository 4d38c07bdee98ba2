// Owns the mapping of guest memory. Called by boot (to fill it) and virtio (through the checked translation).
#include "memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "common/checked.h"

#define PAGE_BYTES 4096u
#define HUGE_PAGE  0x200000ull

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
