// Owns the packing of folders, with libarchive. Called by image.c.
#include "pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int archive_error(struct archive *a, struct err *err, const char *path)
{
    return err_set(err, -EIO, "pack %s: %s", path, archive_error_string(a));
}

static int write_data(struct archive *a, const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(err, -errno, "pack %s", path);
    char block[1 << 16];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0)
        if (archive_write_data(a, block, (size_t)n) != n)
            return archive_error(a, err, path);
    return n < 0 ? err_errno(err, -errno, "pack %s", path) : 0;
}

static void cleanup_entry(struct archive_entry **e)
{
    archive_entry_free(*e);
}

static int write_entry(struct archive *a, const FTSENT *f, const char *name, struct err *err)
{
    __attribute__((cleanup(cleanup_entry))) struct archive_entry *e = archive_entry_new();
    char target[4096];
    mode_t type = f->fts_statp->st_mode & S_IFMT;
    if (!e)
        return err_errno(err, -ENOMEM, "pack %s", f->fts_path);
    if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK)
        return err_set(err, -EINVAL, "pack %s: only files, folders and symbolic links can be packed",
                       f->fts_path);
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, f->fts_statp->st_mode & (S_IFMT | 0777));
    archive_entry_set_nlink(e, 1);
    archive_entry_set_size(e, type == S_IFREG ? f->fts_statp->st_size : 0);
    if (type == S_IFLNK) {
        ssize_t n = readlink(f->fts_accpath, target, sizeof target - 1);
        if (n < 0)
            return err_errno(err, -errno, "pack %s", f->fts_path);
        target[n] = '\0';
        archive_entry_set_symlink(e, target);
    }
    if (archive_write_header(a, e) != ARCHIVE_OK)
        return archive_error(a, err, f->fts_path);
    return type == S_IFREG ? write_data(a, f->fts_accpath, err) : 0;
}

static int write_tree(struct archive *a, FTS *tree, size_t prefix, struct err *err)
{
    FTSENT *f;
    while ((f = fts_read(tree))) {
        if (f->fts_info == FTS_DP || f->fts_level == 0)
            continue;
        if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR || f->fts_info == FTS_NS)
            return err_errno(err, -f->fts_errno, "pack %s", f->fts_path);
        const char *name = f->fts_path + prefix;
        int rc = write_entry(a, f, name + strspn(name, "/"), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pack_folder(const char *path, int fd, struct err *err)
{
    char *roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (!tree)
        return err_errno(err, -errno, "pack %s", path);
    struct archive *a = archive_write_new();
    int rc = a ? 0 : err_errno(err, -ENOMEM, "pack %s", path);
    if (rc == 0 &&
        (archive_write_set_format_cpio_newc(a) != ARCHIVE_OK || archive_write_open_fd(a, fd) != ARCHIVE_OK))
        rc = archive_error(a, err, path);
    if (rc == 0)
        rc = write_tree(a, tree, strlen(path), err);
    if (rc == 0 && archive_write_close(a) != ARCHIVE_OK)
        rc = archive_error(a, err, path);
    archive_write_free(a);
    fts_close(tree);
    return rc;
}
