// The epoch's file: one number as text, replaced whole and synced before it counts.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "remote/remote.h"

// 0: there is none, or it says nothing.
static uint64_t read_epoch(const char *path)
{
    char text[32];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static int write_synced(const char *path, uint64_t epoch)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%" PRIu64 "\n", epoch);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, (size_t)n);
    if (written != n)
        return written < 0 ? -errno : -ENOSPC;
    return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder(const char *folder)
{
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int remote_epoch(const char *folder, uint64_t realtime_ms, uint64_t *ret, struct err *err)
{
    char path[PATH_MAX], path_new[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/epoch", folder) >= sizeof path ||
        (size_t)snprintf(path_new, sizeof path_new, "%s/epoch.new", folder) >= sizeof path_new)
        return err_set(err, -ENAMETOOLONG, "the path of %s is too long", folder);
    uint64_t last = read_epoch(path), epoch = last ? last + 1 : realtime_ms;
    int rc = write_synced(path_new, epoch);
    if (rc == 0 && rename(path_new, path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_folder(folder);
    if (rc < 0)
        return err_errno(err, rc, "write %s", path);
    *ret = epoch;
    return 0;
}
