// A disk that is a file or a block device, byte for byte.
#pragma once

#include "block/block.h"
#include "common/err.h"

// fd stays the caller's and outlives the back end; a file that is opened for writing is locked (flock)
// against a second back end. The size is taken once; bytes behind the last whole sector are not seen. 0,
// -EBUSY (in use), -EINVAL (neither a file nor a block device, or without a sector), or -errno.
int block_raw_open(struct block_backend **ret, int fd, bool read_only, struct err *err);
// Locks a file (flock) for writing through it. The lock of a process that was killed goes only when the
// kernel is done with the I/O that it had in its io_uring, so this waits for up to 2 s. 0, -EBUSY, or -errno.
int block_file_lock(int fd);
// The size of a file or a block device. Bytes or -errno.
int64_t block_file_bytes(int fd);
