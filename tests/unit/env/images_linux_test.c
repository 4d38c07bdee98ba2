// Linux images in the daemon: types of blobs, holes, checked opening, references between images
// (server/daemon/env/image_type.c, image_upload.c, images_open.c, objects_image.c).
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "env/images.h"
#include "env/measure.h"

#define MIB (1u << 20)

struct images_fixture {
    struct fixture *f;
    struct images *images;
    struct image_uploaded uploaded;
    struct images_opened opened;
    char failed[DOC_DIGEST_CAP]; // of opened
    bool done, keep_fds;
};

static int setup(void **state)
{
    struct images_fixture *x = calloc(1, sizeof *x);
    char path[96];
    struct err err;
    assert_non_null(x);
    fixture_setup((void **)&x->f);
    snprintf(path, sizeof path, "%s/images", x->f->dir);
    assert_int_equal(images_new(x->f->base, path, &x->images, &err), 0);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct images_fixture *x = *state;
    void *f = x->f;
    images_free(x->images);
    free(x);
    return fixture_teardown(&f);
}

static void run(struct images_fixture *x)
{
    while (!x->done)
        event_base_loop(x->f->base, EVLOOP_ONCE);
    x->done = false;
}

static void digest_of(const void *data, size_t len, char out[DOC_DIGEST_CAP])
{
    _cleanup_close_ int fd = memfd_create("digest", MFD_CLOEXEC);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(measure_file(fd, out), 0);
}

static void on_uploaded(void *arg, const struct image_uploaded *result)
{
    struct images_fixture *x = arg;
    x->uploaded = *result;
    x->done = true;
}

static void on_room(void *arg)
{
    struct images_fixture *x = arg;
    x->done = true;
}

static void upload(struct images_fixture *x, const uint8_t *data, size_t len, size_t piece,
                   char digest[DOC_DIGEST_CAP])
{
    struct image_upload *u;
    struct err err;
    digest_of(data, len, digest);
    assert_int_equal(image_upload_new(x->images, digest, &u, &err), 0);
    for (size_t i = 0; i < len; i += piece) {
        assert_int_equal(image_upload_write(u, data + i, len - i < piece ? len - i : piece), 0);
        if (image_upload_full(u, on_room, x))
            run(x);
    }
    image_upload_finish(u, on_uploaded, x);
    run(x);
    assert_int_equal(x->uploaded.rc, 0);
    assert_int_equal(x->uploaded.size_bytes, len);
}

static void zeros_become_holes_and_nothing_else_changes(void **state)
{
    struct images_fixture *x = *state;
    char digest[DOC_DIGEST_CAP], again[DOC_DIGEST_CAP];
    size_t len = 20 * MIB + 77; // ends amid a block
    _cleanup_free_ uint8_t *data = calloc(1, len);
    struct stat st;
    data[0] = 1;
    data[3 * MIB - 1] = 2; // at the end of a chunk
    data[7 * MIB + 4096] = 3;
    data[len - 1] = 0;
    upload(x, data, len, 65536 + 13, digest);
    _cleanup_close_ int fd = images_open(x->images, digest);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, len);
    assert_true(st.st_blocks * 512 < MIB);
    assert_int_equal(measure_file(fd, again), 0);
    assert_string_equal(again, digest);
}

static void bytes_without_zeros_arrive_in_any_pieces(void **state)
{
    static const size_t pieces[] = {4096, MIB - 1, MIB, 3 * MIB + 5};
    struct images_fixture *x = *state;
    char digest[DOC_DIGEST_CAP], again[DOC_DIGEST_CAP];
    size_t len = 5 * MIB + 3;
    _cleanup_free_ uint8_t *data = malloc(len);
    for (size_t p = 0; p < 4; p++) {
        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)(i * 31 + i / 4096 + p);
        upload(x, data, len, pieces[p], digest);
        _cleanup_close_ int fd = images_open(x->images, digest);
        assert_int_equal(measure_file(fd, again), 0);
        assert_string_equal(again, digest);
    }
}

static void a_cancel_amid_a_write_waits_for_the_thread(void **state)
{
    struct images_fixture *x = *state;
    struct image_upload *u;
    struct err err;
    _cleanup_free_ uint8_t *data = malloc(8 * MIB);
    memset(data, 7, 8 * MIB);
    assert_int_equal(image_upload_new(x->images, DIGEST_A, &u, &err), 0);
    assert_int_equal(image_upload_write(u, data, 8 * MIB), 0);
    image_upload_cancel(u);
    assert_false(images_has(x->images, DIGEST_A));
}

// --- checked opening ---

static void on_opened(void *arg, struct images_opened *result)
{
    struct images_fixture *x = arg;
    x->opened = *result;
    snprintf(x->failed, sizeof x->failed, "%s", result->digest ? result->digest : "");
    for (size_t i = 0; x->keep_fds && i < IMAGES_OPEN_MAX; i++)
        result->fds[i] = -1;
    x->done = true;
}

static int open_one(struct images_fixture *x, const char *digest)
{
    assert_non_null(images_open_verified(x->images, &digest, 1, on_opened, x));
    assert_false(x->done); // never inside the call
    run(x);
    return x->opened.rc;
}

static void reopen(struct images_fixture *x)
{
    char path[96];
    struct err err;
    images_free(x->images);
    snprintf(path, sizeof path, "%s/images", x->f->dir);
    assert_int_equal(images_new(x->f->base, path, &x->images, &err), 0);
}

static void damage(struct images_fixture *x, const char *digest)
{
    char path[192];
    snprintf(path, sizeof path, "%s/images/%s", x->f->dir, digest + strlen("sha256:"));
    chmod(path, 0600);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, 1), 1);
}

static void an_intact_image_is_opened_before_and_after_a_restart(void **state)
{
    struct images_fixture *x = *state;
    char digest[DOC_DIGEST_CAP], back[4] = "";
    upload(x, (const uint8_t *)"abc", 3, 3, digest);
    assert_int_equal(open_one(x, digest), 0);
    reopen(x);
    x->keep_fds = true;
    assert_int_equal(open_one(x, digest), 0);
    assert_int_equal(read(x->opened.fds[0], back, 3), 3);
    assert_string_equal(back, "abc");
    close(x->opened.fds[0]);
}

static void a_damaged_image_is_refused_by_name(void **state)
{
    struct images_fixture *x = *state;
    char good[DOC_DIGEST_CAP], bad[DOC_DIGEST_CAP];
    upload(x, (const uint8_t *)"good", 4, 4, good);
    upload(x, (const uint8_t *)"abc", 3, 3, bad);
    damage(x, bad);
    const char *both[] = {good, bad};
    assert_non_null(images_open_verified(x->images, both, 2, on_opened, x));
    run(x);
    assert_int_equal(x->opened.rc, -EBADMSG);
    assert_string_equal(x->failed, bad);
    assert_int_equal(open_one(x, bad), -ENOENT); // set aside: it can be uploaded again
    upload(x, (const uint8_t *)"abc", 3, 3, bad);
    assert_int_equal(open_one(x, bad), 0);
    assert_int_equal(open_one(x, good), 0);
}

static void an_image_that_is_not_there_is_refused_by_name(void **state)
{
    struct images_fixture *x = *state;
    assert_int_equal(open_one(x, DIGEST_A), -ENOENT);
    assert_string_equal(x->failed, DIGEST_A);
}

static void a_cancelled_opening_does_not_call_back(void **state)
{
    struct images_fixture *x = *state;
    char digest[DOC_DIGEST_CAP];
    const char *digests[] = {digest, DIGEST_A};
    upload(x, (const uint8_t *)"abc", 3, 3, digest);
    images_opening_cancel(images_open_verified(x->images, digests, 1, on_opened, x));
    images_opening_cancel(images_open_verified(x->images, digests + 1, 1, on_opened, x));
    reopen(x);                                                                        // waits for the thread
    images_opening_cancel(images_open_verified(x->images, digests, 1, on_opened, x)); // has to be checked
    reopen(x);
    assert_false(x->done);
}

static bool keep_none(void *arg, const char *digest)
{
    (void)digest;
    return arg != NULL;
}

static void files_without_an_object_are_collected_when_old_enough(void **state)
{
    struct images_fixture *x = *state;
    char digest[DOC_DIGEST_CAP];
    uint64_t bytes = 0;
    upload(x, (const uint8_t *)"abc", 3, 3, digest);
    assert_int_equal(images_remove_orphans(x->images, keep_none, NULL, 3600, &bytes), 0);
    assert_int_equal(images_remove_orphans(x->images, keep_none, x, 0, &bytes), 0);
    assert_int_equal(images_remove_orphans(x->images, keep_none, NULL, 0, &bytes), 1);
    assert_int_equal(bytes, 3);
    assert_false(images_has(x->images, digest));
}

// --- types ---

static enum image_type probe_at(const char *bytes, size_t len, size_t at)
{
    struct image_kind kind;
    uint8_t data[4096] = {0};
    _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
    memcpy(data + at, bytes, len);
    assert_int_equal(write(fd, data, sizeof data), sizeof data);
    image_type_probe(fd, &kind);
    manifest_done(&kind.manifest);
    return kind.type;
}

static void kernels_disks_and_initrds_are_told_by_their_magic(void **state)
{
    (void)state;
    assert_int_equal(probe_at("HdrS", 4, 0x202), IMAGE_KERNEL);
    assert_int_equal(probe_at("\x53\xef", 2, 0x438), IMAGE_DISK);
    assert_int_equal(probe_at("\x1f\x8b", 2, 0), IMAGE_INITRD);
    assert_int_equal(probe_at("\x28\xb5\x2f\xfd", 4, 0), IMAGE_INITRD);
    assert_int_equal(probe_at("070701", 6, 0), IMAGE_CPIO_NEWC);
    assert_true(image_type_fits("cpio-newc", MANIFEST_INITRD));
    assert_false(image_type_fits("cpio-newc", MANIFEST_DISK));
    assert_false(image_type_fits("disk", MANIFEST_KERNEL));
}

static void a_bad_manifest_is_no_file_of_another_type(void **state)
{
    struct image_kind kind;
    const char *text = "{\"envd\":\"linux-image-1\"}";
    (void)state;
    _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    image_type_probe(fd, &kind);
    assert_true(kind.bad_manifest);
    assert_non_null(strstr(kind.note, "cmdline"));
}

// --- references ---

static const char *linux_digest = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

static int build_linux(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    (void)arg;
    json_t *doc =
        json_pack("{s:i, s:s, s:i, s:i, s:s, s:{s:s, s:s, s:s, s:n, s:n, s:i, s:{}}}", "size", 1, "type",
                  "linux", "refs", 0, "since_ms", 1000, "name", "deb", "linux", "envd", MANIFEST_FORMAT,
                  "cmdline", "", "kernel", DIGEST_A, "initrd", "disk", "disk_bytes", 0, "labels");
    json_object_set_new(json_object_get(doc, "linux"), "initrd", json_string(DIGEST_B));
    int rc = image_add(store, txn, linux_digest, doc, &f->why);
    json_decref(doc);
    return rc;
}

static int build_delete(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return image_delete(store, txn, arg, &f->why);
}

static int build_collect(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    json_t *removed = NULL;
    int rc = image_collect(store, txn, 10000, 5000, arg != NULL, &removed, &f->why);
    json_decref(removed);
    return rc;
}

static void a_linux_image_needs_its_parts_and_counts_them(void **state)
{
    struct images_fixture *x = *state;
    struct fixture *f = x->f;
    assert_int_equal(mutate(f, build_linux, NULL), -ENOENT);
    assert_string_equal(f->why.code, "missing-part");
    assert_int_equal(add_image(f, DIGEST_A, "kernel"), 0);
    assert_int_equal(add_image(f, DIGEST_B, "disk"), 0);
    assert_int_equal(mutate(f, build_linux, NULL), -EINVAL);
    assert_string_equal(f->why.code, "wrong-type");
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 0);
    assert_int_equal(mutate(f, build_delete, (void *)DIGEST_B), 0);
    assert_int_equal(add_image(f, DIGEST_B, "initrd"), 0);
    assert_int_equal(mutate(f, build_linux, NULL), 0);
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 1);
    assert_int_equal(mutate(f, build_delete, (void *)DIGEST_A), -EBUSY);
    assert_non_null(strstr(f->why.detail, "image deb"));
    assert_int_equal(mutate(f, build_delete, (void *)linux_digest), 0);
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 0);
    assert_int_equal(mutate(f, build_delete, (void *)DIGEST_A), 0);
}

static void collecting_takes_what_nothing_refers_to(void **state)
{
    struct images_fixture *x = *state;
    struct fixture *f = x->f;
    assert_int_equal(add_image(f, DIGEST_A, "kernel"), 0);
    assert_int_equal(add_image(f, DIGEST_B, "initrd"), 0);
    assert_int_equal(mutate(f, build_linux, NULL), 0);
    assert_int_equal(mutate(f, build_collect, NULL), 0);
    assert_int_equal(store_count(f->store, DOC_IMAGES), 3);
    assert_int_equal(mutate(f, build_collect, f), 0); // Linux images too
    assert_int_equal(store_count(f->store, DOC_IMAGES), 2);
    assert_int_equal(mutate(f, build_collect, NULL), 0);
    assert_int_equal(store_count(f->store, DOC_IMAGES), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(zeros_become_holes_and_nothing_else_changes),
        TEST(bytes_without_zeros_arrive_in_any_pieces),
        TEST(a_cancel_amid_a_write_waits_for_the_thread),
        TEST(an_intact_image_is_opened_before_and_after_a_restart),
        TEST(a_damaged_image_is_refused_by_name),
        TEST(an_image_that_is_not_there_is_refused_by_name),
        TEST(a_cancelled_opening_does_not_call_back),
        TEST(files_without_an_object_are_collected_when_old_enough),
        cmocka_unit_test(kernels_disks_and_initrds_are_told_by_their_magic),
        cmocka_unit_test(a_bad_manifest_is_no_file_of_another_type),
        TEST(a_linux_image_needs_its_parts_and_counts_them),
        TEST(collecting_takes_what_nothing_refers_to),
    };
    return cmocka_run_group_tests_name("env_images_linux", tests, NULL, NULL);
}
