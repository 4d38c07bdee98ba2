// Owns digests and uploads of images. Called by the verb create; knows no other noun.
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "pack.h"

static void cleanup_digest(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

// SHA-256 of all of fd as "sha256:…". 0 or -errno.
static int digest_fd(int fd, char out[IMAGE_DIGEST_CAP])
{
    __attribute__((cleanup(cleanup_digest))) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char block[1 << 16];
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n_sum;
    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        return -ENOMEM;
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, block, sizeof block, at)) > 0) {
        EVP_DigestUpdate(ctx, block, (size_t)n);
        at += n;
    }
    if (n < 0)
        return -errno;
    if (!EVP_DigestFinal_ex(ctx, sum, &n_sum))
        return -EIO;
    int len = snprintf(out, IMAGE_DIGEST_CAP, "sha256:");
    for (unsigned i = 0; i < n_sum; i++)
        len += snprintf(out + len, IMAGE_DIGEST_CAP - (size_t)len, "%02x", sum[i]);
    return 0;
}

static int put_fd(struct cli *cli, const char *name, int fd, char out[IMAGE_DIGEST_CAP])
{
    struct stat st;
    int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? digest_fd(fd, out) : -EINVAL;
    if (rc < 0)
        return cli_fail(cli, CLI_ERROR, "read %s: %s", name, rc == -EINVAL ? "it is no file" : strerror(-rc));
    char path[API_PATH_CAP];
    snprintf(path, sizeof path, "/v1/images/%s", out);
    bool exists;
    rc = api_exists(cli, path, &exists);
    if (rc != 0 || exists)
        return rc;
    struct api_reply reply;
    rc = api_upload(cli, path, fd, (uint64_t)st.st_size, &reply);
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
