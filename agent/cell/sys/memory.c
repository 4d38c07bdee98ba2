// System calls of memory: brk, mmap and its family. Page tables are envvm's and map all of RAM, so
// protections are recorded nowhere: PROT_NONE reserves. A private file mapping is a copy.
#include "sys/memory.h"

#include <asm/fcntl.h>
#include <asm/mman.h>
#include <linux/errno.h>
#include <linux/mman.h>

#include "base/kernel.h"
#include "base/string.h"
#include "fs/content.h"
#include "fs/file.h"
#include "fs/tree.h"
#include "mem/pages.h"
#include "sys/handlers.h"
#include "sys/user.h"

static uint64_t brk_start, brk_now;

void memory_init(uint64_t program_end, uint64_t heap_start)
{
    brk_start = brk_now = page_round_up(program_end > heap_start ? program_end : heap_start);
}

int64_t sys_brk(const uint64_t a[6])
{
    uint64_t wanted = a[0], old_end = page_round_up(brk_now);
    if (wanted < brk_start || wanted > pages_end())
        return (int64_t)brk_now;
    uint64_t new_end = page_round_up(wanted);
    if (new_end > old_end && !pages_map_at(old_end, (new_end - old_end) / PAGE_BYTES))
        return (int64_t)brk_now;
    if (new_end < old_end)
        pages_unmap(new_end, (old_end - new_end) / PAGE_BYTES);
    brk_now = wanted;
    return (int64_t)wanted;
}

// The file to copy from, or NULL with *ret_rc: 0 for anonymous memory, or an error.
static struct file *mapped_file(uint64_t prot, uint64_t flags, uint64_t fd, int64_t *ret_rc)
{
    *ret_rc = 0;
    if (flags & MAP_ANONYMOUS)
        return NULL;
    struct file *file = files_get(fd);
    if (!file) {
        *ret_rc = -EBADF;
        return NULL;
    }
    if (file->node && file->node->kind == NODE_DEVICE && file->node->device == DEVICE_ZERO)
        return NULL;
    // A copy cannot be written back.
    bool written_back = (flags & MAP_SHARED) && (prot & PROT_WRITE);
    if (!file->node || file->node->kind != NODE_FILE || written_back)
        *ret_rc = -ENODEV;
    else if ((file->flags & O_ACCMODE) == O_WRONLY)
        *ret_rc = -EACCES;
    return *ret_rc ? NULL : file;
}

// An address for n pages, or a negative error.
static int64_t place_mapping(uint64_t hint, size_t n, uint64_t flags)
{
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (hint % PAGE_BYTES)
            return -EINVAL;
        if (!(flags & MAP_FIXED_NOREPLACE))
            pages_unmap(hint, n);
        if (pages_map_at(hint, n))
            return (int64_t)hint;
        return flags & MAP_FIXED_NOREPLACE ? -EEXIST : -ENOMEM;
    }
    if (hint && hint % PAGE_BYTES == 0 && pages_map_at(hint, n))
        return (int64_t)hint;
    uintptr_t address = pages_map(n);
    return address ? (int64_t)address : -ENOMEM;
}

int64_t sys_mmap(const uint64_t a[6])
{
    uint64_t len = a[1], flags = a[3], offset = a[5];
    uint64_t type = flags & MAP_TYPE;
    int64_t rc;
    if (!len || offset % PAGE_BYTES ||
        (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
        return -EINVAL;
    if (len > cell_boot()->memory_bytes || (flags & MAP_HUGETLB))
        return -ENOMEM;
    struct file *file = mapped_file(a[2], flags, a[4], &rc);
    if (rc < 0)
        return rc;
    rc = place_mapping(a[0], page_round_up(len) / PAGE_BYTES, flags);
    if (rc > 0 && file)
        content_read(file->node, offset, (void *)rc, len);
    return rc;
}

int64_t sys_munmap(const uint64_t a[6])
{
    if (a[0] % PAGE_BYTES || !a[1] || a[1] > cell_boot()->memory_bytes)
        return -EINVAL;
    pages_unmap(a[0], page_round_up(a[1]) / PAGE_BYTES);
    return 0;
}

int64_t sys_mprotect(const uint64_t a[6])
{
    return a[0] % PAGE_BYTES ? -EINVAL : 0;
}

int64_t sys_madvise(const uint64_t a[6])
{
    if (a[0] % PAGE_BYTES)
        return -EINVAL;
    if (a[2] != MADV_DONTNEED)
        return 0; // advice may be ignored
    // This one may not: allocators count on zeros afterwards.
    for (uint64_t at = a[0]; at - a[0] < a[1]; at += PAGE_BYTES)
        if (pages_all_mapped(at, 1))
            memset((void *)at, 0, PAGE_BYTES);
    return 0;
}

static int64_t move_mapping(uint64_t old, size_t old_pages, size_t new_pages)
{
    uintptr_t fresh = pages_map(new_pages);
    if (!fresh)
        return -ENOMEM;
    memcpy((void *)fresh, (const void *)old, old_pages * PAGE_BYTES);
    pages_unmap(old, old_pages);
    return (int64_t)fresh;
}

int64_t sys_mremap(const uint64_t a[6])
{
    uint64_t old = a[0], old_len = page_round_up(a[1]), new_len = page_round_up(a[2]), flags = a[3];
    if (old % PAGE_BYTES || !old_len || !new_len || (flags & ~(uint64_t)MREMAP_MAYMOVE))
        return -EINVAL;
    if (new_len > cell_boot()->memory_bytes)
        return -ENOMEM;
    if (!pages_all_mapped(old, old_len / PAGE_BYTES))
        return -EFAULT;
    if (new_len <= old_len) {
        pages_unmap(old + new_len, (old_len - new_len) / PAGE_BYTES);
        return (int64_t)old;
    }
    if (pages_map_at(old + old_len, (new_len - old_len) / PAGE_BYTES))
        return (int64_t)old;
    return flags & MREMAP_MAYMOVE ? move_mapping(old, old_len / PAGE_BYTES, new_len / PAGE_BYTES) : -ENOMEM;
}
