// What images.c, image_upload.c and images_open.c share. Included by them only.
#pragma once

#include <sys/stat.h>

#include "env/file_worker.h"
#include "env/images.h"

#define IMAGES_HEX_OFFSET 7 // behind "sha256:"
#define UPLOAD_PREFIX     ".upload-"
#define CORRUPT_PREFIX    ".corrupt-"

// A file whose bytes are known to have its digest, and how it looked then.
struct images_known {
    char digest[DOC_DIGEST_CAP];
    struct stat seen;
};

struct images {
    struct event_base *base;
    int dir_fd;
    struct file_worker *writer;   // writes uploads
    struct file_worker *reader;   // checks digests: apart, for that takes seconds with a disk
    struct image_upload *uploads; // all that are not ended
    struct images_opening *openings;
    uint64_t next_upload;
    struct images_known *known;
    size_t n_known, known_cap;
};

// Whether the file is the one that was checked.
bool images_is_known(const struct images *images, const char *digest, const struct stat *st);
// Notes it. Without memory it is not noted, and checked again next time.
void images_know(struct images *images, const char *digest, const struct stat *st);
void images_forget(struct images *images, const char *digest);
