// Paths in system calls: what a descriptor and a pointer name. Between sys/paths.c and the files that serve
// paths.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/tree.h"

// The directory that relative paths of (dirfd) start at; NULL for the root. 0, -EBADF, -ENOTDIR.
int paths_base(uint64_t dirfd, struct node **ret);
// The node that (dirfd, path) names. at_flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
int paths_find(uint64_t dirfd, uint64_t path, uint64_t at_flags, struct node **ret);
// The place that (dirfd, path) names, for making, removing and renaming.
struct place {
    struct node *directory;
    const char *name;
    size_t len;
    bool slash; // the path ended with one
};
int paths_place(uint64_t dirfd, uint64_t path, struct place *ret);
// The mode bits that umask leaves.
unsigned paths_mode(uint64_t mode);
