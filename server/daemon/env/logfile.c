// Owns the log files on disk. Called by env/ and api/; knows nothing of who prints or reads.
#include "env/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CHUNK 16384u

static void path_of(char out[PATH_MAX], const char *folder, const char *tenant, const char *name)
{
    snprintf(out, PATH_MAX, "%s/%s/%s.log", folder, tenant, name);
}

static int make_folders(const char *folder, const char *tenant, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, tenant);
    if ((mkdir(folder, 0700) < 0 && errno != EEXIST) || (mkdir(path, 0700) < 0 && errno != EEXIST))
        return err_errno(err, -errno, "make the folder %s", path);
    return 0;
}

// An empty ring: blocks are taken now, so that a full disk is found out here and not by the guest's output.
static int format(int fd, uint32_t capacity, struct err *err)
{
    uint8_t raw[32];
    struct logring ring = {.capacity = capacity};
    logring_header_write(&ring, raw);
    int rc = ftruncate(fd, 0) < 0 ? -errno : -posix_fallocate(fd, 0, LOGRING_HEADER + (off_t)capacity);
    if (rc == 0)
        rc = pwrite(fd, raw, sizeof raw, 0) == (ssize_t)sizeof raw ? 0 : -EIO;
    return rc < 0 ? err_errno(err, rc, "take %u KiB for the log", capacity >> 10) : 0;
}

int logfile_open(const char *folder, const char *tenant, const char *name, uint32_t capacity, struct err *err)
{
    char path[PATH_MAX];
    struct logring ring;
    struct stat st;
    int rc = make_folders(folder, tenant, err);
    if (rc < 0)
        return rc;
    path_of(path, folder, tenant, name);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, -errno, "open the log %s", path);
    bool usable = fstat(fd, &st) == 0 && st.st_size == LOGRING_HEADER + (off_t)capacity &&
                  logfile_header(fd, &ring) == 0 && ring.capacity == capacity;
    rc = usable ? 0 : format(fd, capacity, err);
    if (rc < 0) {
        unlink(path);
        return rc;
    }
    return take_fd(&fd);
}

int logfile_open_read(const char *folder, const char *tenant, const char *name)
{
    char path[PATH_MAX];
    path_of(path, folder, tenant, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

void logfile_remove(const char *folder, const char *tenant, const char *name)
{
    char path[PATH_MAX];
    path_of(path, folder, tenant, name);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s", folder, tenant);
    rmdir(path); // works with the tenant's last log only, as it should
}

int logfile_header(int fd, struct logring *ret)
{
    uint8_t raw[LOGRING_HEADER];
    if (pread(fd, raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return -EIO;
    return logring_header_read(raw, ret) ? -EBADMSG : 0;
}

ssize_t logfile_read(int fd, const struct logring *ring, uint64_t *from, void *data, size_t cap)
{
    uint64_t oldest = logring_oldest(ring);
    if (*from < oldest)
        *from = oldest;
    if (*from >= ring->total)
        return 0;
    uint64_t left = ring->total - *from;
    size_t n = left < cap ? (size_t)left : cap;
    struct logring_span spans[2];
    size_t n_spans = logring_spans(ring, *from, n, spans);
    size_t got = 0;
    for (size_t i = 0; i < n_spans; i++) {
        ssize_t r = pread(fd, (char *)data + got, spans[i].len, (off_t)spans[i].file_offset);
        if (r < 0)
            return -errno;
        got += (size_t)r;
        if ((size_t)r < spans[i].len)
            break;
    }
    return (ssize_t)got;
}

uint64_t logfile_tail(int fd, const struct logring *ring, uint32_t n_lines)
{
    char data[CHUNK];
    uint64_t oldest = logring_oldest(ring), end = ring->total;
    uint32_t seen = 0;
    if (n_lines == 0)
        return end;
    while (end > oldest) {
        uint64_t from = end - oldest > CHUNK ? end - CHUNK : oldest;
        ssize_t n = logfile_read(fd, ring, &from, data, (size_t)(end - from));
        for (ssize_t i = n - 1; i >= 0; i--) {
            bool last = from + (uint64_t)i + 1 == ring->total; // the newline that ends the log begins no line
            if (data[i] == '\n' && !last && ++seen == n_lines)
                return from + (uint64_t)i + 1;
        }
        if (n <= 0)
            return oldest;
        end = from;
    }
    return oldest;
}
