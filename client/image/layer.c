// Owns reading archives with libarchive: entries become inodes of a tree, contents go to the spool. Called by
// source.c and oci.c. Everything in an archive is untrusted; where a path leads is tree.c's to say.
#include "image/layer.h"

#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checked.h"
#include "common/cleanup.h"

#define READ_CHUNK (1u << 18)
#define WHITEOUT   ".wh."
#define OPAQUE     ".wh..wh..opq"
#define RESERVED   ".wh..wh." // other marks of a file system that is no more
#define MTIME_MAX  ((1LL << 33) - 1)

// Formats and filters by name: support_filter_all() would run programs for some.
static struct archive *new_reader(void)
{
    static int (*const filters[])(struct archive *) = {
        archive_read_support_filter_gzip,     archive_read_support_filter_bzip2,
        archive_read_support_filter_xz,       archive_read_support_filter_lzma,
        archive_read_support_filter_zstd,     archive_read_support_filter_lz4,
        archive_read_support_filter_compress,
    };
    struct archive *a = archive_read_new();
    bool good = a && archive_read_support_format_tar(a) == ARCHIVE_OK &&
                archive_read_support_format_empty(a) == ARCHIVE_OK;
    for (size_t i = 0; good && i < ARRAY_LEN(filters); i++)
        good = filters[i](a) == ARCHIVE_OK;
    if (good)
        return a;
    archive_read_free(a);
    return NULL;
}

static int opened(struct archive *a, int result, struct archive **ret, struct err *err)
{
    if (result == ARCHIVE_OK) {
        *ret = a;
        return 0;
    }
    err_set(err, -EBADMSG, "this is no archive that can be read: %s",
            a ? archive_error_string(a) : "no memory");
    archive_read_free(a);
    return -EBADMSG;
}

int layer_open_fd(int fd, struct archive **ret, struct err *err)
{
    struct archive *a = new_reader();
    return opened(a, a ? archive_read_open_fd(a, fd, READ_CHUNK) : ARCHIVE_FATAL, ret, err);
}

int layer_open_memory(const void *data, size_t len, struct archive **ret, struct err *err)
{
    struct archive *a = new_reader();
    return opened(a, a ? archive_read_open_memory(a, data, len) : ARCHIVE_FATAL, ret, err);
}

struct range_reader {
    const struct spool *spool;
    struct spool_range range;
    uint64_t at;
    char chunk[READ_CHUNK];
};

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret)
{
    struct range_reader *r = arg;
    ssize_t n = spool_read(r->spool, &r->range, r->at, r->chunk, sizeof r->chunk);
    if (n < 0)
        archive_set_error(a, (int)-n, "read a temporary file: %s", strerror((int)-n));
    else
        r->at += (uint64_t)n;
    *ret = r->chunk;
    return n;
}

static int on_close(struct archive *a, void *arg)
{
    (void)a;
    free(arg);
    return ARCHIVE_OK;
}

int layer_open_range(const struct spool *s, const struct spool_range *range, struct archive **ret,
                     struct err *err)
{
    struct archive *a = new_reader();
    struct range_reader *r = a ? malloc(sizeof *r) : NULL;
    if (!r)
        return opened(a, ARCHIVE_FATAL, ret, err);
    r->spool = s;
    r->range = *range;
    r->at = 0;
    return opened(a, archive_read_open2(a, r, NULL, on_read, NULL, on_close), ret, err);
}

// --- one entry ---

static int read_content(struct archive *a, struct archive_entry *e, struct spool *s, struct tree_inode *inode,
                        struct err *err)
{
    const void *data;
    size_t len;
    la_int64_t offset, size = archive_entry_size(e);
    if (size < 0)
        return err_set(err, -EBADMSG, "it has no size");
    int rc = spool_begin(s, (uint64_t)size, &inode->content, err);
    while (rc == 0) {
        int r = archive_read_data_block(a, &data, &len, &offset);
        if (r == ARCHIVE_EOF)
            return 0;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return err_set(err, -EBADMSG, "%s", archive_error_string(a));
        rc = offset < 0 ? err_set(err, -EBADMSG, "its content has a bad offset")
                        : spool_write(s, &inode->content, (uint64_t)offset, data, len, err);
    }
    return rc;
}

static int read_xattrs(struct archive_entry *e, struct tree_inode *inode, struct err *err)
{
    const char *name;
    const void *value;
    size_t len;
    int rc = 0;
    archive_entry_xattr_reset(e);
    while (rc == 0 && archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK)
        if (name && tree_xattr_wanted(name))
            rc = tree_add_xattr(inode, name, value, len, err);
    return rc;
}

static int read_attributes(struct archive_entry *e, struct tree_inode *inode, struct err *err)
{
    la_int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e), mtime = archive_entry_mtime(e);
    if (uid < 0 || uid > UINT32_MAX - 1 || gid < 0 || gid > UINT32_MAX - 1)
        return err_set(err, -EBADMSG, "its owner or group is no number of 32 bits");
    inode->uid = (uint32_t)uid;
    inode->gid = (uint32_t)gid;
    inode->mtime_s = mtime < 0 ? 0 : mtime > MTIME_MAX ? MTIME_MAX : mtime;
    inode->mtime_ns = (uint32_t)archive_entry_mtime_nsec(e) % 1000000000u;
    inode->major = (uint32_t)archive_entry_rdevmajor(e) & 0xfff;
    inode->minor = (uint32_t)archive_entry_rdevminor(e) & 0xfffff;
    return read_xattrs(e, inode, err);
}

static int read_target(struct archive_entry *e, struct tree_inode *inode, struct err *err)
{
    const char *target = archive_entry_symlink(e);
    if (!target || !*target || strlen(target) > TREE_PATH_MAX)
        return err_set(err, -EBADMSG, "it is a symbolic link to %s",
                       target && *target ? "too long a path" : "nothing");
    inode->target = strdup(target);
    return inode->target ? 0 : err_set(err, -ENOMEM, "no memory for a symbolic link");
}

static int read_inode(struct archive *a, struct archive_entry *e, const char *path, struct tree *t,
                      struct spool *s, struct err *err)
{
    mode_t type = archive_entry_filetype(e);
    if (type == S_IFSOCK)
        return 0; // made by programs when they run; no file system image needs one
    if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK && type != S_IFCHR && type != S_IFBLK &&
        type != S_IFIFO)
        return err_set(err, -EBADMSG, "it is of no type that is known");
    struct tree_inode *inode = tree_inode_new(type | (archive_entry_perm(e) & 07777));
    if (!inode)
        return err_set(err, -ENOMEM, "no memory for a tree of files");
    int rc = read_attributes(e, inode, err);
    if (rc == 0 && type == S_IFREG)
        rc = read_content(a, e, s, inode, err);
    if (rc == 0 && type == S_IFLNK)
        rc = read_target(e, inode, err);
    if (rc == 0)
        return tree_put(t, path, inode, err);
    tree_inode_free(inode);
    return rc;
}

static int read_whiteout(const char *path, const char *name, struct tree *t, struct err *err)
{
    char hidden[TREE_PATH_MAX + 1];
    size_t folder = (size_t)(name - path);
    bool opaque = strcmp(name, OPAQUE) == 0;
    const char *rest = opaque ? "" : name + strlen(WHITEOUT);
    if (!opaque && strncmp(name, RESERVED, strlen(RESERVED)) == 0)
        return 0;
    if (!opaque && (!*rest || strcmp(rest, ".") == 0 || strcmp(rest, "..") == 0))
        return err_set(err, -EBADMSG, "it hides nothing that has a name");
    if (folder + strlen(rest) > TREE_PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path has more than %d bytes", TREE_PATH_MAX);
    memcpy(hidden, path, folder);
    strcpy(hidden + folder, rest);
    return tree_hide(t, hidden, opaque, err);
}

static int read_entry(struct archive *a, struct archive_entry *e, bool whiteouts, struct tree *t,
                      struct spool *s, struct err *err)
{
    const char *path = archive_entry_pathname(e);
    if (!path)
        return err_set(err, -EBADMSG, "an entry has no path");
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *target = archive_entry_hardlink(e);
    int rc;
    if (whiteouts && strncmp(name, WHITEOUT, strlen(WHITEOUT)) == 0)
        rc = read_whiteout(path, name, t, err);
    else if (target)
        rc = tree_link(t, path, target, err);
    else
        rc = read_inode(a, e, path, t, s, err);
    return rc < 0 ? err_wrap(err, rc, "%.200s", path) : 0;
}

int layer_read(struct archive *a, bool whiteouts, struct tree *t, struct spool *s, struct err *err)
{
    struct archive_entry *e;
    int r, rc = 0;
    while (rc == 0 && (r = archive_read_next_header(a, &e)) != ARCHIVE_EOF) {
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return err_set(err, -EBADMSG, "the archive is damaged: %s", archive_error_string(a));
        rc = read_entry(a, e, whiteouts, t, s, err);
    }
    return rc;
}
