// Image files: uploads, types, removal (server/daemon/env/images.c, image_type.c).
#include "fixture.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "env/images.h"

// SHA-256 of "abc".
#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

struct images_fixture {
    struct fixture *f;
    struct images *images;
    struct image_uploaded result;
    bool done;
};

static void open_folder(struct images_fixture *x)
{
    char path[96];
    struct err err;
    snprintf(path, sizeof path, "%s/images", x->f->dir);
    assert_int_equal(images_new(x->f->base, path, &x->images, &err), 0);
}

static int setup(void **state)
{
    struct images_fixture *x = calloc(1, sizeof *x);
    assert_non_null(x);
    fixture_setup((void **)&x->f);
    open_folder(x);
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

static void on_uploaded(void *arg, const struct image_uploaded *result)
{
    struct images_fixture *x = arg;
    x->result = *result;
    x->done = true;
}

static int upload(struct images_fixture *x, const char *digest, const char *bytes)
{
    struct image_upload *u;
    struct err err;
    assert_int_equal(image_upload_new(x->images, digest, &u, &err), 0);
    for (const char *p = bytes; *p; p++) // in pieces
        assert_int_equal(image_upload_write(u, p, 1), 0);
    x->done = false;
    image_upload_finish(u, on_uploaded, x);
    assert_false(x->done); // never inside the call
    while (!x->done)
        event_base_loop(x->f->base, EVLOOP_ONCE);
    return x->result.rc;
}

static size_t files_in_folder(struct images_fixture *x)
{
    char path[96];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/images", x->f->dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));)
        n += strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void an_upload_with_the_right_digest_is_there(void **state)
{
    struct images_fixture *x = *state;
    char back[4] = "";
    assert_false(images_has(x->images, ABC));
    assert_int_equal(upload(x, ABC, "abc"), 0);
    assert_true(images_has(x->images, ABC));
    assert_int_equal(x->result.size_bytes, 3);
    _cleanup_close_ int fd = images_open(x->images, ABC);
    assert_int_equal(read(fd, back, 3), 3);
    assert_string_equal(back, "abc");
    assert_int_equal(files_in_folder(x), 1);
}

static void an_upload_with_another_digest_is_thrown_away(void **state)
{
    struct images_fixture *x = *state;
    assert_int_equal(upload(x, DIGEST_A, "abc"), -EBADMSG);
    assert_string_equal(x->result.digest, ABC);
    assert_false(images_has(x->images, DIGEST_A));
    assert_int_equal(files_in_folder(x), 0);
}

static void a_cancelled_upload_leaves_nothing(void **state)
{
    struct images_fixture *x = *state;
    struct image_upload *u;
    struct err err;
    assert_int_equal(image_upload_new(x->images, ABC, &u, &err), 0);
    assert_int_equal(image_upload_write(u, "ab", 2), 0);
    image_upload_cancel(u);
    assert_int_equal(files_in_folder(x), 0);
}

static void what_a_killed_upload_left_is_removed_at_the_next_start(void **state)
{
    struct images_fixture *x = *state;
    struct image_upload *u;
    struct err err;
    char path[256];
    assert_int_equal(upload(x, ABC, "abc"), 0);
    assert_int_equal(image_upload_new(x->images, DIGEST_A, &u, &err), 0);
    snprintf(path, sizeof path, "cp -p '%s/images/.upload-1' '%s/keep'", x->f->dir, x->f->dir);
    assert_int_equal(system(path), 0);
    images_free(x->images);
    snprintf(path, sizeof path, "mv '%s/keep' '%s/images/.upload-1'", x->f->dir, x->f->dir);
    assert_int_equal(system(path), 0);
    open_folder(x);
    assert_int_equal(files_in_folder(x), 1);
    assert_true(images_has(x->images, ABC));
}

static void the_same_bytes_twice_are_one_file(void **state)
{
    struct images_fixture *x = *state;
    assert_int_equal(upload(x, ABC, "abc"), 0);
    assert_int_equal(upload(x, ABC, "abc"), 0);
    assert_int_equal(files_in_folder(x), 1);
}

static void a_removal_spares_an_upload_under_way(void **state)
{
    struct images_fixture *x = *state;
    struct image_upload *u;
    struct err err;
    assert_int_equal(upload(x, ABC, "abc"), 0);
    assert_int_equal(image_upload_new(x->images, ABC, &u, &err), 0);
    images_remove(x->images, ABC);
    assert_true(images_has(x->images, ABC));
    image_upload_cancel(u);
    images_remove(x->images, ABC);
    assert_false(images_has(x->images, ABC));
}

// --- types ---

static enum image_type probe(const void *data, size_t len, char note[IMAGE_NOTE_CAP])
{
    _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(write(fd, data, len), len);
    struct image_kind kind;
    image_type_probe(fd, &kind);
    manifest_done(&kind.manifest);
    memcpy(note, kind.note, IMAGE_NOTE_CAP);
    return kind.type;
}

struct program {
    Elf64_Ehdr head;
    Elf64_Phdr segments[2];
};

static struct program make_program(void)
{
    struct program p = {.head = {.e_type = ET_EXEC,
                                 .e_machine = EM_X86_64,
                                 .e_entry = 0x400000,
                                 .e_phoff = offsetof(struct program, segments),
                                 .e_phentsize = sizeof(Elf64_Phdr),
                                 .e_phnum = 2},
                        .segments = {{.p_type = PT_LOAD}, {.p_type = PT_NOTE}}};
    memcpy(p.head.e_ident, ELFMAG, SELFMAG);
    p.head.e_ident[EI_CLASS] = ELFCLASS64;
    p.head.e_ident[EI_DATA] = ELFDATA2LSB;
    return p;
}

static void a_static_program_is_one(void **state)
{
    (void)state;
    char note[IMAGE_NOTE_CAP] = "x";
    struct program p = make_program();
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_STATIC_ELF);
    assert_string_equal(note, "");
    p.head.e_type = ET_DYN; // static-pie
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_STATIC_ELF);
}

static void a_dynamic_program_is_told_so(void **state)
{
    (void)state;
    char note[IMAGE_NOTE_CAP];
    struct program p = make_program();
    p.segments[1].p_type = PT_INTERP;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    assert_non_null(strstr(note, "dynamically linked"));
}

static void other_elf_files_are_no_programs(void **state)
{
    (void)state;
    char note[IMAGE_NOTE_CAP];
    struct program p = make_program();
    p.head.e_machine = EM_AARCH64;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    assert_non_null(strstr(note, "another machine"));
    p = make_program();
    p.head.e_ident[EI_CLASS] = ELFCLASS32;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    p = make_program();
    p.head.e_type = ET_REL;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    p = make_program();
    p.head.e_entry = 0; // a shared library
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
}

static void damaged_headers_are_survived(void **state)
{
    (void)state;
    char note[IMAGE_NOTE_CAP];
    struct program p = make_program();
    for (size_t len = 0; len < sizeof p; len++)
        assert_int_not_equal(probe(&p, len, note), IMAGE_STATIC_ELF);
    p.head.e_phoff = UINT64_MAX - 8;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    p = make_program();
    p.head.e_phnum = UINT16_MAX;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
    p = make_program();
    p.head.e_phentsize = 1;
    assert_int_equal(probe(&p, sizeof p, note), IMAGE_ELF);
}

static void scripts_and_archives_are_told_apart(void **state)
{
    (void)state;
    char note[IMAGE_NOTE_CAP];
    assert_int_equal(probe("070701000", 9, note), IMAGE_CPIO_NEWC);
    assert_int_equal(probe("#!/bin/sh\n", 10, note), IMAGE_OTHER);
    assert_non_null(strstr(note, "script"));
    assert_int_equal(probe("", 0, note), IMAGE_OTHER);
    assert_int_equal(probe("hello", 5, note), IMAGE_OTHER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upload_with_the_right_digest_is_there),
        TEST(an_upload_with_another_digest_is_thrown_away),
        TEST(a_cancelled_upload_leaves_nothing),
        TEST(what_a_killed_upload_left_is_removed_at_the_next_start),
        TEST(the_same_bytes_twice_are_one_file),
        TEST(a_removal_spares_an_upload_under_way),
        cmocka_unit_test(a_static_program_is_one),
        cmocka_unit_test(a_dynamic_program_is_told_so),
        cmocka_unit_test(other_elf_files_are_no_programs),
        cmocka_unit_test(damaged_headers_are_survived),
        cmocka_unit_test(scripts_and_archives_are_told_apart),
    };
    return cmocka_run_group_tests_name("env_images", tests, NULL, NULL);
}
