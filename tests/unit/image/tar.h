// Archives in memory for tests, written with libarchive.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct tar {
    struct archive *a;
    char *data;
    size_t len, cap;
};

static inline void tar_begin(struct tar *t)
{
    t->cap = 1 << 20;
    t->data = malloc(t->cap);
    t->len = 0;
    t->a = archive_write_new();
    archive_write_set_format_pax(t->a);
    archive_write_open_memory(t->a, t->data, t->cap, &t->len);
}

static inline struct archive_entry *tar_entry(const char *path, mode_t mode)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, path);
    archive_entry_set_mode(e, mode);
    archive_entry_set_mtime(e, 1000, 5);
    archive_entry_set_size(e, 0);
    return e;
}

static inline void tar_add(struct tar *t, struct archive_entry *e, const void *data, size_t len)
{
    archive_entry_set_size(e, (la_int64_t)len);
    archive_write_header(t->a, e);
    if (len > 0)
        archive_write_data(t->a, data, len);
    archive_entry_free(e);
}

static inline void tar_file(struct tar *t, const char *path, const char *text)
{
    tar_add(t, tar_entry(path, S_IFREG | 0644), text, strlen(text));
}

static inline void tar_folder(struct tar *t, const char *path)
{
    tar_add(t, tar_entry(path, S_IFDIR | 0755), NULL, 0);
}

static inline void tar_symlink(struct tar *t, const char *path, const char *target)
{
    struct archive_entry *e = tar_entry(path, S_IFLNK | 0777);
    archive_entry_set_symlink(e, target);
    tar_add(t, e, NULL, 0);
}

static inline void tar_hardlink(struct tar *t, const char *path, const char *target)
{
    struct archive_entry *e = tar_entry(path, S_IFREG | 0644);
    archive_entry_set_hardlink(e, target);
    tar_add(t, e, NULL, 0);
}

static inline void tar_end(struct tar *t)
{
    archive_write_close(t->a);
    archive_write_free(t->a);
}
