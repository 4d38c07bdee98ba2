// Owns the parts of an image and their digests. Called by build.c, bundle.c and the verbs.
#include "image/linux_image.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CHUNK (1u << 18)

void linux_image_init(struct linux_image *image)
{
    *image = (struct linux_image){.fds = {-1, -1, -1}};
}

void linux_image_done(struct linux_image *image)
{
    for (int i = 0; i < MANIFEST_PARTS; i++)
        if (image->fds[i] >= 0)
            close(image->fds[i]);
    manifest_done(&image->manifest);
    linux_image_init(image);
}

static void cleanup_md(EVP_MD_CTX **md)
{
    EVP_MD_CTX_free(*md);
}

int linux_image_digest(int fd, char out[MANIFEST_DIGEST_CAP])
{
    __attribute__((cleanup(cleanup_md))) EVP_MD_CTX *md = EVP_MD_CTX_new();
    _cleanup_free_ unsigned char *chunk = malloc(CHUNK);
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n_sum = 0;
    if (!md || !chunk || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
        return -ENOMEM;
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, chunk, CHUNK, at)) > 0) {
        EVP_DigestUpdate(md, chunk, (size_t)n);
        at += n;
    }
    if (n < 0)
        return -errno;
    EVP_DigestFinal_ex(md, sum, &n_sum);
    int len = snprintf(out, MANIFEST_DIGEST_CAP, "sha256:");
    for (unsigned i = 0; i < n_sum; i++)
        len += snprintf(out + len, MANIFEST_DIGEST_CAP - (size_t)len, "%02x", sum[i]);
    return 0;
}

int linux_image_set(struct linux_image *image, enum manifest_part part, int fd, struct err *err)
{
    struct stat st;
    int rc = fstat(fd, &st) < 0 ? -errno : linux_image_digest(fd, image->manifest.parts[part]);
    if (image->fds[part] >= 0)
        close(image->fds[part]);
    image->fds[part] = fd;
    if (rc < 0)
        return err_errno(err, rc, "read the %s", manifest_part_name(part));
    if (part == MANIFEST_DISK)
        image->manifest.disk_bytes = (uint64_t)st.st_size;
    return 0;
}
