// See file.h.
#include "fs/file.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <linux/errno.h>

#include "base/kernel.h"
#include "base/string.h"
#include "base/wait.h"
#include "fs/epoll.h"
#include "fs/special.h"
#include "fs/tree.h"
#include "mem/heap.h"

#define TABLE_FIRST 16

struct descriptor {
    struct file *file;
    bool close_on_exec;
};

// The first descriptors need no memory: many programs have no others.
static struct descriptor first_table[TABLE_FIRST];
static struct {
    struct descriptor *slots;
    size_t n;
} table;

struct file *file_new(const struct file_ops *ops, uint32_t flags, struct node *node, void *data)
{
    struct file *file = heap_alloc_zeroed(sizeof *file);
    if (!file)
        return NULL;
    *file = (struct file){.ops = ops, .n_refs = 1, .flags = flags, .node = node, .data = data};
    if (node)
        node_ref(node);
    return file;
}

void file_ref(struct file *file)
{
    file->n_refs++;
}

void file_unref(struct file *file)
{
    if (--file->n_refs)
        return;
    epoll_forget(file);
    if (file->ops->release)
        file->ops->release(file);
    node_unref(file->node);
    heap_free(file);
}

uint32_t file_poll(struct file *file)
{
    return file->ops->poll ? file->ops->poll(file) : POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

int64_t file_read(struct file *file, void *out, size_t n, uint64_t *pos)
{
    if ((file->flags & O_ACCMODE) == O_WRONLY || (file->flags & O_PATH))
        return -EBADF;
    if (!file->ops->read)
        return -EINVAL;
    for (;;) {
        int64_t rc = file->ops->read(file, out, n, pos ? pos : &file->pos);
        if (rc != -EAGAIN || (file->flags & O_NONBLOCK))
            return rc;
        wait_event(NEVER);
    }
}

int64_t file_write(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    if ((file->flags & O_ACCMODE) == O_RDONLY || (file->flags & O_PATH))
        return -EBADF;
    if (!file->ops->write)
        return -EINVAL;
    size_t done = 0;
    for (;;) {
        int64_t rc = file->ops->write(file, (const uint8_t *)data + done, n - done, pos ? pos : &file->pos);
        if (rc > 0)
            done += (size_t)rc;
        if (rc == -EAGAIN && !(file->flags & O_NONBLOCK)) {
            wait_event(NEVER);
            continue;
        }
        // A stream takes all of it, piece by piece; a short write of a file means that there is no more room.
        if (rc <= 0 || done == n || !file->ops->stream)
            return done ? (int64_t)done : rc;
    }
}

static void prepare_table(void)
{
    if (table.slots)
        return;
    table.slots = first_table;
    table.n = TABLE_FIRST;
    for (size_t i = 0; i < 3; i++)
        first_table[i].file = special_standard_file(i);
}

static int grow_table(uint64_t fd)
{
    if (fd < table.n)
        return 0;
    if (fd >= FILES_MAX)
        return -EMFILE;
    size_t n = table.n;
    while (n <= fd)
        n *= 2;
    struct descriptor *slots = heap_alloc_zeroed(n * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    memcpy(slots, table.slots, table.n * sizeof *slots);
    if (table.slots != first_table)
        heap_free(table.slots);
    table.slots = slots;
    table.n = n;
    return 0;
}

struct file *files_get(uint64_t fd)
{
    prepare_table();
    return fd < table.n ? table.slots[fd].file : NULL;
}

static int64_t put(struct file *file, uint64_t fd, bool close_on_exec)
{
    int rc = grow_table(fd);
    if (rc < 0) {
        file_unref(file);
        return rc;
    }
    struct file *old = table.slots[fd].file;
    table.slots[fd] = (struct descriptor){file, close_on_exec};
    if (old)
        file_unref(old);
    return (int64_t)fd;
}

int64_t files_install(struct file *file, uint64_t from, bool close_on_exec)
{
    prepare_table();
    while (from < table.n && table.slots[from].file)
        from++;
    return put(file, from, close_on_exec);
}

int64_t files_install_at(struct file *file, uint64_t fd, bool close_on_exec)
{
    prepare_table();
    if (fd >= FILES_MAX) {
        file_unref(file);
        return -EBADF;
    }
    return put(file, fd, close_on_exec);
}

int64_t files_close(uint64_t fd)
{
    struct file *file = files_get(fd);
    if (!file)
        return -EBADF;
    table.slots[fd] = (struct descriptor){NULL, false};
    file_unref(file);
    return 0;
}

int64_t files_close_on_exec(uint64_t fd, int set)
{
    if (!files_get(fd))
        return -EBADF;
    bool old = table.slots[fd].close_on_exec;
    if (set >= 0)
        table.slots[fd].close_on_exec = set;
    return old;
}

void files_close_all(void)
{
    for (uint64_t fd = 0; fd < table.n; fd++)
        if (table.slots[fd].file)
            files_close(fd);
}

bool files_next(uint64_t fd, uint64_t *ret_fd)
{
    prepare_table();
    for (; fd < table.n; fd++)
        if (table.slots[fd].file) {
            *ret_fd = fd;
            return true;
        }
    return false;
}
