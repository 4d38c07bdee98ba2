// One unlinked temporary file that holds the contents of all files of an image while it is built. Whoever
// reads an archive appends here, so nothing of it is ever unpacked onto the host.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct spool {
    int fd;
    uint64_t end;       // where the next content begins; multiple of SPOOL_BLOCK
    uint64_t max_bytes; // sizes of all contents together
};

// A content: bytes [at, at + size) of the file. Blocks of zeros are holes; n_data counts the others.
struct spool_range {
    uint64_t at, size;
    uint64_t n_data;
};

#define SPOOL_BLOCK 4096

// An unlinked file below TMPDIR, or /var/tmp: the caller's descriptor, or -errno.
int spool_temporary_file(struct err *err);
int spool_open(struct spool *s, uint64_t max_bytes, struct err *err);
void spool_close(struct spool *s);
// Begins a content of size bytes. -EFBIG: above what is allowed.
int spool_begin(struct spool *s, uint64_t size, struct spool_range *ret, struct err *err);
// Writes a part of it; offset + len lies within its size (else -EINVAL). Parts may be left out: they are
// zeros.
int spool_write(struct spool *s, struct spool_range *range, uint64_t offset, const void *data, size_t len,
                struct err *err);
// Reads up to len bytes at offset; 0 at the end. -errno.
ssize_t spool_read(const struct spool *s, const struct spool_range *range, uint64_t offset, void *data,
                   size_t len);
// Copies all of fd (from its offset). limit: more is -EFBIG.
int spool_copy_fd(struct spool *s, int fd, uint64_t size, struct spool_range *ret, struct err *err);
// The first offset at or behind `offset` that is no hole; size at the end.
uint64_t spool_next_data(const struct spool *s, const struct spool_range *range, uint64_t offset);
bool spool_is_zero(const void *data, size_t len);
