// Files that are no tree content: the devices of /dev, stdin, stdout and stderr.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct file;
struct node;

// 0: at its end; 1 and 2: the log. They cost no memory; a reference is the caller's.
struct file *special_standard_file(size_t n);
// Opens a device node: 0 and a file, or -ENXIO (tty), -ENOMEM.
int special_open(struct node *node, uint32_t flags, struct file **ret);
