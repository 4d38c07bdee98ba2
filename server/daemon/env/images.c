// Owns the folder of image files: uploads (temporary file, digest on the way, fsync and rename on a thread),
// opening, removal. Called by api/ and env/; knows no store, no HTTP.
#include "env/images.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "env/file_worker.h"

#define UPLOAD_PREFIX ".upload-"
#define HEX_OFFSET    7 // behind "sha256:"
#define FILE_CAP      80

struct images {
    int dir_fd;
    struct file_worker *worker;
    struct image_upload *uploads; // all that are not ended
    uint64_t next_upload;
};

struct image_upload {
    struct file_work work; // first: the worker hands it back
    struct image_upload *next;
    struct images *images;
    int fd;
    EVP_MD_CTX *md;
    char digest[DOC_DIGEST_CAP]; // promised
    char file[FILE_CAP];         // the temporary one
    struct image_uploaded result;
    image_uploaded_cb *cb;
    void *arg;
};

static void remove_leftovers(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir)
        return; // best effort: they only take space
    for (struct dirent *d; (d = readdir(dir));)
        if (strncmp(d->d_name, UPLOAD_PREFIX, strlen(UPLOAD_PREFIX)) == 0)
            unlinkat(dir_fd, d->d_name, 0);
    closedir(dir);
}

int images_new(struct event_base *base, const char *folder, struct images **ret, struct err *err)
{
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return err_errno(err, -errno, "make the folder %s", folder);
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "open the folder %s", folder);
    struct images *images = calloc(1, sizeof *images);
    if (images)
        images->worker = file_worker_new(base);
    if (!images || !images->worker) {
        free(images);
        return err_set(err, -ENOMEM, "no memory for the image folder's worker");
    }
    remove_leftovers(fd);
    images->dir_fd = take_fd(&fd);
    *ret = images;
    return 0;
}

void images_free(struct images *images)
{
    if (!images)
        return;
    file_worker_free(images->worker);
    while (images->uploads)
        image_upload_cancel(images->uploads);
    close(images->dir_fd);
    free(images);
}

int images_open(const struct images *images, const char *digest)
{
    int fd = openat(images->dir_fd, digest + HEX_OFFSET, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

bool images_has(const struct images *images, const char *digest)
{
    return faccessat(images->dir_fd, digest + HEX_OFFSET, R_OK, 0) == 0;
}

void images_remove(struct images *images, const char *digest)
{
    for (const struct image_upload *u = images->uploads; u; u = u->next)
        if (strcmp(u->digest, digest) == 0)
            return;
    unlinkat(images->dir_fd, digest + HEX_OFFSET, 0);
}

static void upload_free(struct image_upload *u)
{
    for (struct image_upload **p = &u->images->uploads; *p; p = &(*p)->next) {
        if (*p != u)
            continue;
        *p = u->next;
        break;
    }
    EVP_MD_CTX_free(u->md);
    if (u->fd >= 0)
        close(u->fd);
    free(u);
}

int image_upload_new(struct images *images, const char *digest, struct image_upload **ret, struct err *err)
{
    struct image_upload *u = calloc(1, sizeof *u);
    if (!u)
        return err_set(err, -ENOMEM, "no memory for an upload");
    u->images = images;
    u->next = images->uploads;
    images->uploads = u;
    snprintf(u->digest, sizeof u->digest, "%s", digest);
    snprintf(u->file, sizeof u->file, UPLOAD_PREFIX "%llu", (unsigned long long)images->next_upload++);
    u->fd = openat(images->dir_fd, u->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    if (u->fd < 0) {
        int rc = -errno;
        upload_free(u);
        return err_errno(err, rc, "make a file for the upload");
    }
    u->md = EVP_MD_CTX_new();
    if (!u->md || EVP_DigestInit_ex(u->md, EVP_sha256(), NULL) != 1) {
        image_upload_cancel(u);
        return err_set(err, -ENOMEM, "no memory for the digest of an upload");
    }
    *ret = u;
    return 0;
}

int image_upload_write(struct image_upload *u, const void *data, size_t len)
{
    int rc = io_write_all(u->fd, data, len);
    if (rc < 0)
        return rc;
    u->result.size_bytes += len;
    return EVP_DigestUpdate(u->md, data, len) == 1 ? 0 : -EIO;
}

uint64_t image_upload_size(const struct image_upload *u)
{
    return u->result.size_bytes;
}

// On the worker's thread: the file is made durable, then gets its name, then the name is made durable.
static int run_publish(struct file_work *work)
{
    struct image_upload *u = (struct image_upload *)work;
    if (u->result.rc < 0)
        return u->result.rc;
    u->result.type = image_type_probe(u->fd, u->result.note);
    if (fsync(u->fd) < 0 ||
        renameat(u->images->dir_fd, u->file, u->images->dir_fd, u->digest + HEX_OFFSET) < 0)
        return -errno;
    return fsync(u->images->dir_fd) < 0 ? -errno : 0;
}

static void on_published(struct file_work *work, int rc)
{
    struct image_upload *u = (struct image_upload *)work;
    u->result.rc = rc;
    u->cb(u->arg, &u->result);
    image_upload_cancel(u); // after a rename there is no temporary file left to remove
}

void image_upload_finish(struct image_upload *u, image_uploaded_cb *cb, void *arg)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    u->cb = cb;
    u->arg = arg;
    EVP_DigestFinal_ex(u->md, md, &n);
    memcpy(u->result.digest, "sha256:", HEX_OFFSET);
    for (unsigned int i = 0; i < n && HEX_OFFSET + 2 * i + 2 < sizeof u->result.digest; i++)
        snprintf(u->result.digest + HEX_OFFSET + (size_t)(2 * i), 3, "%02x", md[i]);
    if (strcmp(u->result.digest, u->digest) != 0)
        u->result.rc = -EBADMSG;
    // The thread is also how the callback comes from the loop when there is nothing to publish.
    u->work.run = run_publish;
    u->work.done = on_published;
    file_worker_submit(u->images->worker, &u->work);
}

void image_upload_cancel(struct image_upload *u)
{
    if (!u)
        return;
    unlinkat(u->images->dir_fd, u->file, 0);
    upload_free(u);
}
