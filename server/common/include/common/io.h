// Descriptors: datagrams with passed descriptors, full reads and writes, the clocks. Linux only, no event
// loop.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Sends one datagram with n_fds descriptors (0..24). 0 or -errno (-EAGAIN on a full non-blocking socket). The
// descriptors stay the caller's.
int io_send_fds(int sock, const void *data, size_t len, const int *fds, size_t n_fds);
// Receives one datagram. Returns its length, 0 at end of stream (after everything that was sent before it),
// or -errno; -EMSGSIZE when the datagram or the descriptors did not fit (all received descriptors are closed
// then). *n_fds: in the capacity of fds, out the number received; they are close-on-exec and the caller's.
ssize_t io_recv_fds(int sock, void *data, size_t cap, int *fds, size_t *n_fds);
// Reads a whole file into data. Length or -errno; -EFBIG when it is longer than cap.
ssize_t io_read_file(const char *path, void *data, size_t cap);
// Writes all of data. 0 or -errno.
int io_write_all(int fd, const void *data, size_t len);
// A monotonic clock and the wall clock.
uint64_t io_monotonic_ns(void);
uint64_t io_realtime_ms(void);
uint64_t io_realtime_us(void);
