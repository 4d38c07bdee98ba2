// What a disk's back end is to the engine that runs its I/O (engine.h): a task is what the guest wants, a
// back end says step by step which single I/O comes next. Back ends do no I/O after they were opened; they
// know files, no ring, no guest and no device. Everything here runs under its device's lock.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SECTOR_BYTES 512u
#define BLOCK_IOV_MAX      126u         // buffers of one task
#define BLOCK_IO_MAX       (1u << 20)   // bytes of one I/O: what a reset can have to wait for
#define BLOCK_BYTES_MAX    (1ull << 50) // of a disk

enum block_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

enum block_opcode { BLOCK_IO_READ, BLOCK_IO_WRITE, BLOCK_IO_SYNC, BLOCK_IO_FALLOCATE };

struct block_io {
    enum block_opcode opcode;
    int fd;
    uint64_t offset, bytes; // not for SYNC, which is fdatasync
    const struct iovec *iov;
    unsigned n_iov;
    int mode; // FALLOCATE: the mode of fallocate(2)
};

struct block_task {
    // Filled by who starts it. The range is inside the disk, in whole sectors; empty for a flush.
    enum block_kind kind;
    bool unmap; // BLOCK_ZERO: the range may be given back to the host
    uint64_t offset, bytes;
    size_t n_iov; // READ and WRITE: their sum is `bytes`. They outlive the task; their contents may change
    struct iovec iov[BLOCK_IOV_MAX];
    // The back end's.
    uint64_t done; // bytes
    unsigned step;
    uint8_t *bounce;
    struct block_task *later; // the next younger task, where the back end keeps a list
    struct iovec part[BLOCK_IOV_MAX];
    // The engine's.
    struct block_io io;
    bool has_io; // it is with the kernel, or goes there again
    struct block_task *next;
};

// What next() says; or -errno: the task failed.
enum block_next {
    BLOCK_DONE,   // the task is complete
    BLOCK_SUBMIT, // *ret_io comes next
    BLOCK_WAIT,   // not before another task has ended
};

struct block_backend;

struct block_ops {
    int (*next)(struct block_backend *backend, struct block_task *task, struct block_io *ret_io);
    // The I/O ended with res: bytes (0 for SYNC and FALLOCATE) or -errno. 0: ask next() again; -errno: the
    // task failed.
    int (*done)(struct block_backend *backend, struct block_task *task, int64_t res);
    // The task is complete, failed or given up (an I/O of it may have happened, done() was not called then).
    void (*end)(struct block_backend *backend, struct block_task *task);
    void (*close)(struct block_backend *backend);
};

struct block_backend {
    const struct block_ops *ops;
    uint64_t bytes;       // a multiple of BLOCK_SECTOR_BYTES
    uint32_t block_bytes; // what is best written at once: a power of two
    bool read_only;
};

// NULL is fine. No task is running. Files that were given stay open.
static inline void block_close(struct block_backend *backend)
{
    if (backend)
        backend->ops->close(backend);
}

// For back ends. The task's buffers from task->done on, at most limit bytes, in task->part. Returns how
// many; *ret_bytes is their sum.
unsigned block_slice(struct block_task *task, uint64_t limit, uint64_t *ret_bytes);
// Copies len bytes at `from` (of the task's range) out of its buffers.
void block_copy_out(const struct block_task *task, uint64_t from, void *out, size_t len);
// Zeroes len bytes at `from` (of the task's range) in its buffers.
void block_clear(const struct block_task *task, uint64_t from, uint64_t len);
// A write of zeros at offset, of at most `bytes`: for file systems that cannot fallocate them.
struct block_io block_zeros(struct block_task *task, int fd, uint64_t offset, uint64_t bytes);
// True for what fallocate(2) says where a file system cannot do it.
bool block_cannot(int64_t res);
