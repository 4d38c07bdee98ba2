// Owns the temporary file of contents. Called by the readers of archives and folders, and by the disk's
// writer.
#include "image/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"

#define COPY_CHUNK (1u << 18)

int spool_temporary_file(struct err *err)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    if (!folder || !*folder)
        folder = "/var/tmp"; // not /tmp: it may be memory, and this may be large
    snprintf(path, sizeof path, "%s/envctl-XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "make a temporary file in %s (see TMPDIR)", folder);
    unlink(path);
    return fd;
}

int spool_open(struct spool *s, uint64_t max_bytes, struct err *err)
{
    int fd = spool_temporary_file(err);
    if (fd < 0)
        return fd;
    *s = (struct spool){.fd = fd, .max_bytes = max_bytes};
    return 0;
}

void spool_close(struct spool *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

int spool_begin(struct spool *s, uint64_t size, struct spool_range *ret, struct err *err)
{
    if (!range_inside(s->end, size, s->max_bytes))
        return err_set(err, -EFBIG, "the files have more than %llu MiB together (see --max-size)",
                       (unsigned long long)(s->max_bytes >> 20));
    *ret = (struct spool_range){.at = s->end, .size = size};
    s->end += (size + SPOOL_BLOCK - 1) / SPOOL_BLOCK * SPOOL_BLOCK;
    return 0;
}

bool spool_is_zero(const void *data, size_t len)
{
    const char *p = data;
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int write_all(int fd, const char *data, size_t len, uint64_t at, struct err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(err, n < 0 ? -errno : -EIO, "write a temporary file");
        data += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int spool_write(struct spool *s, struct spool_range *range, uint64_t offset, const void *data, size_t len,
                struct err *err)
{
    if (!range_inside(offset, len, range->size))
        return err_set(err, -EINVAL, "a file has more bytes than it says");
    for (size_t i = 0; i < len;) {
        uint64_t at = range->at + offset + i;
        size_t n = SPOOL_BLOCK - at % SPOOL_BLOCK;
        if (n > len - i)
            n = len - i;
        const char *block = (const char *)data + i;
        int rc = spool_is_zero(block, n) ? 0 : write_all(s->fd, block, n, at, err);
        if (rc < 0)
            return rc;
        range->n_data += !spool_is_zero(block, n);
        i += n;
    }
    return 0;
}

ssize_t spool_read(const struct spool *s, const struct spool_range *range, uint64_t offset, void *data,
                   size_t len)
{
    if (offset >= range->size)
        return 0;
    if (len > range->size - offset)
        len = (size_t)(range->size - offset);
    ssize_t n = pread(s->fd, data, len, (off_t)(range->at + offset));
    if (n < 0)
        return -errno;
    if ((size_t)n < len) // behind the file's end: a hole
        memset((char *)data + n, 0, len - (size_t)n);
    return (ssize_t)len;
}

uint64_t spool_next_data(const struct spool *s, const struct spool_range *range, uint64_t offset)
{
    if (offset >= range->size)
        return range->size;
    off_t at = lseek(s->fd, (off_t)(range->at + offset), SEEK_DATA);
    if (at < 0)
        return errno == ENXIO ? range->size : offset; // a file system without holes: all is data
    uint64_t next = (uint64_t)at - range->at;
    return next < range->size ? next : range->size;
}

int spool_copy_fd(struct spool *s, int fd, uint64_t size, struct spool_range *ret, struct err *err)
{
    _cleanup_free_ char *chunk = malloc(COPY_CHUNK);
    if (!chunk)
        return err_set(err, -ENOMEM, "no memory to copy a file");
    struct spool_range range;
    int rc = spool_begin(s, size, &range, err);
    uint64_t at = 0;
    while (rc == 0 && at < size) {
        ssize_t n = read(fd, chunk, size - at < COPY_CHUNK ? (size_t)(size - at) : COPY_CHUNK);
        if (n <= 0)
            return n < 0 ? err_errno(err, -errno, "read")
                         : err_set(err, -EIO, "it became shorter while it was read");
        rc = spool_write(s, &range, at, chunk, (size_t)n, err);
        at += (uint64_t)n;
    }
    if (rc == 0)
        *ret = range;
    return rc;
}
