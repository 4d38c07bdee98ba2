// Owns the mapping of guest memory. Called by boot (to fill it) and virtio (through the checked translation).
#include "memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "common/checked.h"

int guest_memory_init(struct guest_memory *mem, uint64_t size_bytes, struct err *err)
{
    void *p =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return err_errno(err, -errno, "map %llu bytes of guest memory", (unsigned long long)size_bytes);
    // A huge page would be 2 MiB resident for the first byte touched; a cell is meant to cost less. Fails
    // only where there are none.
    madvise(p, size_bytes, MADV_NOHUGEPAGE);
    *mem = (struct guest_memory){.hva = p, .size_bytes = size_bytes};
    return 0;
}

void guest_memory_done(struct guest_memory *mem)
{
    if (mem->hva)
        munmap(mem->hva, mem->size_bytes);
    *mem = (struct guest_memory){0};
}

void *guest_memory_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
    if (len == 0 || !range_inside(gpa, len, mem->size_bytes))
        return NULL;
    return mem->hva + gpa;
}
