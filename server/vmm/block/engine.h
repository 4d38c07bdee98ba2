// Runs block tasks on an io_uring, several at once, one I/O of each at a time. Embedded in what owns a disk.
// All calls are made under one lock, its user's.
#pragma once

#include <liburing.h>
#include <stdbool.h>

#include "block/block.h"
#include "common/err.h"

#define ENGINE_TASKS_MAX 64u // running at once: the user sees to it

struct block_list {
    struct block_task *first, **last;
};

struct block_engine {
    struct block_backend *backend;
    // A task ended, result 0 or -errno: it is the user's again, who may start it anew at once.
    void (*ended)(void *arg, struct block_task *task, int result);
    void *arg;
    struct io_uring ring;
    int event_fd; // readable: call engine_pump(). -1: not initialized
    unsigned n_running;
    struct block_list ready, waiting;
};

// backend outlives the engine. 0, -EPERM or -ENOSYS (the host forbids or lacks io_uring), or -errno.
int engine_init(struct block_engine *e, struct block_backend *backend,
                void (*ended)(void *arg, struct block_task *task, int result), void *arg, struct err *err);
// Drops all tasks first. Accepts an engine whose init failed, or event_fd -1.
void engine_done(struct block_engine *e);
// The task (see block_task) runs with the next pump, and is the engine's until it has ended.
void engine_start(struct block_engine *e, struct block_task *task);
// Starts, submits and reaps, bounded: what is left makes event_fd readable. True when the kernel takes
// nothing at the moment: call again in a millisecond.
bool engine_pump(struct block_engine *e);
// Waits for the I/O that runs (at most BLOCK_IO_MAX bytes or one sync of each task) and gives all tasks up,
// without ended(). Then nothing touches their buffers any more. Any thread.
void engine_drop_all(struct block_engine *e);
