// Image files: STATE/images/HEX, named by their SHA-256, immutable, shared between environments. Called by
// api/ (uploads, downloads) and env/ (opening them for a start). Which images there are is the store's to
// say; this owns the bytes. All calls belong to the loop; digests, writes and fsync happen on threads.
#pragma once

#include <stdint.h>
#include <time.h>

#include "common/err.h"
#include "env/documents.h"
#include "env/image_type.h"

struct event_base;
struct images;
struct image_upload;
struct images_opening;

// Opens (makes) the folder and removes what unfinished uploads left.
int images_new(struct event_base *base, const char *folder, struct images **ret, struct err *err);
// Waits for uploads that are being made durable and for checks that run. Accepts NULL.
void images_free(struct images *images);
// A descriptor for reading, the caller's; or -errno. The bytes are not checked.
int images_open(const struct images *images, const char *digest);
bool images_has(const struct images *images, const char *digest);
// Removes the file, unless an upload of the same image is under way. Who has it open keeps it.
void images_remove(struct images *images, const char *digest);
// Removes files that the store does not know (keep says false), or that were set aside, and that have not
// changed for age_s seconds. Returns how many; *ret_bytes is added to.
size_t images_remove_orphans(struct images *images, bool (*keep)(void *arg, const char *digest), void *arg,
                             uint64_t age_s, uint64_t *ret_bytes);

// --- opening for a start: the bytes are what the digest says ---

#define IMAGES_OPEN_MAX 4

struct images_opened {
    int rc; // 0; -EBADMSG: the file's bytes have another digest (image-corrupt); else -errno (-ENOENT)
    const char *digest;       // the one that failed, when rc < 0
    int fds[IMAGES_OPEN_MAX]; // in the order asked for. The callback takes what it wants and puts -1 there
};
typedef void images_opened_cb(void *arg, struct images_opened *result);

// Opens n images (at most IMAGES_OPEN_MAX). A file's digest is computed when it is used for the first time
// since this process began, and again when its size or times have changed; a file that is not what its name
// says is renamed .corrupt-HEX, so that it can be uploaded again. cb run once, from the loop, never
// inside this call, unless images_opening_cancel() comes first. NULL: no memory.
struct images_opening *images_open_verified(struct images *images, const char *const *digests, size_t n,
                                            images_opened_cb *cb, void *arg);
// cb will not run any more. Accepts NULL; not after cb has run.
void images_opening_cancel(struct images_opening *opening);

// --- uploads ---

// The end of an upload: rc 0 (durable, in place), -EBADMSG (another digest than promised), or -errno.
struct image_uploaded {
    int rc;
    uint64_t size_bytes;
    struct image_kind kind;
    char digest[DOC_DIGEST_CAP]; // of the bytes that came
};
typedef void image_uploaded_cb(void *arg, const struct image_uploaded *result);
// There is room again, or the upload has failed: image_upload_write() says so.
typedef void image_upload_room_cb(void *arg);

// Begins an upload of the image digest. Blocks of zeros become holes.
int image_upload_new(struct images *images, const char *digest, struct image_upload **ret, struct err *err);
// Takes data over; a thread writes and digests it. 0, or -errno (-ENOSPC) of what was written before.
int image_upload_write(struct image_upload *u, const void *data, size_t len);
// True: enough lies in memory, on_room is called once when there is room. Until then nothing should be
// written.
bool image_upload_full(struct image_upload *u, image_upload_room_cb *on_room, void *arg);
uint64_t image_upload_size(const struct image_upload *u);
// Ends it: takes u; cb runs once, from the loop, never inside this call. on_room is not called any more.
void image_upload_finish(struct image_upload *u, image_uploaded_cb *cb, void *arg);
// Throws it away. Accepts NULL.
void image_upload_cancel(struct image_upload *u);
