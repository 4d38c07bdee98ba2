// Writes newc archives for tests.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct archive {
    uint8_t data[65536];
    size_t len;
};

static inline void archive_pad(struct archive *a)
{
    while (a->len % 4)
        a->data[a->len++] = 0;
}

static inline void archive_add_link(struct archive *a, const char *name, unsigned mode, const void *data,
                                    size_t size, unsigned ino, unsigned n_links)
{
    size_t name_size = strlen(name) + 1;
    a->len += (size_t)sprintf((char *)a->data + a->len,
                              "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ino, mode, 0, 0,
                              n_links, 1000000000, (unsigned)size, 0, 0, 0, 0, (unsigned)name_size, 0);
    memcpy(a->data + a->len, name, name_size);
    a->len += name_size;
    archive_pad(a);
    if (size)
        memcpy(a->data + a->len, data, size);
    a->len += size;
    archive_pad(a);
}

static inline void archive_add(struct archive *a, const char *name, unsigned mode, const char *text)
{
    static unsigned ino = 100;
    archive_add_link(a, name, mode, text, text ? strlen(text) : 0, ino++, 1);
}

static inline void archive_end(struct archive *a)
{
    archive_add_link(a, "TRAILER!!!", 0, NULL, 0, 0, 1);
}
