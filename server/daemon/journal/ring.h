// The journal's io_uring: chains of operations that run one after the other, and end together. Completions
// arrive through an eventfd in the event loop, or while somebody waits for them. Knows no records.
#pragma once

#include <event2/event.h>
#include <liburing.h>
#include <stdint.h>

#include "common/err.h"

struct ring {
    struct io_uring uring;
    int event_fd;
    struct event *on_completed, *on_retry;
    struct io_uring_sqe *last; // of the chain that is being made
    unsigned in_flight;        // tasks
};

// A chain under way. The first operation that fails cancels those behind it.
struct ring_task {
    void (*done)(struct ring_task *task, int rc); // 0 or -errno of the first that failed
    unsigned pending;
    int rc;
    uint64_t bytes_wanted, bytes_moved; // by reads and writes: a short one is -EIO
};

int ring_init(struct ring *r, struct event_base *base, struct err *err); // half-built: ring_done() too
void ring_done(struct ring *r);                                          // nothing may be in flight

// Operations for the next chain; buffers must live until it is done.
void ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                uint64_t offset);
// The same, but never within the system call that submits: for what is long.
void ring_write_long(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                     uint64_t offset);
void ring_read(struct ring *r, struct ring_task *task, int fd, void *data, size_t len, uint64_t offset);
void ring_sync(struct ring *r, struct ring_task *task, int fd, bool data_only);
void ring_allocate(struct ring *r, struct ring_task *task, int fd, uint64_t len);
// Starts the chain. done is called later, never within this.
void ring_submit(struct ring *r);
// Waits for a completion and serves it: for the way down. Only when something is in flight.
void ring_wait(struct ring *r);
