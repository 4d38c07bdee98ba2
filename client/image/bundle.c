// Owns the file form of an image. Called by the verb image. What is read is untrusted: nothing of it is
// written anywhere but to unlinked temporary files.
#include "image/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "image/layer.h"

#define CHUNK         (1u << 18)
#define MANIFEST_NAME "manifest.json"
#define BLOBS         "blobs/sha256/"
#define DIGEST_PREFIX 7 // "sha256:"

static void cleanup_entry(struct archive_entry **e)
{
    archive_entry_free(*e);
}
#define _cleanup_entry_ __attribute__((cleanup(cleanup_entry)))

// --- writing ---

static struct archive_entry *new_entry(const char *name, uint64_t size)
{
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return NULL;
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, S_IFREG | 0644);
    archive_entry_set_size(e, (la_int64_t)size);
    archive_entry_set_mtime(e, 0, 0);
    return e;
}

static int archive_failed(struct archive *a, struct err *err)
{
    int code = archive_errno(a);
    return err_set(err, code > 0 ? -code : -EIO, "write the archive: %s", archive_error_string(a));
}

// The blocks that are not zeros, told from the bytes: what the file system stores as holes differs from one
// to the next, and the same image shall give the same file.
struct extents {
    struct archive_entry *entry;
    off_t begin, end; // of the run so far
};

static void add_chunk(struct extents *x, const char *chunk, off_t at, size_t len)
{
    for (size_t i = 0; i < len; i += SPOOL_BLOCK) {
        size_t n = len - i < SPOOL_BLOCK ? len - i : SPOOL_BLOCK;
        if (spool_is_zero(chunk + i, n))
            continue;
        if (at + (off_t)i != x->end) {
            if (x->end > x->begin)
                archive_entry_sparse_add_entry(x->entry, x->begin, x->end - x->begin);
            x->begin = at + (off_t)i;
        }
        x->end = at + (off_t)(i + n);
    }
}

static int add_extents(struct archive_entry *e, int fd, off_t size, char *chunk)
{
    struct extents x = {.entry = e};
    ssize_t n = 0;
    for (off_t at = 0; at < size; at += n) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        if (data > at)
            at = data / SPOOL_BLOCK * SPOOL_BLOCK;
        n = pread(fd, chunk, CHUNK, at);
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        add_chunk(&x, chunk, at, (size_t)n);
    }
    if (x.end > x.begin)
        archive_entry_sparse_add_entry(e, x.begin, x.end - x.begin);
    else if (size > 0) // nothing but a hole
        archive_entry_sparse_add_entry(e, size, 0);
    return 0;
}

static int write_part(struct archive *a, const struct linux_image *image, enum manifest_part part,
                      struct err *err)
{
    char name[128];
    struct stat st;
    int fd = image->fds[part];
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -EBADF, "the image's %s is not at hand", manifest_part_name(part));
    snprintf(name, sizeof name, BLOBS "%s", image->manifest.parts[part] + DIGEST_PREFIX);
    _cleanup_entry_ struct archive_entry *e = new_entry(name, (uint64_t)st.st_size);
    _cleanup_free_ char *chunk = malloc(CHUNK);
    if (!e || !chunk)
        return err_set(err, -ENOMEM, "no memory to write an archive");
    int rc = add_extents(e, fd, st.st_size, chunk);
    if (rc < 0)
        return err_errno(err, rc, "read the %s", manifest_part_name(part));
    if (archive_write_header(a, e) != ARCHIVE_OK)
        return archive_failed(a, err);
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, chunk, CHUNK, at)) > 0; at += n)
        if (archive_write_data(a, chunk, (size_t)n) < 0)
            return archive_failed(a, err);
    return n < 0 ? err_errno(err, -errno, "read the %s", manifest_part_name(part)) : 0;
}

static int write_manifest(struct archive *a, const struct linux_image *image, struct err *err)
{
    _cleanup_free_ char *text = manifest_text(&image->manifest, err);
    if (!text)
        return -EINVAL;
    _cleanup_entry_ struct archive_entry *e = new_entry(MANIFEST_NAME, strlen(text));
    if (!e)
        return err_set(err, -ENOMEM, "no memory to write an archive");
    if (archive_write_header(a, e) != ARCHIVE_OK || archive_write_data(a, text, strlen(text)) < 0)
        return archive_failed(a, err);
    return 0;
}

int bundle_write(const struct linux_image *image, int fd, struct err *err)
{
    struct archive *a = archive_write_new();
    if (!a)
        return err_set(err, -ENOMEM, "no memory to write an archive");
    int rc = 0;
    if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        archive_write_open_fd(a, fd) != ARCHIVE_OK)
        rc = archive_failed(a, err);
    if (rc == 0)
        rc = write_manifest(a, image, err);
    for (int part = 0; part < MANIFEST_PARTS && rc == 0; part++)
        if (image->manifest.parts[part][0])
            rc = write_part(a, image, (enum manifest_part)part, err);
    if (rc == 0 && archive_write_close(a) != ARCHIVE_OK)
        rc = archive_failed(a, err);
    archive_write_free(a);
    return rc;
}

// --- reading ---

static int read_data(struct archive *a, struct spool *s, struct spool_range *range, struct err *err)
{
    const void *data;
    size_t len;
    la_int64_t offset;
    int r, rc = 0;
    while (rc == 0 && (r = archive_read_data_block(a, &data, &len, &offset)) != ARCHIVE_EOF) {
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return err_set(err, -EBADMSG, "the archive is damaged: %s", archive_error_string(a));
        rc = offset < 0 ? err_set(err, -EBADMSG, "the archive is damaged: a bad offset")
                        : spool_write(s, range, (uint64_t)offset, data, len, err);
    }
    return rc;
}

// A regular file's content as a temporary file of its own.
static int read_file(struct archive *a, struct archive_entry *e, uint64_t max_bytes, int *ret_fd,
                     struct err *err)
{
    struct spool s;
    struct spool_range range;
    la_int64_t size = archive_entry_size(e);
    if (archive_entry_filetype(e) != S_IFREG || archive_entry_hardlink(e) || size < 0)
        return err_set(err, -EBADMSG, "the archive has something else than files");
    int rc = spool_open(&s, max_bytes, err);
    if (rc < 0)
        return rc;
    rc = spool_begin(&s, (uint64_t)size, &range, err);
    if (rc == 0)
        rc = read_data(a, &s, &range, err);
    if (rc == 0 && ftruncate(s.fd, size) < 0)
        rc = err_errno(err, -errno, "write a temporary file");
    if (rc < 0)
        spool_close(&s);
    else
        *ret_fd = s.fd;
    return rc;
}

static int read_manifest(struct archive *a, struct linux_image *image, struct err *err)
{
    struct archive_entry *e;
    char text[MANIFEST_MAX];
    _cleanup_close_ int fd = -1;
    int r = archive_read_next_header(a, &e);
    const char *name = r == ARCHIVE_OK || r == ARCHIVE_WARN ? archive_entry_pathname(e) : NULL;
    if (!name || strcmp(name, MANIFEST_NAME) != 0)
        return err_set(err, -EBADMSG,
                       "this is no exported image: it does not begin with " MANIFEST_NAME "%s%s",
                       name ? "" : ": ",
                       name                      ? ""
                       : archive_error_string(a) ? archive_error_string(a)
                                                 : "it is empty");
    int rc = read_file(a, e, sizeof text, &fd, err);
    if (rc < 0)
        return rc;
    ssize_t n = pread(fd, text, sizeof text, 0);
    return n < 0 ? err_errno(err, -errno, "read a temporary file")
                 : manifest_parse(text, (size_t)n, &image->manifest, err);
}

static int part_of(const struct linux_image *image, const char *name)
{
    if (!name || strncmp(name, BLOBS, strlen(BLOBS)) != 0)
        return -1;
    for (int part = 0; part < MANIFEST_PARTS; part++)
        if (image->fds[part] < 0 && image->manifest.parts[part][0] &&
            strcmp(name + strlen(BLOBS), image->manifest.parts[part] + DIGEST_PREFIX) == 0)
            return part;
    return -1;
}

static int read_part(struct archive *a, struct archive_entry *e, uint64_t max_bytes,
                     struct linux_image *image, struct err *err)
{
    const char *name = archive_entry_pathname(e);
    int part = part_of(image, name);
    char digest[MANIFEST_DIGEST_CAP];
    if (part < 0)
        return err_set(err, -EBADMSG, "%.100s is not what the manifest names, or there twice",
                       name ? name : "an entry");
    if (part == MANIFEST_DISK && archive_entry_size(e) != (la_int64_t)image->manifest.disk_bytes)
        return err_set(err, -EBADMSG, "the disk has not the size that the manifest says");
    int rc = read_file(a, e, max_bytes, &image->fds[part], err);
    if (rc == 0)
        rc = linux_image_digest(image->fds[part], digest);
    if (rc == 0 && strcmp(digest, image->manifest.parts[part]) != 0)
        rc = err_set(err, -EBADMSG, "the %s has the digest %s, not the manifest's: the file is damaged",
                     manifest_part_name((enum manifest_part)part), digest);
    return rc;
}

static int read_all(struct archive *a, uint64_t max_bytes, struct linux_image *image, struct err *err)
{
    struct archive_entry *e;
    int r, rc = read_manifest(a, image, err);
    while (rc == 0 && (r = archive_read_next_header(a, &e)) != ARCHIVE_EOF) {
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return err_set(err, -EBADMSG, "the archive is damaged: %s", archive_error_string(a));
        rc = read_part(a, e, max_bytes, image, err);
    }
    for (int part = 0; part < MANIFEST_PARTS && rc == 0; part++)
        if (image->manifest.parts[part][0] && image->fds[part] < 0)
            rc = err_set(err, -EBADMSG, "the archive lacks the %s",
                         manifest_part_name((enum manifest_part)part));
    return rc;
}

static int read_bundle(struct archive *a, uint64_t max_bytes, struct linux_image *ret, struct err *err)
{
    struct linux_image image;
    linux_image_init(&image);
    int rc = read_all(a, max_bytes, &image, err);
    archive_read_free(a);
    if (rc < 0)
        linux_image_done(&image);
    else
        *ret = image;
    return rc;
}

int bundle_read(int fd, uint64_t max_bytes, struct linux_image *ret, struct err *err)
{
    struct archive *a;
    int rc = layer_open_fd(fd, &a, err);
    return rc < 0 ? rc : read_bundle(a, max_bytes, ret, err);
}

int bundle_read_memory(const void *data, size_t len, uint64_t max_bytes, struct linux_image *ret,
                       struct err *err)
{
    struct archive *a;
    int rc = layer_open_memory(data, len, &a, err);
    return rc < 0 ? rc : read_bundle(a, max_bytes, ret, err);
}
