// System calls that describe files.
#include <asm/fcntl.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "base/kernel.h"
#include "base/string.h"
#include "fs/abi.h"
#include "fs/file.h"
#include "mem/pages.h"
#include "sys/handlers.h"
#include "sys/paths.h"
#include "sys/user.h"

#define HERE        ((uint64_t)AT_FDCWD)
#define DEVICE_ID   1u
#define TMPFS_MAGIC 0x01021994
#define MAJOR_MEM   1u

// What stat, statx and fstat have in common.
struct description {
    uint64_t ino, size_bytes, mtime_ns;
    uint32_t mode, n_links, device_minor;
};

static const uint32_t kind_modes[] = {
    [NODE_DIRECTORY] = MODE_DIRECTORY, [NODE_FILE] = MODE_FILE,     [NODE_SYMLINK] = MODE_SYMLINK,
    [NODE_DEVICE] = MODE_CHARACTER,    [NODE_SOCKET] = MODE_SOCKET,
};

// Minor numbers of Linux's memory devices (major 1).
static const uint8_t device_minors[] = {
    [DEVICE_NULL] = 3, [DEVICE_ZERO] = 5, [DEVICE_FULL] = 7, [DEVICE_RANDOM] = 9, [DEVICE_TTY] = 0,
};

static void describe_node(const struct node *node, struct description *ret)
{
    *ret = (struct description){
        .ino = node->ino,
        .size_bytes = node->size_bytes,
        .mtime_ns = node->mtime_ns,
        .mode = kind_modes[node->kind] | node->permissions,
        .n_links = node->kind == NODE_DIRECTORY ? 2 : 1,
        .device_minor = node->kind == NODE_DEVICE ? device_minors[node->device] : 0,
    };
}

static int describe_descriptor(uint64_t fd, struct description *ret)
{
    struct file *file = files_get(fd);
    if (!file)
        return -EBADF;
    if (file->node)
        describe_node(file->node, ret);
    else
        *ret = (struct description){.ino = 1000000 + fd,
                                    .mode = file->ops->mode,
                                    .n_links = 1,
                                    .device_minor = (file->ops->mode & MODE_TYPE) == MODE_CHARACTER ? 3 : 0};
    return 0;
}

static int describe_path(uint64_t dirfd, uint64_t path, uint64_t at_flags, struct description *ret)
{
    char first = 1;
    struct node *node = NULL;
    if (at_flags & AT_EMPTY_PATH) {
        // fstat as newfstatat(fd, "", …, AT_EMPTY_PATH): the descriptor need not have a node.
        if (path && user_get(&first, path, 1) < 0)
            return -EFAULT;
        if ((!path || !first) && (int)dirfd != AT_FDCWD)
            return describe_descriptor(dirfd, ret);
    }
    int rc = paths_find(dirfd, path, at_flags, &node);
    if (rc == 0)
        describe_node(node, ret);
    return rc;
}

static int64_t put_stat(int rc, const struct description *d, uint64_t out)
{
    if (rc < 0)
        return rc;
    struct stat s = {
        .st_dev = DEVICE_ID,
        .st_ino = d->ino,
        .st_nlink = d->n_links,
        .st_mode = d->mode,
        .st_rdev = d->device_minor ? MAJOR_MEM << 8 | d->device_minor : 0,
        .st_size = (int64_t)d->size_bytes,
        .st_blksize = PAGE_BYTES,
        .st_blocks = (int64_t)((d->size_bytes + 511) / 512),
    };
    s.st_atime = s.st_mtime = s.st_ctime = d->mtime_ns / NS_PER_SECOND;
    s.st_atime_nsec = s.st_mtime_nsec = s.st_ctime_nsec = d->mtime_ns % NS_PER_SECOND;
    return user_put(out, &s, sizeof s);
}

int64_t sys_stat(const uint64_t a[6])
{
    struct description d = {.ino = 0};
    return put_stat(describe_path(HERE, a[0], 0, &d), &d, a[1]);
}

int64_t sys_lstat(const uint64_t a[6])
{
    struct description d = {.ino = 0};
    return put_stat(describe_path(HERE, a[0], AT_SYMLINK_NOFOLLOW, &d), &d, a[1]);
}

int64_t sys_fstat(const uint64_t a[6])
{
    struct description d = {.ino = 0};
    return put_stat(describe_descriptor(a[0], &d), &d, a[1]);
}

int64_t sys_newfstatat(const uint64_t a[6])
{
    struct description d = {.ino = 0};
    return put_stat(describe_path(a[0], a[1], a[3], &d), &d, a[2]);
}

int64_t sys_statx(const uint64_t a[6])
{
    struct description d = {.ino = 0};
    int rc = describe_path(a[0], a[1], a[2], &d);
    if (rc < 0)
        return rc;
    struct statx_timestamp time = {.tv_sec = (int64_t)(d.mtime_ns / NS_PER_SECOND),
                                   .tv_nsec = (uint32_t)(d.mtime_ns % NS_PER_SECOND)};
    struct statx s = {
        .stx_mask = STATX_BASIC_STATS,
        .stx_blksize = PAGE_BYTES,
        .stx_nlink = d.n_links,
        .stx_mode = (uint16_t)d.mode,
        .stx_ino = d.ino,
        .stx_size = d.size_bytes,
        .stx_blocks = (d.size_bytes + 511) / 512,
        .stx_atime = time,
        .stx_ctime = time,
        .stx_mtime = time,
        .stx_rdev_major = d.device_minor ? MAJOR_MEM : 0,
        .stx_rdev_minor = d.device_minor,
        .stx_dev_minor = DEVICE_ID,
    };
    return user_put(a[4], &s, sizeof s);
}

static int64_t put_statfs(int rc, uint64_t out)
{
    struct statfs s = {
        .f_type = TMPFS_MAGIC,
        .f_bsize = PAGE_BYTES,
        .f_blocks = (int64_t)pages_total(),
        .f_bfree = (int64_t)pages_free_count(),
        .f_bavail = (int64_t)pages_free_count(),
        .f_namelen = TREE_NAME_MAX,
        .f_frsize = PAGE_BYTES,
    };
    return rc < 0 ? rc : user_put(out, &s, sizeof s);
}

int64_t sys_statfs(const uint64_t a[6])
{
    struct node *node;
    return put_statfs(paths_find(HERE, a[0], 0, &node), a[1]);
}

int64_t sys_fstatfs(const uint64_t a[6])
{
    return put_statfs(files_get(a[0]) ? 0 : -EBADF, a[1]);
}
