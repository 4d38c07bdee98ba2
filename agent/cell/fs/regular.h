// Opening what is in the tree: files, directories, devices.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct file;
struct node;

// Opens a node that exists. 0, or -EISDIR, -ENOTDIR, -EROFS, -ENXIO, -ENOMEM. flags: O_*; O_TRUNC is obeyed.
int regular_open(struct node *node, uint32_t flags, struct file **ret);
// Directory entries in the layout of getdents64 from the file's position. Bytes, 0 at the end, -ENOTDIR,
// -EINVAL when not even one entry fits.
int64_t regular_list(struct file *file, uint8_t *out, size_t n);
