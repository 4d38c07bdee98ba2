// What image.c and image_build.c share: the options of envctl image.
#pragma once

#include "cli.h"

struct image_options {
    const char *kernel, *initrd, *kernel_from, *size, *cmdline, *name, *output, *max_size, *max_files;
    const char *type, *older_than;
    struct cli_list labels;
    bool no_disk, all;
};

int image_verb_build(struct cli *cli, const struct image_options *o, const char *source);
// Writes the image, whose parts are all at hand, to a file, or to standard output ("-").
struct linux_image;
int image_write_file(struct cli *cli, const struct linux_image *image, const char *path);
