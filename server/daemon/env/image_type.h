// What an uploaded file is: told from its first bytes and its ELF program headers. Called by images.c; total:
// any bytes give an answer.
#pragma once

#define IMAGE_NOTE_CAP 160

enum image_type { IMAGE_STATIC_ELF, IMAGE_ELF, IMAGE_CPIO_NEWC, IMAGE_OTHER };

// Reads fd (pread). note: why it is not a program that can be started, in words; empty for IMAGE_STATIC_ELF.
enum image_type image_type_probe(int fd, char note[IMAGE_NOTE_CAP]);
const char *image_type_name(enum image_type type);
