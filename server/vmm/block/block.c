// Owns the arithmetic on tasks' buffers that all back ends share. Called by them; does no I/O.
#include "block/block.h"

#include <errno.h>
#include <string.h>

#define ZEROS_BYTES (64u << 10) // not smaller than an overlay's largest block

// The buffers from offset on, at most limit bytes.
static unsigned slice(const struct block_task *task, uint64_t offset, uint64_t limit, struct iovec *out,
                      uint64_t *ret_bytes)
{
    unsigned n = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < task->n_iov && bytes < limit; i++) {
        uint64_t len = task->iov[i].iov_len;
        if (offset >= len) {
            offset -= len;
            continue;
        }
        uint64_t take = len - offset < limit - bytes ? len - offset : limit - bytes;
        out[n++] = (struct iovec){.iov_base = (uint8_t *)task->iov[i].iov_base + offset, .iov_len = take};
        bytes += take;
        offset = 0;
    }
    *ret_bytes = bytes;
    return n;
}

unsigned block_slice(struct block_task *task, uint64_t limit, uint64_t *ret_bytes)
{
    return slice(task, task->done, limit < BLOCK_IO_MAX ? limit : BLOCK_IO_MAX, task->part, ret_bytes);
}

void block_copy_out(const struct block_task *task, uint64_t from, void *out, size_t len)
{
    struct iovec part[BLOCK_IOV_MAX];
    uint64_t bytes;
    unsigned n = slice(task, from, len, part, &bytes);
    for (unsigned i = 0; i < n; i++) {
        memcpy(out, part[i].iov_base, part[i].iov_len);
        out = (uint8_t *)out + part[i].iov_len;
    }
}

void block_clear(const struct block_task *task, uint64_t from, uint64_t len)
{
    struct iovec part[BLOCK_IOV_MAX];
    uint64_t bytes;
    unsigned n = slice(task, from, len, part, &bytes);
    for (unsigned i = 0; i < n; i++)
        memset(part[i].iov_base, 0, part[i].iov_len);
}

struct block_io block_zeros(struct block_task *task, int fd, uint64_t offset, uint64_t bytes)
{
    static uint8_t zeros[ZEROS_BYTES]; // never written: costs no memory
    task->part[0] = (struct iovec){.iov_base = zeros, .iov_len = bytes < ZEROS_BYTES ? bytes : ZEROS_BYTES};
    return (struct block_io){.opcode = BLOCK_IO_WRITE,
                             .fd = fd,
                             .offset = offset,
                             .bytes = task->part[0].iov_len,
                             .iov = task->part,
                             .n_iov = 1};
}

bool block_cannot(int64_t res)
{
    return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENODEV;
}
