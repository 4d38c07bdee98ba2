// What ext4.c and ext4_tree.c share. Included by them only.
#pragma once

#include <ext2fs/ext2fs.h>

#include "image/ext4.h"

struct ext4_writer {
    ext2_filsys fs;
    char path[32];
    const struct spool *spool;
    const struct ext4_options *options;
    struct err *err;
    uint64_t written;
    char path_now[TREE_PATH_MAX + 1]; // for messages
};

// Says what libext2fs' code means; returns -errno.
int ext4_fail(struct err *err, errcode_t code, const char *what);
// Writes everything below root, whose inode is EXT2_ROOT_INO.
int ext4_write_tree(struct ext4_writer *w, struct tree_inode *root);
