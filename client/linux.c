// Owns Linux images between client and server: naming, uploading, downloading. Called by the verbs image and
// create.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "image.h"
#include "image/spool.h"
#include "pages.h"
#include "progress.h"

// --- names ---

static bool has_name(const json_t *object, const char *name)
{
    const char *its = json_string_value(json_object_get(json_object_get(object, "spec"), "name"));
    return its && strcmp(its, name) == 0;
}

static int ambiguous(struct cli *cli, const char *text, const json_t *items)
{
    char list[300] = "";
    size_t i;
    json_t *each;
    json_array_foreach((json_t *)items, i, each)
    {
        size_t len = strlen(list);
        if (has_name(each, text))
            snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "",
                     json_string_value(json_object_get(each, "name")));
    }
    cli_fail(cli, CLI_CONFLICT, "%s is the name of several images: %s", text, list);
    return cli_hint(cli, CLI_CONFLICT, "name the one that you mean by its digest");
}

int image_resolve(struct cli *cli, const char *text, char out[IMAGE_DIGEST_CAP])
{
    json_t *items, *each;
    size_t i, n = 0;
    if (manifest_digest_valid(text, strlen(text))) {
        snprintf(out, IMAGE_DIGEST_CAP, "%s", text);
        return 0;
    }
    int rc = pages_get(cli, "/v1/images", &items);
    if (rc != 0)
        return rc;
    json_array_foreach(items, i, each)
    {
        const char *digest = json_string_value(json_object_get(each, "name"));
        if (!digest || !has_name(each, text))
            continue;
        snprintf(out, IMAGE_DIGEST_CAP, "%s", digest);
        n++;
    }
    if (n == 0)
        rc = cli_hint(cli, cli_fail(cli, CLI_NOT_FOUND, "there is no image %s", text), "envctl image list");
    else if (n > 1)
        rc = ambiguous(cli, text, items);
    json_decref(items);
    return rc;
}

// --- uploading ---

static int put_blob(struct cli *cli, const char *digest, const char *query, int fd, const char *label)
{
    char path[API_PATH_CAP + 64];
    struct stat st;
    struct api_reply reply;
    if (fstat(fd, &st) < 0)
        return cli_fail(cli, CLI_ERROR, "read the %s: %s", label, strerror(errno));
    snprintf(path, sizeof path, "/v1/images/%s?%s", digest, query);
    int rc = api_upload(cli, path, fd, (uint64_t)st.st_size, label, &reply);
    if (rc == 0)
        api_reply_done(&reply);
    return rc;
}

static int put_part(struct cli *cli, const struct linux_image *image, enum manifest_part part)
{
    const char *digest = image->manifest.parts[part], *name = manifest_part_name(part);
    char query[32];
    bool exists;
    if (!digest[0] || image->fds[part] < 0)
        return 0;
    snprintf(query, sizeof query, "type=%s", name);
    int rc = image_exists(cli, digest, &exists);
    return rc != 0 || exists ? rc : put_blob(cli, digest, query, image->fds[part], name);
}

int image_put_linux(struct cli *cli, const struct linux_image *image, const char *name,
                    char out[IMAGE_DIGEST_CAP])
{
    struct err err;
    char query[256] = "type=linux", encoded[200];
    int rc = 0;
    for (int part = 0; part < MANIFEST_PARTS && rc == 0; part++)
        rc = put_part(cli, image, (enum manifest_part)part);
    if (rc != 0)
        return rc;
    _cleanup_free_ char *text = manifest_text(&image->manifest, &err);
    _cleanup_close_ int fd = text ? spool_temporary_file(&err) : -1;
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "%s", err.text);
    if (pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text) || linux_image_digest(fd, out) < 0)
        return cli_fail(cli, CLI_ERROR, "write a temporary file: %s", strerror(errno));
    if (name && !query_encode(name, encoded, sizeof encoded))
        return cli_fail(cli, CLI_USAGE, "--name %s: too long", name);
    if (name)
        snprintf(query, sizeof query, "type=linux&name=%s", encoded);
    return put_blob(cli, out, query, fd, "manifest");
}

// --- downloading ---

struct download {
    int fd;
    uint64_t at, total;
    const char *label;
    int rc;
};

// Blocks of zeros are not written, wherever the pieces begin.
static int write_sparse(struct download *d, const char *data, size_t len)
{
    while (len > 0) {
        size_t n = SPOOL_BLOCK - d->at % SPOOL_BLOCK;
        if (n > len)
            n = len;
        if (!spool_is_zero(data, n) && pwrite(d->fd, data, n, (off_t)d->at) != (ssize_t)n)
            return errno ? -errno : -EIO;
        data += n;
        d->at += n;
        len -= n;
    }
    return 0;
}

static bool on_data(void *arg, const char *data, size_t len)
{
    struct download *d = arg;
    errno = 0;
    d->rc = write_sparse(d, data, len);
    progress_show(d->label, d->at, d->total);
    return d->rc == 0;
}

// *ret_fd: a temporary file, the caller's.
static int get_blob(struct cli *cli, const char *digest, uint64_t total, const char *label, int *ret_fd)
{
    char path[API_PATH_CAP], found[IMAGE_DIGEST_CAP];
    struct err err;
    _cleanup_close_ int fd = spool_temporary_file(&err);
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "%s", err.text);
    struct download d = {.fd = fd, .total = total, .label = label};
    snprintf(path, sizeof path, "/v1/images/%s/content", digest);
    int rc = api_stream(cli, path, on_data, &d);
    progress_end();
    if (rc == 0 && d.rc == 0 && ftruncate(fd, (off_t)d.at) < 0)
        d.rc = -errno;
    if (rc == 0 && d.rc == 0)
        d.rc = linux_image_digest(fd, found);
    if (rc == 0 && d.rc < 0)
        return cli_fail(cli, CLI_ERROR, "write a temporary file: %s", strerror(-d.rc));
    if (rc == 0 && strcmp(found, digest) != 0)
        return cli_fail(cli, CLI_ERROR, "envd sent other bytes than those of %s: the image is damaged there",
                        digest);
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}

int image_get_manifest(struct cli *cli, const char *digest, struct manifest *ret)
{
    static char text[MANIFEST_MAX];
    struct err err;
    int fd;
    int rc = get_blob(cli, digest, 0, "manifest", &fd);
    if (rc != 0)
        return rc;
    ssize_t n = pread(fd, text, sizeof text, 0);
    close(fd);
    if (n < 0 || manifest_parse(text, (size_t)n, ret, &err) < 0)
        return cli_fail(cli, CLI_ERROR, "%s is no Linux image", digest);
    return 0;
}

int image_get_parts(struct cli *cli, const char *digest, unsigned parts, struct linux_image *ret)
{
    linux_image_init(ret);
    int rc = image_get_manifest(cli, digest, &ret->manifest);
    for (int part = 0; part < MANIFEST_PARTS && rc == 0; part++)
        if ((parts & (1u << part)) && ret->manifest.parts[part][0])
            rc =
                get_blob(cli, ret->manifest.parts[part], part == MANIFEST_DISK ? ret->manifest.disk_bytes : 0,
                         manifest_part_name((enum manifest_part)part), &ret->fds[part]);
    return rc;
}
