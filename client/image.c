// Owns uploads of programs and their files. Called by the verb create; Linux images are linux.c's.
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "pack.h"

int image_exists(struct cli *cli, const char *digest, bool *ret_exists)
{
    char path[API_PATH_CAP];
    struct api_reply reply;
    snprintf(path, sizeof path, "/v1/images/%s", digest);
    int rc = api_exists(cli, path, ret_exists);
    if (rc != 0 || !*ret_exists)
        return rc;
    rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    *ret_exists = !json_is_true(json_object_get(json_object_get(reply.body, "status"), "missing"));
    api_reply_done(&reply);
    return 0;
}

static int put_fd(struct cli *cli, const char *name, int fd, char out[IMAGE_DIGEST_CAP])
{
    struct stat st;
    int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? linux_image_digest(fd, out) : -EINVAL;
    if (rc < 0)
        return cli_fail(cli, CLI_ERROR, "read %s: %s", name, rc == -EINVAL ? "it is no file" : strerror(-rc));
    char path[API_PATH_CAP];
    snprintf(path, sizeof path, "/v1/images/%s", out);
    bool exists;
    rc = image_exists(cli, out, &exists);
    if (rc != 0 || exists)
        return rc;
    struct api_reply reply;
    rc = api_upload(cli, path, fd, (uint64_t)st.st_size, "upload", &reply);
    if (rc == 0)
        api_reply_done(&reply);
    return rc;
}

int image_put_file(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP])
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "open %s: %s", path, strerror(errno));
    return put_fd(cli, path, fd, out);
}

int image_put_files(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP])
{
    struct stat st;
    if (stat(path, &st) < 0)
        return cli_fail(cli, CLI_ERROR, "open %s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return image_put_file(cli, path, out);
    const char *folder = getenv("TMPDIR");
    _cleanup_close_ int fd = open(folder ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "make a temporary file: %s", strerror(errno));
    struct err err;
    if (pack_folder(path, fd, &err) < 0)
        return cli_fail(cli, CLI_ERROR, "%s", err.text);
    return put_fd(cli, path, fd, out);
}
