// System calls that open and look up paths; see paths.h for what is shared.
#include "sys/paths.h"

#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>

#include "fs/content.h"
#include "fs/file.h"
#include "fs/regular.h"
#include "sys/handlers.h"
#include "sys/user.h"

#include "base/string.h"

#define ACCESS_EXECUTE 1u
#define ACCESS_WRITE   2u

static struct node *working_directory; // NULL: the root
static unsigned mask = 022;

int paths_base(uint64_t dirfd, struct node **ret)
{
    if ((int)dirfd == AT_FDCWD) {
        *ret = working_directory;
        return 0;
    }
    struct file *file = files_get(dirfd);
    if (!file)
        return -EBADF;
    if (!file->node || file->node->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    *ret = file->node;
    return 0;
}

// The node of a descriptor, for AT_EMPTY_PATH.
static int node_of(uint64_t fd, struct node **ret)
{
    struct node *root = tree_root();
    if ((int)fd == AT_FDCWD) {
        *ret = working_directory ? working_directory : root;
        return *ret ? 0 : -ENOMEM;
    }
    struct file *file = files_get(fd);
    if (!file)
        return -EBADF;
    *ret = file->node;
    return file->node ? 0 : -EINVAL;
}

int paths_find(uint64_t dirfd, uint64_t path, uint64_t at_flags, struct node **ret)
{
    const char *text;
    int64_t len = user_path(path, &text);
    if (len < 0)
        return (int)len;
    if (!len && (at_flags & AT_EMPTY_PATH))
        return node_of(dirfd, ret);
    struct node *base = NULL;
    int rc = text[0] == '/' ? 0 : paths_base(dirfd, &base);
    if (rc < 0)
        return rc;
    return tree_find(base, text, (size_t)len, at_flags & AT_SYMLINK_NOFOLLOW ? TREE_NO_FOLLOW : 0, ret);
}

int paths_place(uint64_t dirfd, uint64_t path, struct place *ret)
{
    const char *text;
    int64_t len = user_path(path, &text);
    if (len < 0)
        return (int)len;
    struct node *base = NULL;
    int rc = text[0] == '/' ? 0 : paths_base(dirfd, &base);
    if (rc < 0)
        return rc;
    return tree_find_parent(base, text, (size_t)len, &ret->directory, &ret->name, &ret->len, &ret->slash);
}

unsigned paths_mode(uint64_t mode)
{
    return (unsigned)mode & 07777 & ~mask;
}

static int make_file(uint64_t dirfd, uint64_t path, uint64_t mode, struct node **ret)
{
    struct place place;
    int rc = paths_place(dirfd, path, &place);
    if (rc < 0)
        return rc == -EEXIST ? -EISDIR : rc;
    if (place.slash)
        return -EISDIR;
    if (tree_child(place.directory, place.name, place.len))
        return -EEXIST; // a link to nothing
    return tree_create(place.directory, place.name, place.len, NODE_FILE, paths_mode(mode), ret);
}

static int64_t open_path(uint64_t dirfd, uint64_t path, uint32_t flags, uint64_t mode)
{
    struct node *node = NULL;
    struct file *file = NULL;
    bool exclusive = (flags & O_CREAT) && (flags & O_EXCL);
    if ((flags & __O_TMPFILE) == __O_TMPFILE)
        return -EOPNOTSUPP;
    int rc = paths_find(dirfd, path, exclusive || (flags & O_NOFOLLOW) ? AT_SYMLINK_NOFOLLOW : 0, &node);
    if (rc == 0 && exclusive)
        return -EEXIST;
    bool made = rc == -ENOENT && (flags & O_CREAT);
    if (made)
        rc = make_file(dirfd, path, mode, &node);
    if (rc == 0)
        rc = regular_open(node, made ? flags & ~(uint32_t)O_TRUNC : flags, &file);
    if (rc < 0)
        return rc;
    return files_install(file, 0, flags & O_CLOEXEC);
}

int64_t sys_open(const uint64_t a[6])
{
    return open_path((uint64_t)AT_FDCWD, a[0], (uint32_t)a[1], a[2]);
}

int64_t sys_openat(const uint64_t a[6])
{
    return open_path(a[0], a[1], (uint32_t)a[2], a[3]);
}

int64_t sys_creat(const uint64_t a[6])
{
    return open_path((uint64_t)AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
}

// The program is root: everything may be read, what is read-only cannot be written, and files need an x bit
// to be run.
static int64_t check_access(uint64_t dirfd, uint64_t path, uint64_t wanted)
{
    struct node *node;
    int rc = paths_find(dirfd, path, 0, &node);
    if (rc < 0)
        return rc;
    if ((wanted & ACCESS_WRITE) && !node->writable && node->kind != NODE_DEVICE && node->kind != NODE_SOCKET)
        return -EROFS;
    if ((wanted & ACCESS_EXECUTE) && node->kind != NODE_DIRECTORY && !(node->permissions & 0111))
        return -EACCES;
    return 0;
}

int64_t sys_access(const uint64_t a[6])
{
    return check_access((uint64_t)AT_FDCWD, a[0], a[1]);
}

int64_t sys_faccessat(const uint64_t a[6])
{
    return check_access(a[0], a[1], a[2]);
}

static int64_t read_link(uint64_t dirfd, uint64_t path, uint64_t out, uint64_t cap)
{
    struct node *node;
    if ((int64_t)cap <= 0)
        return -EINVAL;
    int rc = paths_find(dirfd, path, AT_SYMLINK_NOFOLLOW, &node);
    if (rc < 0)
        return rc;
    if (node->kind != NODE_SYMLINK)
        return -EINVAL;
    size_t n = node->size_bytes < cap ? node->size_bytes : cap;
    rc = user_put(out, node->data, n);
    return rc < 0 ? rc : (int64_t)n;
}

int64_t sys_readlink(const uint64_t a[6])
{
    return read_link((uint64_t)AT_FDCWD, a[0], a[1], a[2]);
}

int64_t sys_readlinkat(const uint64_t a[6])
{
    return read_link(a[0], a[1], a[2], a[3]);
}

int64_t sys_getcwd(const uint64_t a[6])
{
    if (!user_ok(a[0], a[1]))
        return -EFAULT;
    struct node *root = tree_root();
    struct node *at = working_directory ? working_directory : root;
    return at ? tree_path(at, (char *)a[0], a[1]) : -ENOMEM;
}

static void change_directory(struct node *node)
{
    node_ref(node);
    node_unref(working_directory);
    working_directory = node;
}

int64_t sys_chdir(const uint64_t a[6])
{
    struct node *node;
    int rc = paths_find((uint64_t)AT_FDCWD, a[0], 0, &node);
    if (rc < 0)
        return rc;
    if (node->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    change_directory(node);
    return 0;
}

int64_t sys_fchdir(const uint64_t a[6])
{
    struct file *file = files_get(a[0]);
    if (!file)
        return -EBADF;
    if (!file->node || file->node->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    change_directory(file->node);
    return 0;
}

int64_t sys_truncate(const uint64_t a[6])
{
    struct node *node;
    int rc = (int64_t)a[1] < 0 ? -EINVAL : paths_find((uint64_t)AT_FDCWD, a[0], 0, &node);
    if (rc < 0)
        return rc;
    if (node->kind != NODE_FILE)
        return node->kind == NODE_DIRECTORY ? -EISDIR : -EINVAL;
    return node->writable ? content_resize(node, a[1]) : -EROFS;
}

int64_t sys_umask(const uint64_t a[6])
{
    unsigned old = mask;
    mask = (unsigned)a[0] & 0777;
    return old;
}
