// A tree written as an ext4 file system, without mounting anything and without rights.
#pragma once

#include "image/tree.h"

struct ext4_options {
    uint64_t size_bytes;                         // of the disk; 0: what is in it and room for more
    void (*progress)(void *arg, uint64_t bytes); // contents written so far; may be NULL
    void *arg;
};

// What the disk needs at least, and what it gets when nothing is said. Multiples of a MiB.
uint64_t ext4_size_min(const struct tree *t);
uint64_t ext4_size_default(const struct tree *t);

// Writes t into fd, an empty file that becomes size_bytes long with holes. The same tree gives the same
// bytes: entries in the order of their names, no clock, fixed UUIDs. -ENOSPC: it does not fit.
int ext4_write(struct tree *t, const struct spool *s, const struct ext4_options *options, int fd,
               struct err *err);
