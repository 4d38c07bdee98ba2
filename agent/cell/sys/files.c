// System calls on descriptors.
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/uio.h>

#include "base/kernel.h"
#include "base/string.h"
#include "fs/content.h"
#include "fs/file.h"
#include "fs/regular.h"
#include "fs/tree.h"
#include "mem/heap.h"
#include "sys/handlers.h"
#include "sys/user.h"

#define TRANSFER_MAX 0x7ffff000ull // as Linux limits one call
#define VECTORS_MAX  1024u
#define GATHER_BYTES 1024u
#define COPY_BYTES   32768u
#define F_DUP_ALL    (O_NONBLOCK | O_APPEND) // what F_SETFL may change

static uint64_t clamp(uint64_t n)
{
    return n < TRANSFER_MAX ? n : TRANSFER_MAX;
}

// One read or write; pos NULL: at the file's own position.
static int64_t transfer(uint64_t fd, uint64_t address, uint64_t n, uint64_t *pos, bool write)
{
    struct file *file = files_get(fd);
    n = clamp(n);
    if (!file)
        return -EBADF;
    if (!user_ok(address, n))
        return -EFAULT;
    if (pos && !file->ops->seekable)
        return -ESPIPE;
    return write ? file_write(file, (const void *)address, n, pos) : file_read(file, (void *)address, n, pos);
}

int64_t sys_read(const uint64_t a[6])
{
    return transfer(a[0], a[1], a[2], NULL, false);
}

int64_t sys_write(const uint64_t a[6])
{
    return transfer(a[0], a[1], a[2], NULL, true);
}

int64_t sys_pread64(const uint64_t a[6])
{
    uint64_t pos = a[3];
    return (int64_t)pos < 0 ? -EINVAL : transfer(a[0], a[1], a[2], &pos, false);
}

int64_t sys_pwrite64(const uint64_t a[6])
{
    uint64_t pos = a[3];
    return (int64_t)pos < 0 ? -EINVAL : transfer(a[0], a[1], a[2], &pos, true);
}

// Checks a vector of n buffers; its total length or a negative error.
static int64_t check_vectors(uint64_t address, uint64_t n)
{
    if (n > VECTORS_MAX)
        return -EINVAL;
    if (!user_ok(address, n * sizeof(struct iovec)))
        return -EFAULT;
    const struct iovec *v = (const struct iovec *)address;
    uint64_t total = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (!user_ok((uint64_t)v[i].iov_base, v[i].iov_len))
            return -EFAULT;
        total += v[i].iov_len; // at most VECTORS_MAX times the memory
    }
    return total > TRANSFER_MAX ? -EINVAL : (int64_t)total;
}

// Small vectors are written as one piece: one buffer for the console, and whole in a pipe.
static int64_t write_gathered(uint64_t fd, const struct iovec *v, uint64_t n, uint64_t *pos)
{
    uint8_t buffer[GATHER_BYTES];
    size_t used = 0;
    struct file *file = files_get(fd);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(buffer + used, v[i].iov_base, v[i].iov_len);
        used += v[i].iov_len;
    }
    if (pos && !file->ops->seekable)
        return -ESPIPE;
    return file_write(file, buffer, used, pos);
}

static int64_t transfer_vectors(uint64_t fd, uint64_t address, uint64_t n, uint64_t *pos, bool write)
{
    if (!files_get(fd))
        return -EBADF;
    int64_t total = check_vectors(address, n);
    if (total < 0)
        return total;
    const struct iovec *v = (const struct iovec *)address;
    if (write && total <= GATHER_BYTES)
        return write_gathered(fd, v, n, pos);
    int64_t done = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (!v[i].iov_len)
            continue;
        int64_t rc = transfer(fd, (uint64_t)v[i].iov_base, v[i].iov_len, pos, write);
        if (rc < 0)
            return done ? done : rc;
        done += rc;
        // A read that has got something does not wait for more.
        if ((uint64_t)rc < v[i].iov_len || (!write && files_get(fd)->ops->stream))
            break;
    }
    return done;
}

int64_t sys_readv(const uint64_t a[6])
{
    return transfer_vectors(a[0], a[1], a[2], NULL, false);
}

int64_t sys_writev(const uint64_t a[6])
{
    return transfer_vectors(a[0], a[1], a[2], NULL, true);
}

int64_t sys_preadv(const uint64_t a[6])
{
    uint64_t pos = a[3];
    return (int64_t)pos < 0 ? -EINVAL : transfer_vectors(a[0], a[1], a[2], &pos, false);
}

int64_t sys_pwritev(const uint64_t a[6])
{
    uint64_t pos = a[3];
    return (int64_t)pos < 0 ? -EINVAL : transfer_vectors(a[0], a[1], a[2], &pos, true);
}

int64_t sys_lseek(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    if (!file)
        return -EBADF;
    if (!file->ops->seekable)
        return file->ops->mode && file->node ? 0 : -ESPIPE; // devices stay at 0
    uint64_t base;
    if (a[2] == SEEK_SET)
        base = 0;
    else if (a[2] == SEEK_CUR)
        base = file->pos;
    else if (a[2] == SEEK_END)
        base = file->node->size_bytes;
    else
        return -EINVAL;
    int64_t pos;
    if (__builtin_add_overflow((int64_t)base, (int64_t)a[1], &pos) || pos < 0)
        return -EINVAL;
    file->pos = (uint64_t)pos;
    return pos;
}

int64_t sys_close(const uint64_t a[6])
{
    return files_close(a[0]);
}

int64_t sys_close_range(const uint64_t a[6])
{
    if (a[0] > a[1])
        return -EINVAL;
    for (uint64_t fd = a[0]; fd <= a[1] && files_next(fd, &fd); fd++) {
        if (fd > a[1])
            break;
        if (a[2] & 4) // CLOSE_RANGE_CLOEXEC
            files_close_on_exec(fd, 1);
        else
            files_close(fd);
    }
    return 0;
}

static int64_t duplicate(uint64_t fd, uint64_t from, bool close_on_exec)
{
    struct file *file = files_get(fd);
    if (!file)
        return -EBADF;
    file_ref(file);
    return files_install(file, from, close_on_exec);
}

int64_t sys_dup(const uint64_t a[6])
{
    return duplicate(a[0], 0, false);
}

static int64_t duplicate_at(uint64_t fd, uint64_t to, bool close_on_exec)
{
    struct file *file = files_get(fd);
    if (!file)
        return -EBADF;
    if (fd == to)
        return (int64_t)to;
    file_ref(file);
    return files_install_at(file, to, close_on_exec);
}

int64_t sys_dup2(const uint64_t a[6])
{
    return duplicate_at(a[0], a[1], false);
}

int64_t sys_dup3(const uint64_t a[6])
{
    return a[0] == a[1] ? -EINVAL : duplicate_at(a[0], a[1], a[2] & O_CLOEXEC);
}

int64_t sys_fcntl(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    if (!file)
        return -EBADF;
    switch (a[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return a[2] >= FILES_MAX ? -EINVAL : duplicate(a[0], a[2], a[1] == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return files_close_on_exec(a[0], -1);
    case F_SETFD:
        files_close_on_exec(a[0], a[2] & FD_CLOEXEC);
        return 0;
    case F_GETFL:
        return file->flags;
    case F_SETFL:
        file->flags = (file->flags & ~(uint32_t)F_DUP_ALL) | ((uint32_t)a[2] & F_DUP_ALL);
        return 0;
    case F_SETLK: // nobody else could hold a lock
    case F_SETLKW:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_ioctl(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    int on;
    if (!file)
        return -EBADF;
    switch (a[1]) {
    case FIONBIO:
        if (user_get(&on, a[2], sizeof on) < 0)
            return -EFAULT;
        file->flags = on ? file->flags | O_NONBLOCK : file->flags & ~(uint32_t)O_NONBLOCK;
        return 0;
    case FIOCLEX:
    case FIONCLEX:
        files_close_on_exec(a[0], a[1] == FIOCLEX);
        return 0;
    default:
        return file->ops->ioctl ? file->ops->ioctl(file, a[1], a[2]) : -ENOTTY;
    }
}

static int64_t copy_between(struct file *out, struct file *in, uint64_t *pos, uint64_t n)
{
    uint8_t *buffer = heap_alloc(COPY_BYTES);
    int64_t done = 0, rc = buffer ? 0 : -ENOMEM;
    while (buffer && (uint64_t)done < n) {
        uint64_t part = n - (uint64_t)done < COPY_BYTES ? n - (uint64_t)done : COPY_BYTES;
        uint64_t *at = pos ? pos : &in->pos, before = *at;
        rc = file_read(in, buffer, part, at);
        if (rc <= 0)
            break;
        int64_t written = file_write(out, buffer, (size_t)rc, NULL);
        // What was not written was not read.
        if (written < rc)
            *at = before + (uint64_t)(written > 0 ? written : 0);
        done += written > 0 ? written : 0;
        if (written < rc) {
            rc = written;
            break;
        }
    }
    heap_free(buffer);
    return done || rc >= 0 ? done : rc;
}

int64_t sys_sendfile(const uint64_t a[6])
{
    struct file *out = files_get(a[0]), *in = files_get(a[1]);
    uint64_t pos;
    if (!out || !in)
        return -EBADF;
    if (!in->ops->seekable || !in->node || in->node->kind != NODE_FILE)
        return -EINVAL;
    if (a[2] && user_get(&pos, a[2], sizeof pos) < 0)
        return -EFAULT;
    int64_t rc = copy_between(out, in, a[2] ? &pos : NULL, clamp(a[3]));
    if (a[2] && rc >= 0)
        user_put(a[2], &pos, sizeof pos);
    return rc;
}

int64_t sys_getdents64(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    if (!file)
        return -EBADF;
    return user_ok(a[1], a[2]) ? regular_list(file, (uint8_t *)a[1], a[2]) : -EFAULT;
}

// The file behind a descriptor that is open for writing.
static int writable_file(uint64_t fd, struct file **ret)
{
    *ret = files_get(fd);
    if (!*ret)
        return -EBADF;
    if (!(*ret)->node || (*ret)->node->kind != NODE_FILE || ((*ret)->flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    return 0;
}

int64_t sys_ftruncate(const uint64_t a[6])
{
    struct file *file;
    int rc = (int64_t)a[1] < 0 ? -EINVAL : writable_file(a[0], &file);
    return rc < 0 ? rc : content_resize(file->node, a[1]);
}

// Mode 0 only: makes the file long enough. Blocks come when they are written.
int64_t sys_fallocate(const uint64_t a[6])
{
    struct file *file;
    uint64_t end;
    if (a[1])
        return -EOPNOTSUPP;
    if (__builtin_add_overflow(a[2], a[3], &end) || (int64_t)end < 0)
        return -EFBIG;
    int rc = writable_file(a[0], &file);
    if (rc < 0 || end <= file->node->size_bytes)
        return rc;
    return content_resize(file->node, end);
}

// Nothing is ever behind: also flock, fadvise64, readahead, syncfs.
int64_t sys_fsync(const uint64_t a[6])
{
    return files_get(a[0]) ? 0 : -EBADF;
}
