// Owns the io_uring and its eventfd: the only code that submits and reaps. At most three chains are under way
// at once (a group, a segment that is made ready, one that is read), so the ring never runs full.
#include "journal/ring.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENTRIES  32
#define RETRY_US 10000

static void complete(struct ring *r, struct io_uring_cqe *cqe)
{
    struct ring_task *task = io_uring_cqe_get_data(cqe);
    int res = cqe->res;
    io_uring_cqe_seen(&r->uring, cqe);
    if (res > 0)
        task->bytes_moved += (unsigned)res;
    // What was cancelled was so because of another one, which says why, or moved less than it should have.
    if (res < 0 && res != -ECANCELED && task->rc == 0)
        task->rc = res;
    if (--task->pending > 0)
        return;
    r->in_flight--;
    int rc = task->rc;
    if (rc == 0 && task->bytes_moved != task->bytes_wanted)
        rc = -EIO;
    task->rc = 0;
    task->bytes_wanted = task->bytes_moved = 0;
    task->done(task, rc);
}

static void reap(struct ring *r)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&r->uring, &cqe) == 0)
        complete(r, cqe);
}

static void on_completed(evutil_socket_t fd, short events, void *arg)
{
    uint64_t unused;
    (void)events;
    if (read(fd, &unused, sizeof unused) < 0) {
        // It was read before: what is there is reaped all the same.
    }
    reap(arg);
}

static void on_retry(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    ring_submit(arg);
}

int ring_init(struct ring *r, struct event_base *base, struct err *err)
{
    *r = (struct ring){.event_fd = -1};
    r->uring.ring_fd = -1;
    int rc = io_uring_queue_init(ENTRIES, &r->uring, 0);
    if (rc < 0) {
        r->uring.ring_fd = -1;
        return err_errno(err, rc, "make an io_uring (see /proc/sys/kernel/io_uring_disabled)");
    }
    r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = r->event_fd < 0 ? -errno : io_uring_register_eventfd(&r->uring, r->event_fd);
    if (rc < 0)
        return err_errno(err, rc, "hear of the io_uring's completions");
    r->on_completed = event_new(base, r->event_fd, EV_READ | EV_PERSIST, on_completed, r);
    r->on_retry = evtimer_new(base, on_retry, r);
    if (!r->on_completed || !r->on_retry || event_add(r->on_completed, NULL) < 0)
        return err_set(err, -ENOMEM, "no memory for the io_uring's events");
    return 0;
}

void ring_done(struct ring *r)
{
    if (r->on_completed)
        event_free(r->on_completed);
    if (r->on_retry)
        event_free(r->on_retry);
    if (r->uring.ring_fd >= 0)
        io_uring_queue_exit(&r->uring);
    if (r->event_fd >= 0)
        close(r->event_fd);
}

static struct io_uring_sqe *add(struct ring *r, struct ring_task *task)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    if (!sqe)
        abort(); // see the top: there is always one
    if (r->last)
        r->last->flags |= IOSQE_IO_LINK;
    else
        r->in_flight++;
    r->last = sqe;
    task->pending++;
    return sqe;
}

void ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len, uint64_t offset)
{
    struct io_uring_sqe *sqe = add(r, task);
    io_uring_prep_write(sqe, fd, data, (unsigned)len, offset);
    io_uring_sqe_set_data(sqe, task);
    task->bytes_wanted += len;
}

void ring_write_long(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                     uint64_t offset)
{
    ring_write(r, task, fd, data, len, offset);
    r->last->flags |= IOSQE_ASYNC;
}

void ring_read(struct ring *r, struct ring_task *task, int fd, void *data, size_t len, uint64_t offset)
{
    struct io_uring_sqe *sqe = add(r, task);
    io_uring_prep_read(sqe, fd, data, (unsigned)len, offset);
    sqe->flags |= IOSQE_ASYNC; // long: not within our own system call
    io_uring_sqe_set_data(sqe, task);
    task->bytes_wanted += len;
}

void ring_sync(struct ring *r, struct ring_task *task, int fd, bool data_only)
{
    struct io_uring_sqe *sqe = add(r, task);
    io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
    io_uring_sqe_set_data(sqe, task);
}

void ring_allocate(struct ring *r, struct ring_task *task, int fd, uint64_t len)
{
    struct io_uring_sqe *sqe = add(r, task);
    io_uring_prep_fallocate(sqe, fd, 0, 0, (off_t)len);
    io_uring_sqe_set_data(sqe, task);
}

void ring_submit(struct ring *r)
{
    const struct timeval soon = {.tv_usec = RETRY_US};
    r->last = NULL;
    if (io_uring_submit(&r->uring) < 0 || io_uring_sq_ready(&r->uring) > 0)
        event_add(r->on_retry, &soon); // the kernel is short of something
}

void ring_wait(struct ring *r)
{
    if (io_uring_submit_and_wait(&r->uring, 1) < 0)
        usleep(RETRY_US);
    reap(r);
}
