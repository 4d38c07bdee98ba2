// A Linux image on the client's side: the manifest, and a file for each part. Passed between build.h,
// bundle.h and the verbs.
#pragma once

#include "manifest/manifest.h"

struct linux_image {
    struct manifest manifest;
    int fds[MANIFEST_PARTS]; // -1: there is no such part, or it is on the server only
};

// No parts at all.
void linux_image_init(struct linux_image *image);
void linux_image_done(struct linux_image *image);
// Gives it a part: computes its digest, takes fd (in any case).
int linux_image_set(struct linux_image *image, enum manifest_part part, int fd, struct err *err);
// SHA-256 of all of fd as "sha256:…". 0 or -errno.
int linux_image_digest(int fd, char out[MANIFEST_DIGEST_CAP]);
