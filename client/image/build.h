// Builds a Linux image from a source: its disk, and its kernel and initrd from the source's /boot unless
// given.
#pragma once

#include "image/linux_image.h"
#include "image/source.h"

struct build_options {
    const char *source;          // NULL: there is no disk
    const char *kernel, *initrd; // files of the host; NULL: the source's
    bool kernel_elsewhere;       // kernel and initrd come from another image: none is looked for
    const char *cmdline;         // or NULL
    uint64_t size_bytes;         // of the disk; 0: as needed
    struct source_limits limits;
    void (*progress)(void *arg, uint64_t bytes); // contents written to the disk so far; may be NULL
    void *arg;
};

// Makes the parts and fills the manifest. -ENOENT: no kernel was found; err says what to give. Free with
// linux_image_done().
int build_image(const struct build_options *options, struct linux_image *ret, struct err *err);
