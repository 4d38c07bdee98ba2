// Owns the io_uring of a disk: the only code that submits and reaps. Called by the device on the I/O thread,
// and by a reset on a vCPU thread, always under the device's lock; knows no guest and no file format.
//
// A task is ready (will ask its back end what comes next), submitted (the kernel has its I/O), or waiting
// (for any other task to end). One I/O per task at a time and no more tasks than the ring has entries:
// neither of its queues ever overflows. The event descriptor is read before the completions are, so none is
// missed.
#include "block/engine.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/checked.h"

#define PUMP_TURNS  8u
#define RETRY_US    1000u
#define WORKERS_MAX 8u // kernel threads for I/O that blocks, such as buffered writes and fdatasync

static void list_init(struct block_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_push(struct block_list *list, struct block_task *task)
{
    task->next = NULL;
    *list->last = task;
    list->last = &task->next;
}

static struct block_task *list_pop(struct block_list *list)
{
    struct block_task *task = list->first;
    if (!task)
        return NULL;
    list->first = task->next;
    if (!list->first)
        list->last = &list->first;
    return task;
}

// What a ring does is not seen by the system-call filter, so the ring gets one of its own, which cannot be
// taken back: nothing that opens, connects or registers.
static int restrict_ring(struct io_uring *ring)
{
    struct io_uring_restriction allowed[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FALLOCATE},
    };
    int rc = io_uring_register_restrictions(ring, allowed, ARRAY_LEN(allowed));
    return rc < 0 ? rc : io_uring_enable_rings(ring);
}

int engine_init(struct block_engine *e, struct block_backend *backend,
                void (*ended)(void *arg, struct block_task *task, int result), void *arg, struct err *err)
{
    *e = (struct block_engine){.backend = backend, .ended = ended, .arg = arg, .event_fd = -1};
    list_init(&e->ready);
    list_init(&e->waiting);
    int rc = io_uring_queue_init(ENGINE_TASKS_MAX, &e->ring, IORING_SETUP_R_DISABLED);
    if (rc < 0)
        return err_errno(err, rc, "disk: make an io_uring");
    unsigned workers[2] = {WORKERS_MAX, WORKERS_MAX};
    // Only a limit: a kernel that has none does without.
    (void)io_uring_register_iowq_max_workers(&e->ring, workers);
    e->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = e->event_fd < 0 ? -errno : io_uring_register_eventfd(&e->ring, e->event_fd);
    if (rc == 0)
        rc = restrict_ring(&e->ring);
    if (rc >= 0)
        return 0;
    io_uring_queue_exit(&e->ring);
    if (e->event_fd >= 0)
        close(e->event_fd);
    e->event_fd = -1;
    return err_errno(err, rc, "disk: set the io_uring up");
}

void engine_done(struct block_engine *e)
{
    if (e->event_fd < 0)
        return;
    engine_drop_all(e);
    io_uring_queue_exit(&e->ring);
    close(e->event_fd);
    e->event_fd = -1;
}

void engine_start(struct block_engine *e, struct block_task *task)
{
    task->done = 0;
    task->step = 0;
    task->bounce = NULL;
    task->later = NULL;
    task->has_io = false;
    e->n_running++;
    list_push(&e->ready, task);
}

static void give_up(struct block_engine *e, struct block_task *task)
{
    e->backend->ops->end(e->backend, task);
    e->n_running--;
}

static void finish(struct block_engine *e, struct block_task *task, int result)
{
    struct block_task *waiting;
    give_up(e, task);
    while ((waiting = list_pop(&e->waiting)))
        list_push(&e->ready, waiting);
    e->ended(e->arg, task, result);
}

// False: the ring is full of what the kernel did not take.
static bool prepare(struct block_engine *e, struct block_task *task)
{
    const struct block_io *io = &task->io;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&e->ring);
    if (!sqe)
        return false;
    switch (io->opcode) {
    case BLOCK_IO_READ:
        io_uring_prep_readv(sqe, io->fd, io->iov, io->n_iov, io->offset);
        break;
    case BLOCK_IO_WRITE:
        io_uring_prep_writev(sqe, io->fd, io->iov, io->n_iov, io->offset);
        break;
    case BLOCK_IO_SYNC:
        io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
        break;
    case BLOCK_IO_FALLOCATE:
        io_uring_prep_fallocate(sqe, io->fd, io->mode, (off_t)io->offset, (off_t)io->bytes);
        break;
    }
    io_uring_sqe_set_data(sqe, task);
    task->has_io = true;
    return true;
}

// False: the ring is full. The task is ready again then, and asks nobody what comes next.
static bool advance(struct block_engine *e, struct block_task *task)
{
    int rc = task->has_io ? BLOCK_SUBMIT : e->backend->ops->next(e->backend, task, &task->io);
    if (rc == BLOCK_WAIT)
        list_push(&e->waiting, task);
    else if (rc != BLOCK_SUBMIT)
        finish(e, task, rc == BLOCK_DONE ? 0 : rc);
    else if (!prepare(e, task)) {
        task->has_io = true;
        list_push(&e->ready, task);
        return false;
    }
    return true;
}

static void completed(struct block_engine *e, struct block_task *task, int res)
{
    if (res == -EINTR || res == -EAGAIN) { // the same I/O again
        list_push(&e->ready, task);
        return;
    }
    task->has_io = false;
    int rc = e->backend->ops->done(e->backend, task, res);
    if (rc < 0)
        finish(e, task, rc);
    else
        list_push(&e->ready, task);
}

// The first of a pump clears the event descriptor in any case; the others only for what came meanwhile.
static bool reap(struct block_engine *e, bool is_first)
{
    struct io_uring_cqe *cqe;
    eventfd_t events;
    bool any = false;
    if (is_first || io_uring_cq_ready(&e->ring) > 0)
        (void)eventfd_read(e->event_fd, &events);
    // Never more than have been submitted: a task that ends here starts anew with the next submission.
    while (io_uring_peek_cqe(&e->ring, &cqe) == 0) {
        struct block_task *task = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&e->ring, cqe);
        completed(e, task, res);
        any = true;
    }
    return any;
}

bool engine_pump(struct block_engine *e)
{
    for (unsigned turn = 0; turn < PUMP_TURNS; turn++) {
        struct block_task *task;
        bool full = false;
        while (!full && (task = list_pop(&e->ready)))
            full = !advance(e, task);
        if (io_uring_sq_ready(&e->ring) > 0)
            (void)io_uring_submit(&e->ring); // what it does not take stays in the ring
        if (!reap(e, turn == 0) && (full || !e->ready.first))
            return io_uring_sq_ready(&e->ring) > 0;
    }
    (void)eventfd_write(e->event_fd, 1); // the rest comes in a later round
    return false;
}

// What was prepared but not taken by the kernel is submitted here too: a completion for each is the only way
// to know that the kernel has no pointer left.
void engine_drop_all(struct block_engine *e)
{
    struct io_uring_cqe *cqe;
    struct block_task *task;
    while ((task = list_pop(&e->ready)))
        give_up(e, task);
    while ((task = list_pop(&e->waiting)))
        give_up(e, task);
    while (e->n_running > 0) {
        (void)io_uring_submit(&e->ring);
        if (io_uring_sq_ready(&e->ring) >= e->n_running) { // the kernel has none: waiting would never end
            usleep(RETRY_US);
            continue;
        }
        if (io_uring_wait_cqe(&e->ring, &cqe) < 0)
            continue; // interrupted
        task = io_uring_cqe_get_data(cqe);
        io_uring_cqe_seen(&e->ring, cqe);
        give_up(e, task);
    }
}
