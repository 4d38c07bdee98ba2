// See cpio.h.
#include "fs/cpio.h"

#include <stdbool.h>

#include "base/string.h"

#define MAGIC_LEN   6
#define FIELD_LEN   8
#define FIELD_COUNT 13
#define HEADER_LEN  (MAGIC_LEN + FIELD_LEN * FIELD_COUNT)
#define NAME_MAX_   4096

enum field {
    INO,
    MODE,
    UID,
    GID,
    N_LINKS,
    MTIME,
    SIZE,
    DEV_MAJOR,
    DEV_MINOR,
    RDEV_MAJOR,
    RDEV_MINOR,
    NAME_SIZE,
    CHECK
};

void cpio_reader_init(struct cpio_reader *r, const void *archive, size_t len)
{
    *r = (struct cpio_reader){archive, len, 0, NULL};
}

static int fail(struct cpio_reader *r, const char *what)
{
    r->error = what;
    return -1;
}

static bool read_hex(const uint8_t *p, uint32_t *ret)
{
    uint32_t v = 0;
    for (int i = 0; i < FIELD_LEN; i++) {
        uint8_t c = p[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10u;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10u;
        else
            return false;
        v = v << 4 | digit;
    }
    *ret = v;
    return true;
}

// The offset after n more bytes from pos and the padding to 4, or SIZE_MAX when it does not fit.
static size_t advance(const struct cpio_reader *r, size_t pos, size_t n)
{
    if (pos > r->len || n > r->len - pos)
        return SIZE_MAX;
    size_t padded = (pos + n + 3) & ~(size_t)3;
    return padded > r->len ? r->len : padded; // the last entry's padding may be missing
}

int cpio_next(struct cpio_reader *r, struct cpio_entry *ret)
{
    uint32_t f[FIELD_COUNT];
    if (r->error)
        return -1;
    if (r->len - r->pos < HEADER_LEN)
        return fail(r, "the archive ends without a trailer");
    const uint8_t *header = r->data + r->pos;
    if (memcmp(header, "070701", MAGIC_LEN) != 0 && memcmp(header, "070702", MAGIC_LEN) != 0)
        return fail(r, "not a newc header");
    for (int i = 0; i < FIELD_COUNT; i++)
        if (!read_hex(header + MAGIC_LEN + (size_t)i * FIELD_LEN, &f[i]))
            return fail(r, "a header field is not hexadecimal");
    if (f[NAME_SIZE] < 2 || f[NAME_SIZE] > NAME_MAX_)
        return fail(r, "bad name length");
    size_t name_at = r->pos + HEADER_LEN;
    size_t data_at = advance(r, name_at, f[NAME_SIZE]);
    if (data_at == SIZE_MAX)
        return fail(r, "the archive ends inside a name");
    const char *name = (const char *)r->data + name_at;
    if (strnlen(name, f[NAME_SIZE]) != f[NAME_SIZE] - 1)
        return fail(r, "a name does not end where its length says");
    size_t next = advance(r, data_at, f[SIZE]);
    if (next == SIZE_MAX)
        return fail(r, "the archive ends inside a file");
    if (f[NAME_SIZE] == 11 && memcmp(name, "TRAILER!!!", 10) == 0)
        return 0;
    *ret = (struct cpio_entry){
        .name = name,
        .name_len = f[NAME_SIZE] - 1,
        .data = r->data + data_at,
        .size_bytes = f[SIZE],
        .ino = f[INO],
        .mode = f[MODE],
        .uid = f[UID],
        .gid = f[GID],
        .n_links = f[N_LINKS],
        .mtime_s = f[MTIME],
        .dev_major = f[DEV_MAJOR],
        .dev_minor = f[DEV_MINOR],
    };
    r->pos = next;
    return 1;
}
