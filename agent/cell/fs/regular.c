// See regular.h.
#include "fs/regular.h"

#include <asm/fcntl.h>
#include <linux/errno.h>

#include "base/clock.h"
#include "base/string.h"
#include "fs/content.h"
#include "fs/file.h"
#include "fs/special.h"
#include "fs/tree.h"

static int64_t read_file(struct file *file, void *out, size_t n, uint64_t *pos)
{
    int64_t got = content_read(file->node, *pos, out, n);
    *pos += (uint64_t)(got > 0 ? got : 0);
    return got;
}

static int64_t write_file(struct file *file, const void *data, size_t n, uint64_t *pos)
{
    if (file->flags & O_APPEND)
        *pos = file->node->size_bytes;
    int64_t done = content_write(file->node, *pos, data, n);
    if (done > 0) {
        *pos += (uint64_t)done;
        file->node->mtime_ns = clock_realtime_ns();
    }
    return done;
}

static int64_t read_directory(struct file *file, void *out, size_t n, uint64_t *pos)
{
    (void)file, (void)out, (void)n, (void)pos;
    return -EISDIR;
}

static const struct file_ops file_ops = {.read = read_file, .write = write_file, .seekable = true};
static const struct file_ops directory_ops = {.read = read_directory, .seekable = true};
static const struct file_ops path_ops = {.seekable = false}; // O_PATH of a link or a socket

int regular_open(struct node *node, uint32_t flags, struct file **ret)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    const struct file_ops *ops = &file_ops;
    if (node->kind == NODE_DIRECTORY) {
        if (writes || (flags & O_CREAT))
            return -EISDIR;
        ops = &directory_ops;
    } else if (flags & O_DIRECTORY) {
        return -ENOTDIR;
    } else if (flags & O_PATH) {
        ops = &path_ops;
    } else if (node->kind == NODE_DEVICE) {
        return special_open(node, flags, ret);
    } else if (node->kind == NODE_SOCKET) {
        return -ENXIO;
    } else if (node->kind == NODE_SYMLINK) {
        return -ELOOP; // O_NOFOLLOW
    } else if ((writes || (flags & O_TRUNC)) && !node->writable) {
        return -EROFS;
    }
    struct file *file = file_new(ops, flags, node, NULL);
    if (!file)
        return -ENOMEM;
    if ((flags & O_TRUNC) && ops == &file_ops)
        content_resize(node, 0);
    *ret = file;
    return 0;
}

// struct linux_dirent64: u64 ino, u64 offset of the next, u16 record length, u8 type, name NUL; records of
// 8-byte multiples.
#define DIRENT_NAME 19

static const uint8_t dirent_types[] = {
    [NODE_DIRECTORY] = 4, [NODE_FILE] = 8, [NODE_SYMLINK] = 10, [NODE_DEVICE] = 2, [NODE_SOCKET] = 12,
};

static size_t put_entry(uint8_t *out, size_t room, const struct node *node, const char *name, size_t len,
                        uint64_t next)
{
    uint16_t size = (uint16_t)((DIRENT_NAME + len + 1 + 7) & ~(size_t)7);
    if (size > room)
        return 0;
    memset(out, 0, size);
    memcpy(out, &node->ino, 8);
    memcpy(out + 8, &next, 8);
    memcpy(out + 16, &size, 2);
    out[18] = dirent_types[node->kind];
    memcpy(out + DIRENT_NAME, name, len);
    return size;
}

// Positions: 0 ".", 1 "..", then 1 + place of the children, which grows in the order of the list.
int64_t regular_list(struct file *file, uint8_t *out, size_t n)
{
    struct node *directory = file->node;
    if (!directory || directory->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    if (!directory->parent)
        return -ENOENT;
    size_t used = 0, size = 1;
    if (file->pos == 0 && (size = put_entry(out, n, directory, ".", 1, 1))) {
        used += size;
        file->pos = 1;
    }
    if (file->pos == 1 && size && (size = put_entry(out + used, n - used, directory->parent, "..", 2, 2))) {
        used += size;
        file->pos = 2;
    }
    for (const struct node *c = directory->first; c && size; c = c->next) {
        if (c->place + 1 < file->pos)
            continue;
        size = put_entry(out + used, n - used, c, c->name, c->name_len, c->place + 2);
        if (!size)
            break;
        used += size;
        file->pos = c->place + 2;
    }
    return used || size ? (int64_t)used : -EINVAL;
}
