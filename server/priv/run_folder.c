// Owns the files in the run folder. Called by main.c.
#include "run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"

#define BACKLOG 4

// From here to as_root() the kernel checks and creates files as the user's. Neither call can fail for root.
static void as_user(const struct run_folder *f)
{
    setfsgid(f->group);
    setfsuid(f->user);
}

static void as_root(void)
{
    setfsuid(0);
    setfsgid(0);
}

static int open_folder(struct run_folder *f, const char *path, struct err *err)
{
    bool made = mkdir(path, 0711) == 0;
    f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0)
        return err_errno(err, -errno, "open the run folder %s", path);
    if (made && (fchown(f->fd, f->user, f->group) < 0 || fchmod(f->fd, 0711) < 0))
        return err_errno(err, -errno, "give the run folder %s to user %u", path, f->user);
    if (!realpath(path, f->real_path))
        return err_errno(err, -errno, "the path of the run folder %s", path);
    return 0;
}

static int take_lock(struct run_folder *f, struct err *err)
{
    as_user(f);
    f->lock = openat(f->fd, RUN_FOLDER_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int error = errno;
    as_root();
    if (f->lock < 0)
        return err_errno(err, -error, "open %s/%s (the folder has to be one that user %u may write)",
                         f->real_path, RUN_FOLDER_LOCK, f->user);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(f->lock, F_SETLK, &lock) == 0)
        return 0;
    error = errno;
    if ((error != EAGAIN && error != EACCES) || fcntl(f->lock, F_GETLK, &lock) < 0)
        return err_errno(err, -error, "lock %s/%s", f->real_path, RUN_FOLDER_LOCK);
    return err_set(err, -EBUSY,
                   "the run folder %s is in use by the envpriv with pid %d: stop it, or choose another --run",
                   f->real_path, lock.l_pid);
}

int run_folder_open(struct run_folder *f, const char *path, uid_t user, gid_t group, struct err *err)
{
    *f = (struct run_folder){.user = user, .group = group, .fd = -1, .lock = -1};
    int rc = open_folder(f, path, err);
    if (rc == 0)
        rc = take_lock(f, err);
    if (rc < 0) {
        cleanup_close(&f->lock);
        cleanup_close(&f->fd);
        f->fd = f->lock = -1;
    }
    return rc;
}

static int bind_in_folder(const struct run_folder *f, int fd)
{
    // By way of the descriptor: the path may be longer than a socket address holds.
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", f->fd, RUN_FOLDER_SOCKET);
    as_user(f);
    unlinkat(f->fd, RUN_FOLDER_SOCKET, 0); // a predecessor's: the lock is ours
    mode_t mask = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    umask(mask);
    as_root();
    return rc;
}

int run_folder_listen(const struct run_folder *f, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, -errno, "make a socket");
    int rc = bind_in_folder(f, fd);
    if (rc == 0 && listen(fd, BACKLOG) < 0)
        rc = -errno;
    if (rc < 0)
        return err_errno(err, rc, "listen on %s/%s", f->real_path, RUN_FOLDER_SOCKET);
    *ret_fd = take_fd(&fd);
    return 0;
}

void run_folder_close(struct run_folder *f)
{
    if (f->lock >= 0) {
        as_user(f);
        unlinkat(f->fd, RUN_FOLDER_SOCKET, 0);
        unlinkat(f->fd, RUN_FOLDER_LOCK, 0); // before it is unlocked, so that nobody locks a name that goes
        as_root();
    }
    cleanup_close(&f->lock);
    cleanup_close(&f->fd);
    f->fd = f->lock = -1;
}
