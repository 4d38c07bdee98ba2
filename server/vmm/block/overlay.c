// The copy-on-write overlay: reads come from the overlay or the image below, writes go to the overlay. Called
// by the engine; knows no guest.
//
//   read    run by run of blocks that are all in the overlay or all not
//   write   runs of blocks that are in the overlay or wholly written go there at once; a block that is
//           neither is first read from the image, patched in memory and written whole (copy-up). The block's
//           bit is set in memory when its data is written
//   flush   1. the bitmap's dirty pages are copied aside  2. fdatasync: the data of every bit in the copies
//   is
//           durable  3. the copies are written  4. fdatasync. A block whose bit did not get into the file is
//           the image's again after a kill, which is right: no flush had covered it
//   discard blocks that are in the overlay become holes (zeros); others stay as they are
//   zero    as write, by fallocate where the file system can
//
// Tasks that change the same blocks run one after the other, in the order they came, and so do flushes: a
// younger one waits. After an fdatasync failed all flushes fail (see raw.c).
#include "block/overlay.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "block/overlay_file.h"
#include "block/overlay_map.h"
#include "block/raw.h"

enum step {
    STEP_NEW,     // not in the list of tasks
    STEP_FREE,    // may go on
    STEP_READ,    // reads a run from the image or the overlay
    STEP_WRITE,   // writes a run; done to the end of the run
    STEP_FETCH,   // copy-up: reads the image's block
    STEP_COPY_UP, // copy-up: writes the patched block
    STEP_RELEASE, // fallocate
    STEP_SYNC_DATA,
    STEP_WRITE_MAP,
    STEP_SYNC_MAP,
    STEP_SYNCED,
};

struct overlay {
    struct block_backend backend; // first: ops get a pointer to it
    struct block_overlay_options options;
    struct overlay_header header;
    struct overlay_map map;
    struct block_task *oldest; // tasks that change something, and flushes, in the order they came
    int cannot;                // modes of fallocate that the file system does not have
    bool sync_failed;
    uint64_t map_at, map_bytes; // the run of the bitmap that the flush is writing, in the file
    struct iovec map_iov;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t block_of(const struct overlay *o, uint64_t offset)
{
    return offset / o->header.block_bytes;
}

static uint64_t start_of(const struct overlay *o, uint64_t block)
{
    return block * o->header.block_bytes;
}

static bool has(const struct overlay *o, uint64_t block)
{
    return overlay_map_has(&o->map, block);
}

static uint64_t cursor_of(const struct block_task *task)
{
    return task->offset + task->done;
}

static uint64_t end_of(const struct block_task *task)
{
    return task->offset + task->bytes;
}

static int release_mode(const struct block_task *task)
{
    return task->kind == BLOCK_DISCARD || task->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
}

static bool conflict(const struct overlay *o, const struct block_task *a, const struct block_task *b)
{
    if (a->kind == BLOCK_FLUSH || b->kind == BLOCK_FLUSH)
        return a->kind == b->kind;
    return block_of(o, a->offset) <= block_of(o, end_of(b) - 1) &&
           block_of(o, b->offset) <= block_of(o, end_of(a) - 1);
}

// Enlists the task. False when an older one is in its way.
static bool may_go(struct overlay *o, struct block_task *task)
{
    struct block_task **at = &o->oldest;
    bool free_way = true;
    for (; *at && *at != task; at = &(*at)->later)
        free_way &= !conflict(o, *at, task);
    *at = task; // found, or appended: its `later` is NULL then
    return free_way;
}

static void delist(struct overlay *o, struct block_task *task)
{
    struct block_task **at = &o->oldest;
    while (*at && *at != task)
        at = &(*at)->later;
    if (*at)
        *at = task->later;
    task->later = NULL;
}

static struct block_io file_io(const struct overlay *o, enum block_opcode opcode, uint64_t disk_offset,
                               uint64_t bytes)
{
    return (struct block_io){.opcode = opcode,
                             .fd = o->options.file_fd,
                             .offset = o->header.data_offset + disk_offset,
                             .bytes = bytes};
}

// READ. What is behind the image is zero without any I/O.
static int next_read(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    while (task->done < task->bytes) {
        uint64_t at = cursor_of(task), block = block_of(o, at), end = end_of(task);
        bool ours = has(o, block);
        if (!ours && at >= o->header.base_bytes) {
            uint64_t to = min_u64(start_of(o, block + 1), end);
            block_clear(task, task->done, to - at);
            task->done += to - at;
            continue;
        }
        uint64_t limit = min_u64(end, at + BLOCK_IO_MAX);
        while (start_of(o, block + 1) < limit && has(o, block + 1) == ours)
            block++;
        uint64_t to = min_u64(start_of(o, block + 1), limit), bytes;
        if (!ours)
            to = min_u64(to, o->header.base_bytes);
        unsigned n = block_slice(task, to - at, &bytes);
        *ret_io = file_io(o, BLOCK_IO_READ, at, bytes);
        if (!ours) {
            ret_io->fd = o->options.base_fd;
            ret_io->offset = at;
        }
        ret_io->iov = task->part;
        ret_io->n_iov = n;
        task->step = STEP_READ;
        return BLOCK_SUBMIT;
    }
    return BLOCK_DONE;
}

static bool covered(const struct overlay *o, const struct block_task *task, uint64_t block, uint64_t from)
{
    return from <= start_of(o, block) &&
           min_u64(start_of(o, block + 1), o->header.disk_bytes) <= end_of(task);
}

// The end of the run from the cursor that needs no copy-up; the cursor itself when its block needs one.
static uint64_t run_end(const struct overlay *o, const struct block_task *task)
{
    uint64_t at = cursor_of(task), to = at;
    uint64_t limit = task->kind == BLOCK_WRITE ? min_u64(end_of(task), at + BLOCK_IO_MAX) : end_of(task);
    for (uint64_t block = block_of(o, at); to < limit; block++) {
        if (!has(o, block) && !covered(o, task, block, at))
            break;
        to = min_u64(start_of(o, block + 1), end_of(task));
    }
    return to;
}

// Puts the task's part of the block over the image's.
static void patch(const struct overlay *o, const struct block_task *task)
{
    uint64_t at = cursor_of(task), start = start_of(o, block_of(o, at));
    uint64_t to = min_u64(start + o->header.block_bytes, end_of(task));
    if (task->kind == BLOCK_WRITE)
        block_copy_out(task, task->done, task->bounce + (at - start), to - at);
    else
        memset(task->bounce + (at - start), 0, to - at);
}

static int next_copy_up(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    uint64_t start = start_of(o, block_of(o, cursor_of(task)));
    patch(o, task);
    task->part[0] = (struct iovec){.iov_base = task->bounce, .iov_len = o->header.block_bytes};
    *ret_io = file_io(o, BLOCK_IO_WRITE, start, o->header.block_bytes);
    ret_io->iov = task->part;
    ret_io->n_iov = 1;
    task->step = STEP_COPY_UP;
    return BLOCK_SUBMIT;
}

static int next_fetch(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    uint64_t start = start_of(o, block_of(o, cursor_of(task)));
    if (!task->bounce)
        task->bounce = malloc(o->header.block_bytes);
    if (!task->bounce)
        return -ENOMEM;
    memset(task->bounce, 0, o->header.block_bytes); // what is behind the image
    if (start >= o->header.base_bytes)
        return next_copy_up(o, task, ret_io);
    uint64_t bytes = min_u64(o->header.block_bytes, o->header.base_bytes - start);
    task->part[0] = (struct iovec){.iov_base = task->bounce, .iov_len = bytes};
    *ret_io = (struct block_io){.opcode = BLOCK_IO_READ,
                                .fd = o->options.base_fd,
                                .offset = start,
                                .bytes = bytes,
                                .iov = task->part,
                                .n_iov = 1};
    task->step = STEP_FETCH;
    return BLOCK_SUBMIT;
}

// WRITE and ZERO.
static int next_write(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    uint64_t at = cursor_of(task), bytes;
    if (task->done == task->bytes)
        return BLOCK_DONE;
    uint64_t to = run_end(o, task);
    if (to == at)
        return next_fetch(o, task, ret_io);
    task->step = STEP_WRITE;
    if (task->kind == BLOCK_WRITE) {
        unsigned n = block_slice(task, to - at, &bytes);
        *ret_io = file_io(o, BLOCK_IO_WRITE, at, bytes);
        ret_io->iov = task->part;
        ret_io->n_iov = n;
    } else if (o->cannot & release_mode(task)) {
        *ret_io = block_zeros(task, o->options.file_fd, o->header.data_offset + at, to - at);
    } else {
        *ret_io = file_io(o, BLOCK_IO_FALLOCATE, at, to - at);
        ret_io->mode = FALLOC_FL_KEEP_SIZE | release_mode(task);
        task->step = STEP_RELEASE;
    }
    return BLOCK_SUBMIT;
}

static int next_discard(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    uint64_t block = block_of(o, cursor_of(task) + o->header.block_bytes - 1);
    uint64_t end = block_of(o, end_of(task)); // whole blocks only
    while (block < end && !has(o, block))
        block++;
    uint64_t first = block;
    while (block < end && has(o, block))
        block++;
    if (first >= end || o->cannot & release_mode(task))
        return BLOCK_DONE;
    task->done = start_of(o, block) - task->offset;
    *ret_io = file_io(o, BLOCK_IO_FALLOCATE, start_of(o, first), start_of(o, block) - start_of(o, first));
    ret_io->mode = FALLOC_FL_KEEP_SIZE | release_mode(task);
    task->step = STEP_RELEASE;
    return BLOCK_SUBMIT;
}

static int next_flush(struct overlay *o, struct block_task *task, struct block_io *ret_io)
{
    uint64_t page, n_pages;
    *ret_io = (struct block_io){.opcode = BLOCK_IO_SYNC, .fd = o->options.file_fd};
    if (task->step == STEP_SYNCED)
        return BLOCK_DONE;
    if (o->sync_failed)
        return -EIO;
    if (task->step == STEP_FREE) {
        overlay_map_stage(&o->map);
        task->step = STEP_SYNC_DATA;
        return BLOCK_SUBMIT;
    }
    if (o->map_bytes == 0 && overlay_map_next_run(&o->map, &page, &n_pages)) {
        o->map_at = page * OVERLAY_PAGE_BYTES;
        o->map_bytes = n_pages * OVERLAY_PAGE_BYTES;
    } else if (o->map_bytes == 0) {
        if (task->step == STEP_SYNC_DATA) // no page was dirty
            return BLOCK_DONE;
        task->step = STEP_SYNC_MAP;
        return BLOCK_SUBMIT;
    }
    o->map_iov = (struct iovec){.iov_base = o->map.staged + o->map_at, .iov_len = o->map_bytes};
    *ret_io = (struct block_io){.opcode = BLOCK_IO_WRITE,
                                .fd = o->options.file_fd,
                                .offset = OVERLAY_HEADER_BYTES + o->map_at,
                                .bytes = o->map_bytes,
                                .iov = &o->map_iov,
                                .n_iov = 1};
    task->step = STEP_WRITE_MAP;
    return BLOCK_SUBMIT;
}

static int next(struct block_backend *backend, struct block_task *task, struct block_io *ret_io)
{
    struct overlay *o = (struct overlay *)backend;
    if (task->kind == BLOCK_READ)
        return next_read(o, task, ret_io);
    if (task->step == STEP_NEW) {
        if (!may_go(o, task))
            return BLOCK_WAIT;
        task->step = STEP_FREE;
    }
    if (task->step == STEP_FETCH)
        return next_copy_up(o, task, ret_io);
    if (task->kind == BLOCK_FLUSH)
        return next_flush(o, task, ret_io);
    if (task->kind == BLOCK_DISCARD)
        return next_discard(o, task, ret_io);
    return next_write(o, task, ret_io);
}

// The task wrote up to `to`, counted from the cursor's run. A block that was cut short is not in the overlay:
// the task goes on from its start.
static int wrote(struct overlay *o, struct block_task *task, uint64_t bytes)
{
    uint64_t at = cursor_of(task), to = at + bytes, last = block_of(o, to);
    if (to > end_of(task))
        return -EIO;
    if (to != start_of(o, last) && to != end_of(task) && !has(o, last))
        to = start_of(o, last);
    if (to <= at)
        return -EIO; // no progress
    overlay_map_add(&o->map, block_of(o, at), block_of(o, to - 1) + 1);
    task->done = to - task->offset;
    return 0;
}

static int copied_up(struct overlay *o, struct block_task *task, uint64_t bytes)
{
    uint64_t at = cursor_of(task), block = block_of(o, at);
    if (bytes != o->header.block_bytes)
        return -EIO;
    overlay_map_add(&o->map, block, block + 1);
    task->done += min_u64(start_of(o, block + 1), end_of(task)) - at;
    task->step = STEP_FREE;
    return 0;
}

static int released(struct overlay *o, struct block_task *task, int64_t res)
{
    if (block_cannot(res)) {
        o->cannot |= release_mode(task);
        return 0; // next() goes by hand, or leaves a discard be
    }
    if (res < 0)
        return (int)res;
    return task->kind == BLOCK_ZERO ? wrote(o, task, run_end(o, task) - cursor_of(task)) : 0;
}

static int done(struct block_backend *backend, struct block_task *task, int64_t res)
{
    struct overlay *o = (struct overlay *)backend;
    enum step step = task->step;
    if (step == STEP_RELEASE)
        return released(o, task, res);
    if (step == STEP_SYNC_DATA || step == STEP_SYNC_MAP) {
        o->sync_failed |= res < 0;
        if (res == 0 && step == STEP_SYNC_MAP) {
            overlay_map_commit(&o->map);
            task->step = STEP_SYNCED;
        }
        return res < 0 ? (int)res : 0;
    }
    if (res <= 0)
        return res < 0 ? (int)res : -EIO; // the image or the overlay became shorter, or takes no more
    if (step == STEP_WRITE)
        return wrote(o, task, (uint64_t)res);
    if (step == STEP_FETCH)
        return (uint64_t)res == task->part[0].iov_len ? 0 : -EIO;
    if (step == STEP_COPY_UP)
        return copied_up(o, task, (uint64_t)res);
    if (step == STEP_WRITE_MAP) {
        o->map_at += (uint64_t)res;
        o->map_bytes -= (uint64_t)res;
        return 0;
    }
    task->done += (uint64_t)res; // STEP_READ
    return 0;
}

static void end(struct block_backend *backend, struct block_task *task)
{
    struct overlay *o = (struct overlay *)backend;
    if (task->kind == BLOCK_FLUSH && task->step > STEP_FREE) {
        overlay_map_unstage(&o->map); // nothing is staged after a success
        o->map_bytes = 0;
    }
    delist(o, task);
    free(task->bounce);
    task->bounce = NULL;
}

static void close_overlay(struct block_backend *backend)
{
    struct overlay *o = (struct overlay *)backend;
    flock(o->options.file_fd, LOCK_UN);
    overlay_map_done(&o->map);
    free(o);
}

static const struct block_ops ops = {.next = next, .done = done, .end = end, .close = close_overlay};

int block_overlay_open(struct block_backend **ret, const struct block_overlay_options *options,
                       struct err *err)
{
    int rc = block_file_lock(options->file_fd);
    if (rc < 0)
        return rc == -EBUSY ? err_set(err, rc, "overlay: in use already")
                            : err_errno(err, rc, "overlay: lock");
    struct overlay *o = calloc(1, sizeof *o);
    if (!o) {
        flock(options->file_fd, LOCK_UN);
        return err_errno(err, -ENOMEM, "overlay");
    }
    o->options = *options;
    rc = overlay_file_load(options, &o->header, &o->map, err);
    if (rc < 0) {
        close_overlay(&o->backend);
        return rc;
    }
    o->backend = (struct block_backend){
        .ops = &ops, .bytes = o->header.disk_bytes, .block_bytes = o->header.block_bytes};
    *ret = &o->backend;
    return 0;
}
