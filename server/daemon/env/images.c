// Owns the folder of image files: opening, removal, what is known to be intact. Uploads are image_upload.c's,
// checked opening is images_open.c's. Called by api/ and env/; knows no store, no HTTP.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "env/images_internal.h"

static DIR *read_folder(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

static void remove_leftovers(int dir_fd)
{
    DIR *dir = read_folder(dir_fd);
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
    if (!images)
        return err_set(err, -ENOMEM, "no memory for the image folder");
    images->writer = file_worker_new(base);
    images->reader = file_worker_new(base);
    if (!images->writer || !images->reader) {
        file_worker_free(images->writer);
        file_worker_free(images->reader);
        free(images);
        return err_set(err, -ENOMEM, "no memory for the image folder's threads");
    }
    remove_leftovers(fd);
    images->base = base;
    images->dir_fd = take_fd(&fd);
    *ret = images;
    return 0;
}

void images_free(struct images *images)
{
    if (!images)
        return;
    while (images->openings)
        images_opening_cancel(images->openings);
    file_worker_free(images->reader);
    file_worker_free(images->writer);
    while (images->uploads)
        image_upload_cancel(images->uploads);
    close(images->dir_fd);
    free(images->known);
    free(images);
}

int images_open(const struct images *images, const char *digest)
{
    int fd = openat(images->dir_fd, digest + IMAGES_HEX_OFFSET, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

bool images_has(const struct images *images, const char *digest)
{
    return faccessat(images->dir_fd, digest + IMAGES_HEX_OFFSET, R_OK, 0) == 0;
}

size_t images_remove_orphans(struct images *images, bool (*keep)(void *arg, const char *digest), void *arg,
                             uint64_t age_s, uint64_t *ret_bytes)
{
    DIR *dir = read_folder(images->dir_fd);
    uint64_t now_s = io_realtime_ms() / 1000;
    size_t n = 0;
    if (!dir)
        return 0;
    for (struct dirent *d; (d = readdir(dir));) {
        char digest[DOC_DIGEST_CAP];
        struct stat st;
        bool is_corrupt = strncmp(d->d_name, CORRUPT_PREFIX, strlen(CORRUPT_PREFIX)) == 0;
        int len = snprintf(digest, sizeof digest, "sha256:%s", d->d_name);
        if ((!is_corrupt && (len < 0 || !doc_digest_valid(digest, (size_t)len) || keep(arg, digest))) ||
            fstatat(images->dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            (uint64_t)st.st_ctim.tv_sec + age_s > now_s)
            continue;
        if (is_corrupt)
            unlinkat(images->dir_fd, d->d_name, 0);
        else
            images_remove(images, digest);
        *ret_bytes += (uint64_t)st.st_size;
        n++;
    }
    closedir(dir);
    return n;
}

// --- what is known to be intact ---

static struct images_known *known_find(const struct images *images, const char *digest)
{
    for (size_t i = 0; i < images->n_known; i++)
        if (strcmp(images->known[i].digest, digest) == 0)
            return &images->known[i];
    return NULL;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool images_is_known(const struct images *images, const char *digest, const struct stat *st)
{
    const struct images_known *k = known_find(images, digest);
    return k && k->seen.st_ino == st->st_ino && k->seen.st_size == st->st_size &&
           same_time(&k->seen.st_mtim, &st->st_mtim) && same_time(&k->seen.st_ctim, &st->st_ctim);
}

void images_know(struct images *images, const char *digest, const struct stat *st)
{
    struct images_known *k = known_find(images, digest);
    if (!k && images->n_known == images->known_cap) {
        size_t cap = images->known_cap ? images->known_cap * 2 : 16;
        struct images_known *grown = realloc(images->known, cap * sizeof *grown);
        if (!grown)
            return;
        images->known = grown;
        images->known_cap = cap;
    }
    if (!k)
        k = &images->known[images->n_known++];
    snprintf(k->digest, sizeof k->digest, "%s", digest);
    k->seen = *st;
}

void images_forget(struct images *images, const char *digest)
{
    struct images_known *k = known_find(images, digest);
    if (k)
        *k = images->known[--images->n_known];
}
