// Log files of environments: STATE/logs/TENANT/NAME.log, rings of fixed size (proto/logring.h) that envvm
// writes and envd reads. Called by env/ (making, removing) and api/ (reading). What is in the file is envvm's
// and not trusted.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "proto/logring.h"

// Opens the log, making and preallocating it when there is none (or one of another size or shape). A
// descriptor for reading and writing, the caller's, or -errno (-ENOSPC: the disk is full).
int logfile_open(const char *folder, const char *tenant, const char *name, uint32_t capacity,
                 struct err *err);
// For reading: a descriptor, the caller's, or -errno (-ENOENT: it was never started).
int logfile_open_read(const char *folder, const char *tenant, const char *name);
void logfile_remove(const char *folder, const char *tenant, const char *name);

// 0, or -EBADMSG (not a log), -EIO.
int logfile_header(int fd, struct logring *ret);
// Reads up to cap bytes of the log from byte `from`, which is moved up to the oldest byte that is kept. The
// length, 0 at the end, or -errno.
ssize_t logfile_read(int fd, const struct logring *ring, uint64_t *from, void *data, size_t cap);
// Where the last n lines begin. A line that has no end yet counts.
uint64_t logfile_tail(int fd, const struct logring *ring, uint32_t n_lines);
