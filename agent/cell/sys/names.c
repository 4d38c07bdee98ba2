// System calls that change the tree: make, remove, rename, and metadata.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/time_types.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/string.h"
#include "fs/file.h"
#include "sys/handlers.h"
#include "sys/paths.h"
#include "sys/user.h"

#define HERE      ((uint64_t)AT_FDCWD)
#define TIME_NOW  0x3fffffff
#define TIME_OMIT 0x3ffffffe

static int64_t make_directory(uint64_t dirfd, uint64_t path, uint64_t mode)
{
    struct place p;
    struct node *node;
    int rc = paths_place(dirfd, path, &p);
    if (rc < 0)
        return rc;
    if (tree_child(p.directory, p.name, p.len))
        return -EEXIST;
    return tree_create(p.directory, p.name, p.len, NODE_DIRECTORY, paths_mode(mode), &node);
}

int64_t sys_mkdir(const uint64_t a[6])
{
    return make_directory(HERE, a[0], a[1]);
}

int64_t sys_mkdirat(const uint64_t a[6])
{
    return make_directory(a[0], a[1], a[2]);
}

static int64_t remove_path(uint64_t dirfd, uint64_t path, bool directory)
{
    struct place p;
    int rc = paths_place(dirfd, path, &p);
    if (rc < 0)
        return rc == -EEXIST ? (directory ? -EBUSY : -EISDIR) : rc;
    struct node *node = tree_child(p.directory, p.name, p.len);
    if (!node)
        return -ENOENT;
    if (directory && node->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    if (!directory && node->kind == NODE_DIRECTORY)
        return -EISDIR;
    return p.slash && node->kind != NODE_DIRECTORY ? -ENOTDIR : tree_remove(node);
}

int64_t sys_rmdir(const uint64_t a[6])
{
    return remove_path(HERE, a[0], true);
}

int64_t sys_unlink(const uint64_t a[6])
{
    return remove_path(HERE, a[0], false);
}

int64_t sys_unlinkat(const uint64_t a[6])
{
    return remove_path(a[0], a[1], a[2] & AT_REMOVEDIR);
}

// Makes way for a rename: removes what is at the target, when it may be replaced.
static int replace(const struct place *to, const struct node *node, uint64_t flags)
{
    struct node *old = tree_child(to->directory, to->name, to->len);
    if (!old)
        return 0;
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (old->kind == NODE_DIRECTORY && node->kind != NODE_DIRECTORY)
        return -EISDIR;
    if (old->kind != NODE_DIRECTORY && node->kind == NODE_DIRECTORY)
        return -ENOTDIR;
    for (const struct node *up = node; up->parent && up->parent != up; up = up->parent)
        if (up == old)
            return -ENOTEMPTY;
    return tree_remove(old);
}

static int64_t rename_path(uint64_t from_fd, uint64_t from, uint64_t to_fd, uint64_t to, uint64_t flags)
{
    struct place source = {.len = 0}, target = {.len = 0};
    if (flags & ~(uint64_t)RENAME_NOREPLACE)
        return -EINVAL;
    int rc = paths_place(from_fd, from, &source);
    if (rc == 0)
        rc = paths_place(to_fd, to, &target);
    if (rc < 0)
        return rc == -EEXIST ? -EBUSY : rc;
    struct node *node = tree_child(source.directory, source.name, source.len);
    if (!node)
        return -ENOENT;
    if (node->kind != NODE_DIRECTORY && (source.slash || target.slash))
        return -ENOTDIR;
    if (node == tree_child(target.directory, target.name, target.len))
        return 0;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): paths_place() sets both where it returns 0
    if (!source.directory->writable || !target.directory->writable)
        return -EROFS;
    for (struct node *up = target.directory; up->parent && up->parent != up; up = up->parent)
        if (up == node)
            return -EINVAL;
    rc = replace(&target, node, flags);
    return rc < 0 ? rc : tree_rename(node, target.directory, target.name, target.len);
}

int64_t sys_rename(const uint64_t a[6])
{
    return rename_path(HERE, a[0], HERE, a[1], 0);
}

int64_t sys_renameat(const uint64_t a[6])
{
    return rename_path(a[0], a[1], a[2], a[3], 0);
}

int64_t sys_renameat2(const uint64_t a[6])
{
    return rename_path(a[0], a[1], a[2], a[3], a[4]);
}

static int64_t make_link(uint64_t target, uint64_t dirfd, uint64_t path)
{
    const char *text;
    struct place p;
    struct node *node;
    int64_t len = user_path(target, &text);
    if (len <= 0)
        return len ? len : -ENOENT;
    int rc = paths_place(dirfd, path, &p);
    if (rc < 0)
        return rc;
    if (tree_child(p.directory, p.name, p.len))
        return -EEXIST;
    rc = tree_create(p.directory, p.name, p.len, NODE_SYMLINK, 0777, &node);
    if (rc < 0)
        return rc;
    rc = tree_set_target(node, text, (size_t)len);
    if (rc < 0)
        tree_remove(node);
    return rc;
}

int64_t sys_symlink(const uint64_t a[6])
{
    return make_link(a[0], HERE, a[1]);
}

int64_t sys_symlinkat(const uint64_t a[6])
{
    return make_link(a[0], a[1], a[2]);
}

static int64_t set_permissions(struct node *node, uint64_t mode)
{
    if (!node->writable)
        return -EROFS;
    node->permissions = mode & 07777;
    return 0;
}

int64_t sys_chmod(const uint64_t a[6])
{
    struct node *node;
    int rc = paths_find(HERE, a[0], 0, &node);
    return rc < 0 ? rc : set_permissions(node, a[1]);
}

int64_t sys_fchmodat(const uint64_t a[6])
{
    struct node *node;
    int rc = paths_find(a[0], a[1], 0, &node);
    return rc < 0 ? rc : set_permissions(node, a[2]);
}

int64_t sys_fchmod(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    if (!file)
        return -EBADF;
    return file->node ? set_permissions(file->node, a[1]) : 0;
}

// Everything belongs to root, the only user; asking for that, or for no change, is fine.
static int64_t set_owner(int rc, const struct node *node, uint64_t uid, uint64_t gid)
{
    if (rc < 0)
        return rc;
    if (node && !node->writable)
        return -EROFS;
    return ((uint32_t)uid == 0 || (uint32_t)uid == UINT32_MAX) &&
                   ((uint32_t)gid == 0 || (uint32_t)gid == UINT32_MAX)
               ? 0
               : -EPERM;
}

int64_t sys_chown(const uint64_t a[6])
{
    struct node *node = NULL;
    int rc = paths_find(HERE, a[0], AT_SYMLINK_NOFOLLOW, &node);
    return set_owner(rc, node, a[1], a[2]);
}

int64_t sys_fchownat(const uint64_t a[6])
{
    struct node *node = NULL;
    int rc = paths_find(a[0], a[1], a[4], &node);
    return set_owner(rc, node, a[2], a[3]);
}

int64_t sys_fchown(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    return set_owner(file ? 0 : -EBADF, file ? file->node : NULL, a[1], a[2]);
}

// Only the time of change is kept. A NULL path means the descriptor itself (futimens).
int64_t sys_utimensat(const uint64_t a[6])
{
    struct node *node = NULL;
    struct __kernel_timespec times[2] = {{0, TIME_NOW}, {0, TIME_NOW}};
    struct file *file = a[1] ? NULL : files_get(a[0]);
    int rc = a[1] ? paths_find(a[0], a[1], a[3], &node) : file ? 0 : -EBADF;
    if (rc < 0)
        return rc;
    if (file)
        node = file->node;
    if (!node)
        return -EINVAL;
    if (a[2] && user_get(times, a[2], sizeof times) < 0)
        return -EFAULT;
    if (!node->writable)
        return -EROFS;
    if (times[1].tv_nsec == TIME_NOW)
        node->mtime_ns = clock_realtime_ns();
    else if (times[1].tv_nsec != TIME_OMIT)
        node->mtime_ns = (uint64_t)times[1].tv_sec * NS_PER_SECOND + (uint64_t)times[1].tv_nsec;
    return 0;
}
