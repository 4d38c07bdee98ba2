// Owns the download of an image's bytes, as fast as the client takes them. Called through routes.c.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/images.h"

#define CHUNK 65536

struct download {
    struct api *api;
    int fd;
    off_t at, size;
    off_t data; // where the next bytes that are not a hole begin
};

static const char zeros[CHUNK];

static void download_free(void *arg)
{
    struct download *d = arg;
    close(d->fd);
    free(d);
}

// Holes are not read: the disk's blocks that were never written cost no time.
static ssize_t next_bytes(struct download *d, char *buffer, size_t want, const char **ret)
{
    if (d->at >= d->data) {
        off_t data = lseek(d->fd, d->at, SEEK_DATA);
        d->data = data >= 0 ? data : errno == ENXIO ? d->size : d->at;
    }
    if (d->at < d->data) {
        *ret = zeros;
        off_t hole = d->data - d->at;
        return hole < (off_t)want ? (ssize_t)hole : (ssize_t)want;
    }
    *ret = buffer;
    return pread(d->fd, buffer, want, d->at);
}

static void on_writable(void *arg, struct http_request *req)
{
    struct download *d = arg;
    char buffer[CHUNK];
    while (d->at < d->size) {
        const char *bytes;
        size_t room = http_stream_room(req);
        off_t left = d->size - d->at;
        size_t want = room < sizeof buffer ? room : sizeof buffer;
        if (room == 0)
            return; // it comes again
        ssize_t n = next_bytes(d, buffer, left < (off_t)want ? (size_t)left : want, &bytes);
        if (n <= 0 || http_stream_write(req, bytes, (size_t)n) < 0) {
            http_request_on_gone(req, NULL, NULL);
            http_stream_abort(req); // a cut reply says that it is not all
            download_free(d);
            return;
        }
        d->at += n;
    }
    http_request_on_gone(req, NULL, NULL);
    http_stream_end(req);
    download_free(d);
}

static struct download *download_new(struct api *api, const char *digest)
{
    struct stat st;
    struct download *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->api = api;
    d->fd = images_open(api->deps.images, digest);
    if (d->fd < 0 || fstat(d->fd, &st) < 0) {
        if (d->fd >= 0)
            close(d->fd);
        free(d);
        return NULL;
    }
    d->size = st.st_size;
    return d;
}

void handle_image_content(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *digest;
    char size[24];
    if (!image_digest_of(api, req, &digest))
        return;
    json_t *object = view_image(api, digest);
    if (!object) {
        reply_problem(api, req, 404, "no-such-image", "there is no image %s", digest);
        return;
    }
    json_decref(object);
    struct download *d = download_new(api, digest);
    if (!d) {
        reply_problem(api, req, 500, "image-missing", "the bytes of image %s cannot be read: upload it again",
                      digest);
        return;
    }
    snprintf(size, sizeof size, "%lld", (long long)d->size);
    http_reply_header(req, "Envd-Image-Size", size);
    reply_count(api, 200);
    http_request_on_gone(req, download_free, d);
    http_stream_start(req, 200, "application/octet-stream", on_writable, d);
}
