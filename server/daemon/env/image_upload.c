// Owns uploads of images: a temporary file that a thread writes and digests, MiB by MiB, then fsync and
// rename. Called by api/.
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/images_internal.h"

#define FILE_CAP 80
#define CHUNK    (1u << 20) // what the thread is given at once
#define HOLE     4096u      // blocks of zeros that are not written

struct image_upload {
    struct image_upload *next;
    struct images *images;
    struct file_work write, publish;
    bool writing, publishing, cancelled;
    uint64_t size;    // taken over so far
    uint8_t *filling; // what comes next
    size_t filled, cap;
    // The thread's while it has one of the two works:
    uint8_t *chunk;
    size_t chunk_len;
    int fd, rc;
    uint64_t at; // multiple of HOLE, but at the end
    EVP_MD_CTX *md;
    struct stat published;
    // The loop's again:
    char digest[DOC_DIGEST_CAP]; // promised
    char file[FILE_CAP];         // the temporary one
    struct image_uploaded result;
    image_upload_room_cb *on_room;
    void *room_arg;
    image_uploaded_cb *cb;
    void *arg;
};

static void upload_free(struct image_upload *u)
{
    for (struct image_upload **p = &u->images->uploads; *p; p = &(*p)->next) {
        if (*p != u)
            continue;
        *p = u->next;
        break;
    }
    EVP_MD_CTX_free(u->md);
    manifest_done(&u->result.kind.manifest);
    if (u->fd >= 0)
        close(u->fd);
    free(u->chunk);
    free(u->filling);
    free(u);
}

void images_remove(struct images *images, const char *digest)
{
    for (const struct image_upload *u = images->uploads; u; u = u->next)
        if (strcmp(u->digest, digest) == 0)
            return;
    images_forget(images, digest);
    unlinkat(images->dir_fd, digest + IMAGES_HEX_OFFSET, 0);
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
    u->chunk = malloc(CHUNK);
    if (!u->md || !u->chunk || EVP_DigestInit_ex(u->md, EVP_sha256(), NULL) != 1) {
        image_upload_cancel(u);
        return err_set(err, -ENOMEM, "no memory for an upload");
    }
    *ret = u;
    return 0;
}

// --- on the thread ---

static bool all_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int write_at(int fd, const uint8_t *p, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        p += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

// Writes what is not zero, in runs as long as they go.
static int write_sparse(struct image_upload *u, const uint8_t *data, size_t len)
{
    size_t run = 0; // bytes before i that are to be written
    int rc = 0;
    for (size_t i = 0; i < len && rc == 0; i += HOLE) {
        size_t n = len - i < HOLE ? len - i : HOLE;
        if (!all_zero(data + i, n)) {
            run += n;
            continue;
        }
        rc = write_at(u->fd, data + i - run, run, u->at + i - run);
        run = 0;
    }
    if (rc == 0)
        rc = write_at(u->fd, data + len - run, run, u->at + len - run);
    // The disk begins at once: so the fsync at the end has little left to wait for.
    if (rc == 0 && len >= CHUNK)
        sync_file_range(u->fd, (off_t)u->at, (off_t)len, SYNC_FILE_RANGE_WRITE);
    return rc;
}

static void take_in(struct image_upload *u, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len && u->rc == 0; i += CHUNK) {
        size_t n = len - i < CHUNK ? len - i : CHUNK;
        u->rc = write_sparse(u, data + i, n);
        if (u->rc == 0 && EVP_DigestUpdate(u->md, data + i, n) != 1)
            u->rc = -EIO;
        u->at += n;
    }
}

static int run_write(struct file_work *work)
{
    struct image_upload *u = (struct image_upload *)((char *)work - offsetof(struct image_upload, write));
    take_in(u, u->chunk, u->chunk_len);
    return u->rc;
}

static void name_digest(struct image_upload *u)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    char *out = u->result.digest;
    EVP_DigestFinal_ex(u->md, md, &n);
    memcpy(out, "sha256:", IMAGES_HEX_OFFSET + 1);
    for (unsigned int i = 0; i < n && IMAGES_HEX_OFFSET + 2 * i + 2 < DOC_DIGEST_CAP; i++)
        snprintf(out + IMAGES_HEX_OFFSET + (size_t)(2 * i), 3, "%02x", md[i]);
}

// The file is made durable, then gets its name, then the name is made durable.
static int run_publish(struct file_work *work)
{
    struct image_upload *u = (struct image_upload *)((char *)work - offsetof(struct image_upload, publish));
    take_in(u, u->filling, u->filled);
    if (u->rc < 0)
        return u->rc;
    name_digest(u);
    if (strcmp(u->result.digest, u->digest) != 0)
        return -EBADMSG;
    if (ftruncate(u->fd, (off_t)u->at) < 0)
        return -errno;
    image_type_probe(u->fd, &u->result.kind);
    if (u->result.kind.bad_manifest)
        return 0; // refused by who reads the result: nothing is kept
    if (fsync(u->fd) < 0 ||
        renameat(u->images->dir_fd, u->file, u->images->dir_fd, u->digest + IMAGES_HEX_OFFSET) < 0 ||
        fstat(u->fd, &u->published) < 0)
        return -errno;
    return fsync(u->images->dir_fd) < 0 ? -errno : 0;
}

// --- on the loop ---

static void on_written(struct file_work *work, int rc)
{
    struct image_upload *u = (struct image_upload *)((char *)work - offsetof(struct image_upload, write));
    u->writing = false;
    if (u->publishing)
        return; // that comes next
    if (u->cancelled) {
        upload_free(u);
        return;
    }
    u->result.rc = rc;
    image_upload_room_cb *on_room = u->on_room;
    u->on_room = NULL;
    if (on_room)
        on_room(u->room_arg);
}

// Gives the thread what has come, in whole chunks: holes are found at multiples of their size.
static void submit_chunk(struct image_upload *u)
{
    uint8_t *empty = u->chunk; // at least one chunk long
    size_t rest = u->filled % CHUNK;
    u->chunk = u->filling;
    u->chunk_len = u->filled - rest;
    memcpy(empty, u->chunk + u->chunk_len, rest);
    u->filling = empty;
    u->cap = CHUNK;
    u->filled = rest;
    u->writing = true;
    u->write.run = run_write;
    u->write.done = on_written;
    file_worker_submit(u->images->writer, &u->write);
}

int image_upload_write(struct image_upload *u, const void *data, size_t len)
{
    if (u->result.rc < 0)
        return u->result.rc;
    if (u->filled + len > u->cap) {
        size_t cap = u->filled + len > CHUNK ? u->filled + len : CHUNK;
        uint8_t *grown = realloc(u->filling, cap);
        if (!grown)
            return -ENOMEM;
        u->filling = grown;
        u->cap = cap;
    }
    memcpy(u->filling + u->filled, data, len);
    u->filled += len;
    u->size += len;
    if (u->filled >= CHUNK && !u->writing)
        submit_chunk(u);
    return 0;
}

bool image_upload_full(struct image_upload *u, image_upload_room_cb *on_room, void *arg)
{
    if (!u->writing || u->filled < CHUNK / 2)
        return false;
    u->on_room = on_room;
    u->room_arg = arg;
    return true;
}

uint64_t image_upload_size(const struct image_upload *u)
{
    return u->size;
}

static void on_published(struct file_work *work, int rc)
{
    struct image_upload *u = (struct image_upload *)((char *)work - offsetof(struct image_upload, publish));
    u->publishing = false;
    u->result.rc = rc;
    u->result.size_bytes = u->size;
    if (rc == 0 && !u->result.kind.bad_manifest)
        images_know(u->images, u->digest, &u->published);
    u->cb(u->arg, &u->result);
    image_upload_cancel(u); // after a rename there is no temporary file left to remove
}

void image_upload_finish(struct image_upload *u, image_uploaded_cb *cb, void *arg)
{
    u->cb = cb;
    u->arg = arg;
    u->on_room = NULL;
    u->publishing = true;
    // The thread takes its works in order: a chunk that it has is written before.
    u->publish.run = run_publish;
    u->publish.done = on_published;
    file_worker_submit(u->images->writer, &u->publish);
}

void image_upload_cancel(struct image_upload *u)
{
    if (!u)
        return;
    unlinkat(u->images->dir_fd, u->file, 0);
    u->cancelled = true;
    u->on_room = NULL;
    if (!u->writing && !u->publishing)
        upload_free(u);
}
