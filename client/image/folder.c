// Owns reading a folder of the host. Called by source.c. Symbolic links are read, never followed.
#include "image/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"

#define XATTR_NAMES_MAX 65536
#define VALUE_MAX       65536

// Where a file with several names was seen first.
struct seen {
    dev_t dev;
    ino_t ino;
    char *path;
};

struct reader {
    struct tree *tree;
    struct spool *spool;
    struct err *err;
    uid_t self; // to be taken for root; 0: nobody
    void *seen;
};

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int by_inode(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void seen_free(void *arg)
{
    struct seen *seen = arg;
    free(seen->path);
    free(seen);
}

// The path that the file has in the tree already; or NULL, and it is noted with this path.
static const char *seen_before(struct reader *r, const struct stat *st, const char *path)
{
    struct seen *seen = malloc(sizeof *seen);
    if (!seen)
        return NULL; // then it is a file of its own
    *seen = (struct seen){st->st_dev, st->st_ino, strdup(path)};
    struct seen **found = tsearch(seen, &r->seen, by_inode);
    if (found && *found == seen)
        return NULL;
    seen_free(seen);
    return found ? (*found)->path : NULL;
}

static int read_content(struct reader *r, const FTSENT *f, struct tree_inode *inode)
{
    struct stat st;
    _cleanup_close_ int fd = open(f->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(r->err, -errno, "open");
    if (!S_ISREG(st.st_mode))
        return err_set(r->err, -EBUSY, "it changed while it was read");
    return spool_copy_fd(r->spool, fd, (uint64_t)st.st_size, &inode->content, r->err);
}

static int read_target(struct reader *r, const FTSENT *f, struct tree_inode *inode)
{
    char target[TREE_PATH_MAX + 1];
    ssize_t n = readlink(f->fts_accpath, target, sizeof target - 1);
    if (n <= 0)
        return err_errno(r->err, n < 0 ? -errno : -EINVAL, "read the link");
    inode->target = strndup(target, (size_t)n);
    return inode->target ? 0 : err_set(r->err, -ENOMEM, "no memory for a symbolic link");
}

static int read_xattrs(struct reader *r, const FTSENT *f, struct tree_inode *inode)
{
    ssize_t len = llistxattr(f->fts_accpath, NULL, 0);
    if (len <= 0 || len > XATTR_NAMES_MAX)
        return 0; // none, or a file system without them
    _cleanup_free_ char *names = malloc((size_t)len + 1);
    _cleanup_free_ char *value = malloc(VALUE_MAX);
    if (!names || !value)
        return err_set(r->err, -ENOMEM, "no memory for extended attributes");
    len = llistxattr(f->fts_accpath, names, (size_t)len);
    int rc = 0;
    for (ssize_t at = 0; at < len && rc == 0; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        ssize_t n = tree_xattr_wanted(name) ? lgetxattr(f->fts_accpath, name, value, VALUE_MAX) : -1;
        if (n >= 0)
            rc = tree_add_xattr(inode, name, value, (size_t)n, r->err);
    }
    return rc;
}

static int fill_inode(struct reader *r, const FTSENT *f, struct tree_inode *inode)
{
    const struct stat *st = f->fts_statp;
    inode->uid = r->self && st->st_uid == r->self ? 0 : st->st_uid;
    inode->gid = r->self && st->st_uid == r->self ? 0 : st->st_gid;
    inode->mtime_s = st->st_mtim.tv_sec < 0 ? 0 : st->st_mtim.tv_sec;
    inode->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    inode->major = major(st->st_rdev);
    inode->minor = minor(st->st_rdev);
    int rc = read_xattrs(r, f, inode);
    if (rc == 0 && S_ISREG(st->st_mode))
        rc = read_content(r, f, inode);
    if (rc == 0 && S_ISLNK(st->st_mode))
        rc = read_target(r, f, inode);
    return rc;
}

static int read_one(struct reader *r, const FTSENT *f, const char *path)
{
    const struct stat *st = f->fts_statp;
    const char *other = !S_ISDIR(st->st_mode) && st->st_nlink > 1 ? seen_before(r, st, path) : NULL;
    if (S_ISSOCK(st->st_mode))
        return 0;
    if (other)
        return tree_link(r->tree, path, other, r->err);
    struct tree_inode *inode = tree_inode_new(st->st_mode);
    if (!inode)
        return err_set(r->err, -ENOMEM, "no memory for a tree of files");
    int rc = fill_inode(r, f, inode);
    if (rc == 0)
        return tree_put(r->tree, path, inode, r->err);
    tree_inode_free(inode);
    return rc;
}

static int read_all(struct reader *r, FTS *fts, size_t prefix)
{
    FTSENT *f;
    int rc = 0;
    while (rc == 0 && (f = fts_read(fts))) {
        if (f->fts_info == FTS_DP)
            continue;
        if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR || f->fts_info == FTS_NS)
            return err_errno(r->err, -f->fts_errno, "read %s", f->fts_path);
        const char *path = f->fts_path + prefix;
        rc = read_one(r, f, path + strspn(path, "/"));
        if (rc < 0)
            err_wrap(r->err, rc, "%.200s", f->fts_path);
    }
    return rc;
}

int folder_read(const char *path, struct tree *t, struct spool *s, struct err *err)
{
    char *roots[] = {(char *)path, NULL};
    struct reader r = {.tree = t, .spool = s, .err = err, .self = geteuid()};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, by_name);
    if (!fts)
        return err_errno(err, -errno, "read %s", path);
    int rc = read_all(&r, fts, strlen(path));
    fts_close(fts);
    tdestroy(r.seen, seen_free);
    return rc;
}
