// Image files: STATE/images/HEX, named by their SHA-256, immutable, shared between environments. Called by
// api/ (uploads) and env/ (opening them for a start). Which images there are is the store's to say; this owns
// the bytes.
#pragma once

#include <stdint.h>

#include "common/err.h"
#include "env/documents.h"
#include "env/image_type.h"

struct event_base;
struct images;
struct image_upload;

// Opens (makes) the folder and removes what unfinished uploads left.
int images_new(struct event_base *base, const char *folder, struct images **ret, struct err *err);
// Waits for uploads that are being made durable. Accepts NULL.
void images_free(struct images *images);
// A descriptor for reading, the caller's; or -errno.
int images_open(const struct images *images, const char *digest);
bool images_has(const struct images *images, const char *digest);
// Removes the file, unless an upload of the same image is under way.
void images_remove(struct images *images, const char *digest);

// The end of an upload: rc 0 (durable, in place), -EBADMSG (another digest than promised), or -errno.
struct image_uploaded {
    int rc;
    uint64_t size_bytes;
    enum image_type type;
    char note[IMAGE_NOTE_CAP];
    char digest[DOC_DIGEST_CAP]; // of the bytes that came
};
typedef void image_uploaded_cb(void *arg, const struct image_uploaded *result);

// Begins an upload of the image digest.
int image_upload_new(struct images *images, const char *digest, struct image_upload **ret, struct err *err);
// Appends; digests on the way. 0 or -errno (-ENOSPC). The page cache takes the bytes: it does not wait for
// the disk.
int image_upload_write(struct image_upload *u, const void *data, size_t len);
uint64_t image_upload_size(const struct image_upload *u);
// Ends it: takes u; cb runs once, from the loop, never inside this call.
void image_upload_finish(struct image_upload *u, image_uploaded_cb *cb, void *arg);
// Throws it away. Accepts NULL.
void image_upload_cancel(struct image_upload *u);
