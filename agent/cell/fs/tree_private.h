// Between tree.c, walk.c and build.c.
#pragma once

#include "fs/tree.h"

// Makes the root and builds the tree, once. 0 or -ENOMEM.
int tree_prepare(void);
// Adds everything there is at the start: the archive, /tmp, /dev, /run, /proc. Out of memory leaves part of
// it out and says so in tree_archive_error().
void tree_build(void);
struct node *tree_add(struct node *directory, const char *name, size_t len, enum node_kind kind,
                      unsigned permissions);
