// See pipe.h. There is one process and no thread: a blocking read of an empty pipe whose writer is the same
// program waits for ever, as it does on Linux.
#include "fs/pipe.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <linux/errno.h>

#include "base/string.h"
#include "fs/abi.h"
#include "fs/file.h"
#include "mem/heap.h"
#include "sys/user.h"

#define PIPE_BYTES  65536u
#define PIPE_ATOMIC 4096u // PIPE_BUF: a write up to this is not split

struct pipe {
    struct file *ends[2]; // NULL when closed
    uint32_t first, used;
    uint8_t *bytes; // PIPE_BYTES, from the first write on
};

static void changed(struct pipe *pipe)
{
    for (int i = 0; i < 2; i++)
        if (pipe->ends[i])
            pipe->ends[i]->n_changes++;
}

static int64_t read_pipe(struct file *file, void *out, size_t n, uint64_t *pos)
{
    struct pipe *pipe = file->data;
    (void)pos;
    if (!n)
        return 0;
    if (!pipe->used)
        return pipe->ends[1] ? -EAGAIN : 0;
    size_t take = n < pipe->used ? n : pipe->used;
    size_t head = PIPE_BYTES - pipe->first < take ? PIPE_BYTES - pipe->first : take;
    memcpy(out, pipe->bytes + pipe->first, head);
    memcpy((uint8_t *)out + head, pipe->bytes, take - head);
    pipe->first = (uint32_t)(pipe->first + take) % PIPE_BYTES;
    pipe->used -= (uint32_t)take;
    if (!pipe->used)
        pipe->first = 0; // a pipe that drains keeps to its first pages
    changed(pipe);
    return (int64_t)take;
}

static int64_t write_pipe(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    struct pipe *pipe = file->data;
    (void)pos;
    if (!pipe->ends[0])
        return -EPIPE;
    if (!n)
        return 0;
    if (!pipe->bytes && !(pipe->bytes = heap_alloc(PIPE_BYTES)))
        return -ENOMEM;
    size_t room = PIPE_BYTES - pipe->used;
    if (!room || (n <= PIPE_ATOMIC && n > room))
        return -EAGAIN;
    size_t put = n < room ? n : room, last = (pipe->first + pipe->used) % PIPE_BYTES;
    size_t head = PIPE_BYTES - last < put ? PIPE_BYTES - last : put;
    memcpy(pipe->bytes + last, data, head);
    memcpy(pipe->bytes, (const uint8_t *)data + head, put - head);
    pipe->used += (uint32_t)put;
    changed(pipe);
    return (int64_t)put;
}

static uint32_t poll_pipe(struct file *file)
{
    struct pipe *pipe = file->data;
    if (pipe->ends[0] == file)
        return (pipe->used ? POLLIN | POLLRDNORM : 0u) | (pipe->ends[1] ? 0u : POLLHUP);
    return (PIPE_BYTES - pipe->used >= PIPE_ATOMIC ? POLLOUT | POLLWRNORM : 0u) |
           (pipe->ends[0] ? 0u : POLLERR);
}

static int64_t ioctl_pipe(struct file *file, uint64_t request, uint64_t argument)
{
    struct pipe *pipe = file->data;
    int used = (int)pipe->used;
    return request == FIONREAD ? user_put(argument, &used, sizeof used) : -ENOTTY;
}

static void release_pipe(struct file *file)
{
    struct pipe *pipe = file->data;
    pipe->ends[pipe->ends[1] == file] = NULL;
    changed(pipe);
    if (pipe->ends[0] || pipe->ends[1])
        return;
    heap_free(pipe->bytes);
    heap_free(pipe);
}

static const struct file_ops pipe_ops = {.read = read_pipe,
                                         .write = write_pipe,
                                         .poll = poll_pipe,
                                         .ioctl = ioctl_pipe,
                                         .release = release_pipe,
                                         .mode = MODE_FIFO | 0600,
                                         .stream = true};

int pipe_new(uint32_t flags, struct file *ret[2])
{
    struct pipe *pipe = heap_alloc_zeroed(sizeof *pipe);
    if (!pipe)
        return -ENOMEM;
    pipe->ends[0] = file_new(&pipe_ops, O_RDONLY | flags, NULL, pipe);
    pipe->ends[1] = file_new(&pipe_ops, O_WRONLY | flags, NULL, pipe);
    if (!pipe->ends[0] || !pipe->ends[1]) {
        for (int i = 0; i < 2; i++)
            heap_free(pipe->ends[i]);
        heap_free(pipe);
        return -ENOMEM;
    }
    memcpy(ret, pipe->ends, sizeof pipe->ends);
    return 0;
}

struct eventfd {
    uint64_t value;
    bool semaphore;
};

static int64_t read_eventfd(struct file *file, void *out, size_t n, uint64_t *pos)
{
    struct eventfd *e = file->data;
    (void)pos;
    if (n < sizeof e->value)
        return -EINVAL;
    if (!e->value)
        return -EAGAIN;
    uint64_t value = e->semaphore ? 1 : e->value;
    e->value -= value;
    memcpy(out, &value, sizeof value);
    file->n_changes++;
    return sizeof value;
}

static int64_t write_eventfd(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    struct eventfd *e = file->data;
    uint64_t add;
    (void)pos;
    if (n < sizeof add)
        return -EINVAL;
    memcpy(&add, data, sizeof add);
    if (add == UINT64_MAX)
        return -EINVAL;
    if (e->value + add < add || e->value + add == UINT64_MAX)
        return -EAGAIN;
    e->value += add;
    file->n_changes++;
    return sizeof add;
}

static uint32_t poll_eventfd(struct file *file)
{
    struct eventfd *e = file->data;
    return (e->value ? POLLIN | POLLRDNORM : 0u) | (e->value < UINT64_MAX - 1 ? POLLOUT | POLLWRNORM : 0u);
}

static void release_eventfd(struct file *file)
{
    heap_free(file->data);
}

static const struct file_ops eventfd_ops = {.read = read_eventfd,
                                            .write = write_eventfd,
                                            .poll = poll_eventfd,
                                            .release = release_eventfd,
                                            .mode = 0600};

struct file *eventfd_new(uint64_t value, bool semaphore, uint32_t flags)
{
    struct eventfd *e = heap_alloc(sizeof *e);
    struct file *file = e ? file_new(&eventfd_ops, O_RDWR | flags, NULL, e) : NULL;
    if (!file) {
        heap_free(e);
        return NULL;
    }
    *e = (struct eventfd){value, semaphore};
    return file;
}
