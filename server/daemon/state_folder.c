// Owns the lock of the state folder. Called by main; knows nothing of what is in it.
#include "state_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static int refuse_locked(int fd, const char *folder, struct err *err)
{
    struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    long pid = fcntl(fd, F_GETLK, &held) == 0 && held.l_type != F_UNLCK ? (long)held.l_pid : 0;
    return err_set(err, -EBUSY,
                   "the state folder %s is in use by the envd with pid %ld: stop that one, or use another "
                   "--state",
                   folder, pid);
}

int state_folder_lock(const char *folder, struct err *err)
{
    char path[PATH_MAX];
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return err_errno(err, -errno, "make the state folder %s", folder);
    snprintf(path, sizeof path, "%s/lock", folder);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, -errno, "open %s as uid %u (the folder must belong to envd's user)", path,
                         (unsigned)geteuid());
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &lock) < 0)
        return errno == EACCES || errno == EAGAIN ? refuse_locked(fd, folder, err)
                                                  : err_errno(err, -errno, "lock %s", path);
    char pid[16];
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return err_errno(err, -errno, "write %s", path);
    return take_fd(&fd);
}
