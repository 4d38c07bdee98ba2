// What an uploaded file is: told from its first bytes and its ELF program headers, a manifest from all of it.
// Called by images.c; total: any bytes give an answer.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "manifest/manifest.h"

#define IMAGE_NOTE_CAP 240

enum image_type {
    IMAGE_STATIC_ELF, // a cell's program
    IMAGE_ELF,
    IMAGE_CPIO_NEWC, // a cell's files, or an initrd
    IMAGE_KERNEL,    // bzImage, or an ELF vmlinux
    IMAGE_INITRD,    // compressed
    IMAGE_DISK,      // an ext2, ext3 or ext4 file system
    IMAGE_LINUX,     // a manifest
    IMAGE_OTHER,
};

struct image_kind {
    enum image_type type;
    char note[IMAGE_NOTE_CAP]; // why it is not a program that can be started, in words; else empty
    bool bad_manifest;         // it claims to be a manifest, and note says what is wrong with it
    struct manifest manifest;  // of IMAGE_LINUX; free with manifest_done()
};

// Reads fd (pread).
void image_type_probe(int fd, struct image_kind *ret);
const char *image_type_name(enum image_type type);
// Whether a blob of this type (by name) can be that part of a Linux image.
bool image_type_fits(const char *type, enum manifest_part part);
