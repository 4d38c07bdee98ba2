// The raw back end: a task is a run of I/O at the same offset of one file. Called by the engine; knows no
// guest.
//
// Flush is fdatasync. After one failed, the kernel has dropped what it could not write and would report the
// next one as a success: the disk's flushes fail from then on, so that the guest's file system stops trusting
// it. A discard is a hole; where the file system has none, nothing.
#include "block/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAW_BLOCK_BYTES 4096u
#define LOCK_TRIES      2000u
#define LOCK_TRY_US     1000u

enum { STEP_FIRST, STEP_BY_HAND }; // of BLOCK_ZERO: fallocate, or writes of zeros

struct raw {
    struct block_backend backend; // first: ops get a pointer to it
    int fd;
    bool sync_failed;
};

static struct block_io transfer(const struct raw *raw, struct block_task *task)
{
    uint64_t bytes;
    unsigned n = block_slice(task, task->bytes - task->done, &bytes);
    return (struct block_io){.opcode = task->kind == BLOCK_READ ? BLOCK_IO_READ : BLOCK_IO_WRITE,
                             .fd = raw->fd,
                             .offset = task->offset + task->done,
                             .bytes = bytes,
                             .iov = task->part,
                             .n_iov = n};
}

static struct block_io release(const struct raw *raw, struct block_task *task)
{
    bool hole = task->kind == BLOCK_DISCARD || task->unmap;
    if (task->kind == BLOCK_ZERO && task->step == STEP_BY_HAND)
        return block_zeros(task, raw->fd, task->offset + task->done, task->bytes - task->done);
    return (struct block_io){.opcode = BLOCK_IO_FALLOCATE,
                             .fd = raw->fd,
                             .offset = task->offset,
                             .bytes = task->bytes,
                             .mode =
                                 FALLOC_FL_KEEP_SIZE | (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE)};
}

static int next(struct block_backend *backend, struct block_task *task, struct block_io *ret_io)
{
    struct raw *raw = (struct raw *)backend;
    if (task->kind == BLOCK_FLUSH) {
        if (raw->sync_failed)
            return -EIO;
        if (backend->read_only || task->done > 0)
            return BLOCK_DONE;
        *ret_io = (struct block_io){.opcode = BLOCK_IO_SYNC, .fd = raw->fd};
        return BLOCK_SUBMIT;
    }
    if (task->done == task->bytes)
        return BLOCK_DONE;
    *ret_io =
        task->kind == BLOCK_READ || task->kind == BLOCK_WRITE ? transfer(raw, task) : release(raw, task);
    return BLOCK_SUBMIT;
}

static int done(struct block_backend *backend, struct block_task *task, int64_t res)
{
    struct raw *raw = (struct raw *)backend;
    bool by_fallocate = task->kind == BLOCK_DISCARD || (task->kind == BLOCK_ZERO && task->step == STEP_FIRST);
    if (by_fallocate && block_cannot(res)) {
        task->step = STEP_BY_HAND;
        task->done = task->kind == BLOCK_DISCARD ? task->bytes : 0;
        return 0;
    }
    if (res < 0) {
        raw->sync_failed |= task->kind == BLOCK_FLUSH;
        return (int)res;
    }
    if (by_fallocate)
        task->done = task->bytes;
    else if (task->kind == BLOCK_FLUSH)
        task->done = 1;
    else if (res == 0)
        return -EIO; // the file became shorter, or takes no more
    else
        task->done += (uint64_t)res;
    return 0;
}

static void end(struct block_backend *backend, struct block_task *task)
{
    (void)backend, (void)task;
}

static void close_raw(struct block_backend *backend)
{
    struct raw *raw = (struct raw *)backend;
    if (!backend->read_only)
        flock(raw->fd, LOCK_UN);
    free(raw);
}

static const struct block_ops ops = {.next = next, .done = done, .end = end, .close = close_raw};

int block_file_lock(int fd)
{
    for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (i == LOCK_TRIES)
            return -EBUSY;
        usleep(LOCK_TRY_US);
    }
    return 0;
}

int block_raw_open(struct block_backend **ret, int fd, bool read_only, struct err *err)
{
    int64_t bytes = block_file_bytes(fd);
    if (bytes < 0)
        return err_errno(err, (int)bytes, "disk: find its size");
    if (bytes < BLOCK_SECTOR_BYTES || (uint64_t)bytes > BLOCK_BYTES_MAX)
        return err_set(err, -EINVAL, "disk: %lld bytes are no size for a disk", (long long)bytes);
    int rc = read_only ? 0 : block_file_lock(fd);
    if (rc < 0)
        return rc == -EBUSY ? err_set(err, rc, "disk: in use already") : err_errno(err, rc, "disk: lock");
    struct raw *raw = calloc(1, sizeof *raw);
    if (!raw)
        return err_errno(err, -ENOMEM, "disk");
    raw->backend = (struct block_backend){.ops = &ops,
                                          .bytes = (uint64_t)bytes & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1),
                                          .block_bytes = RAW_BLOCK_BYTES,
                                          .read_only = read_only};
    raw->fd = fd;
    *ret = (struct block_backend *)raw;
    return 0;
}
