// What a file node holds: the archive's bytes, or pages in memory. A file of the archive below a writable
// directory is copied into memory at its first change. Bounded by half of the memory. Called through files
// and mmap.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/tree.h"

// Bytes read, 0 at the end.
int64_t content_read(const struct node *node, uint64_t offset, void *out, size_t n);
// Bytes written (fewer when memory ran out), -ENOSPC, -EFBIG.
int64_t content_write(struct node *node, uint64_t offset, const void *data, size_t n);
int content_resize(struct node *node, uint64_t size_bytes);
void content_free(struct node *node);
