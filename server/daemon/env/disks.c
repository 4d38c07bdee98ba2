// Owns the files of environments' disks: where they are, and that they are whole or not there. Called on a
// thread; must not know states, the store or the loop.
#include "env/disks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay.h"
#include "common/cleanup.h"

#define ROOT_FILE  "root.overlay"
#define NEW_SUFFIX ".new" // until it is whole
#define MIB        ((uint64_t)1 << 20)
#define DEPTH_MAX  3 // STATE/volumes/TENANT/NAME

_Static_assert(DISKS_ID_BYTES == OVERLAY_ID_BYTES, "an overlay knows its image by the digest");

static void root_folder(char out[PATH_MAX], const struct disks_owner *o)
{
    snprintf(out, PATH_MAX, "%s/disks/%s", o->state, o->uid);
}

static void volume_folder(char out[PATH_MAX], const struct disks_owner *o)
{
    snprintf(out, PATH_MAX, "%s/volumes/%s/%s", o->state, o->tenant, o->name);
}

// --- making ---

static int sync_folder(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

// Makes the last n components of path, each durable in its parent.
static int make_folders(const char *path, int n, struct err *err)
{
    char at[PATH_MAX];
    size_t len = strlen(path);
    int rc = 0;
    for (int left = n; rc == 0 && left > 0; left--) {
        size_t end = len;
        for (int skip = left - 1; skip > 0; skip--)
            while (end > 0 && path[--end] != '/')
                ;
        snprintf(at, sizeof at, "%.*s", (int)end, path);
        if (mkdir(at, 0700) == 0) {
            *strrchr(at, '/') = '\0';
            rc = sync_folder(at);
        } else if (errno != EEXIST) {
            rc = -errno;
        }
    }
    return rc < 0 ? err_errno(err, rc, "make the folder %s", path) : 0;
}

static int fill_volume(int fd, const void *arg, struct err *err)
{
    const struct env_volume *volume = arg;
    if (ftruncate(fd, (off_t)(volume->size_mib * MIB)) < 0 || fsync(fd) < 0)
        return err_errno(err, -errno, "make the volume %s", volume->name);
    return 0;
}

static int fill_overlay(int fd, const void *arg, struct err *err)
{
    const struct disks_root *root = arg;
    struct block_overlay_options options = {.base_fd = root->base_fd, .file_fd = fd};
    memcpy(options.base_id, root->base_id, sizeof options.base_id);
    return block_overlay_format(&options, root->bytes, 0, err);
}

// Under another name first: what has its name is whole, whenever the host stops.
static int make_file(const char *folder, const char *path, int (*fill)(int, const void *, struct err *),
                     const void *arg, struct err *err)
{
    char new[PATH_MAX + sizeof NEW_SUFFIX];
    snprintf(new, sizeof new, "%s%s", path, NEW_SUFFIX);
    unlink(new);
    _cleanup_close_ int fd = open(new, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? err_errno(err, -errno, "make %s", path) : fill(fd, arg, err);
    if (rc == 0 && rename(new, path) < 0)
        rc = err_errno(err, -errno, "make %s", path);
    if (rc == 0 && (rc = sync_folder(folder)) < 0)
        err_errno(err, rc, "make %s", path);
    if (rc < 0) {
        unlink(new);
        return rc;
    }
    return take_fd(&fd);
}

static int open_or_make(const char *folder, const char *file, int (*fill)(int, const void *, struct err *),
                        const void *arg, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        return err_set(err, -ENAMETOOLONG, "the state folder's path is too long");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        return fd;
    return errno == ENOENT ? make_file(folder, path, fill, arg, err)
                           : err_errno(err, -errno, "open %s", path);
}

static int open_root(const struct disks_owner *owner, const struct disks_root *root, struct err *err)
{
    char folder[PATH_MAX];
    root_folder(folder, owner);
    int rc = make_folders(folder, 2, err);
    return rc < 0 ? rc : open_or_make(folder, ROOT_FILE, fill_overlay, root, err);
}

static int open_volume(const struct disks_owner *owner, const struct env_volume *volume, struct err *err)
{
    char folder[PATH_MAX], file[VMCTL_DISK_ID_MAX + sizeof ".raw"];
    volume_folder(folder, owner);
    snprintf(file, sizeof file, "%s.raw", volume->name);
    int rc = make_folders(folder, DEPTH_MAX, err);
    return rc < 0 ? rc : open_or_make(folder, file, fill_volume, volume, err);
}

int disks_open(const struct disks_owner *owner, const struct disks_root *root,
               const struct env_volume *volumes, size_t n_volumes, int ret_fds[DISKS_FDS_MAX], size_t *ret_n,
               struct err *err)
{
    int fds[DISKS_FDS_MAX];
    size_t n = 0;
    int fd = 0;
    if (root->base_fd >= 0 && (fd = open_root(owner, root, err)) >= 0)
        fds[n++] = fd;
    for (size_t i = 0; fd >= 0 && i < n_volumes; i++)
        if ((fd = open_volume(owner, &volumes[i], err)) >= 0)
            fds[n++] = fd;
    if (fd < 0) {
        while (n > 0)
            close(fds[--n]);
        return fd;
    }
    memcpy(ret_fds, fds, n * sizeof fds[0]);
    *ret_n = n;
    return 0;
}

// --- removing ---

// The files of a folder, then the folder. Nothing here has folders within.
static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    rmdir(path);
}

void disks_remove(const struct disks_owner *owner)
{
    char path[PATH_MAX];
    root_folder(path, owner);
    remove_folder(path);
    volume_folder(path, owner);
    remove_folder(path);
    *strrchr(path, '/') = '\0';
    rmdir(path); // works with the tenant's last volumes only, as it should
}

static void sweep_tenant(const char *state, const char *tenant, disks_keep *keep, void *arg)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/volumes/%s", state, tenant);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));) {
        char folder[PATH_MAX + NAME_MAX + 1];
        if (!name_valid(d->d_name, strlen(d->d_name)) || keep(arg, tenant, d->d_name, NULL))
            continue;
        snprintf(folder, sizeof folder, "%s/%s", path, d->d_name);
        remove_folder(folder);
    }
    closedir(dir);
    rmdir(path);
}

void disks_sweep(const char *state, disks_keep *keep, void *arg)
{
    char path[PATH_MAX], folder[PATH_MAX + NAME_MAX + 1];
    struct id id;
    snprintf(path, sizeof path, "%s/disks", state);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (!id_parse(d->d_name, strlen(d->d_name), &id) || keep(arg, NULL, NULL, d->d_name))
            continue;
        snprintf(folder, sizeof folder, "%s/%s", path, d->d_name);
        remove_folder(folder);
    }
    if (dir)
        closedir(dir);
    snprintf(path, sizeof path, "%s/volumes", state);
    dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (name_valid(d->d_name, strlen(d->d_name)))
            sweep_tenant(state, d->d_name, keep, arg);
    if (dir)
        closedir(dir);
}

// --- what they take ---

static uint64_t used_bytes(const char *folder, const char *file)
{
    char path[PATH_MAX + VMCTL_DISK_ID_MAX + 8];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

uint64_t disks_used_bytes(const struct disks_owner *owner, const struct env_spec *spec)
{
    char folder[PATH_MAX], file[VMCTL_DISK_ID_MAX + sizeof ".raw"];
    root_folder(folder, owner);
    uint64_t bytes = used_bytes(folder, ROOT_FILE);
    volume_folder(folder, owner);
    for (size_t i = 0; i < spec->n_volumes; i++) {
        snprintf(file, sizeof file, "%.*s.raw", VMCTL_DISK_ID_MAX, spec->volumes[i].name);
        bytes += used_bytes(folder, file);
    }
    return bytes;
}
