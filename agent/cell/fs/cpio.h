// Reads a cpio archive in the "newc" format, entry by entry: the cell's read-only files. Total: any bytes in,
// an entry, the end or a complaint out. Pure; called by fs/tree.c and by the fuzz target.
//
// An entry, each field 8 hexadecimal digits, name and data padded to 4 bytes counted from the archive's
// start:
//   "070701" | ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check |
//   name NUL | data
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cpio_entry {
    const char *name; // ends with a NUL; name_len does not count it
    size_t name_len;
    const uint8_t *data;
    uint32_t size_bytes;
    uint32_t ino, mode, uid, gid, n_links, mtime_s, dev_major, dev_minor;
};

struct cpio_reader {
    const uint8_t *data;
    size_t len, pos;
    const char *error; // after -1: what is wrong, at pos
};

void cpio_reader_init(struct cpio_reader *r, const void *archive, size_t len);
// 1 and an entry whose pointers lie inside the archive; 0 at the trailer; -1 when malformed, for good.
int cpio_next(struct cpio_reader *r, struct cpio_entry *ret);
