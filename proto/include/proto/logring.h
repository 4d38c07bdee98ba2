// An environment's log: one file of fixed size, preallocated by envd, written by envvm with pwrite, read by envd.
// Bounded by construction: the newest `capacity` bytes are kept. Pure layout, no I/O.
//
//   0    8 bytes  magic "ENVLOG1\n"
//   8    u64      capacity: bytes in the ring, the file is LOGRING_HEADER + capacity long
//   16   u64      total: bytes ever written; the next byte goes to LOGRING_HEADER + total % capacity
//   24   u64      dropped: bytes lost to the rate limit
//   32   zeros up to LOGRING_HEADER
//
// The writer writes data first, then the header, so a torn write loses the newest bytes and nothing else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGRING_HEADER       4096u
#define LOGRING_CAPACITY_MIN 4096u
#define LOGRING_CAPACITY_MAX (64u << 20)

struct logring {
    uint64_t capacity;
    uint64_t total;
    uint64_t dropped;
};

// A piece of the file that holds a piece of the log.
struct logring_span {
    uint64_t file_offset;
    size_t len;
};

// NULL, or what is wrong with the 4096 header bytes.
const char *logring_header_read(const uint8_t raw[LOGRING_HEADER], struct logring *ret);
void logring_header_write(const struct logring *ring, uint8_t raw[32]);
// Where n bytes that follow byte `from` of the log lie: at most two spans. n is cut to capacity by the caller.
// Returns the number of spans.
size_t logring_spans(const struct logring *ring, uint64_t from, size_t n, struct logring_span ret[2]);
// The oldest byte that is still there.
uint64_t logring_oldest(const struct logring *ring);
