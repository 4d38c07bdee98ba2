// The layout of an environment's log file (logring.h). Written by envvm, read by envd, which trusts no field
// of it.
#include "proto/logring.h"

#include <string.h>

#include "proto/wire.h"

static const char magic[8] = {'E', 'N', 'V', 'L', 'O', 'G', '1', '\n'};

const char *logring_header_read(const uint8_t raw[LOGRING_HEADER], struct logring *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, raw, LOGRING_HEADER);
    char found[sizeof magic];
    wire_read_raw(&r, found, sizeof found);
    struct logring ring;
    ring.capacity = wire_read_u64(&r);
    ring.total = wire_read_u64(&r);
    ring.dropped = wire_read_u64(&r);
    if (memcmp(found, magic, sizeof magic) != 0)
        return "not a log: the magic is missing";
    if (ring.capacity < LOGRING_CAPACITY_MIN || ring.capacity > LOGRING_CAPACITY_MAX)
        return "the log's capacity is out of range";
    for (size_t i = r.pos; i < LOGRING_HEADER; i++)
        if (raw[i] != 0)
            return "the log's header has bytes that should be zero";
    *ret = ring;
    return NULL;
}

void logring_header_write(const struct logring *ring, uint8_t raw[32])
{
    struct wire_writer w;
    wire_writer_init(&w, raw, 32);
    wire_write_raw(&w, magic, sizeof magic);
    wire_write_u64(&w, ring->capacity);
    wire_write_u64(&w, ring->total);
    wire_write_u64(&w, ring->dropped);
}

size_t logring_spans(const struct logring *ring, uint64_t from, size_t n, struct logring_span ret[2])
{
    if (n == 0 || n > ring->capacity)
        return 0;
    uint64_t at = from % ring->capacity;
    size_t until_wrap = (size_t)(ring->capacity - at);
    size_t first = n < until_wrap ? n : until_wrap;
    ret[0] = (struct logring_span){.file_offset = LOGRING_HEADER + at, .len = first};
    if (first == n)
        return 1;
    ret[1] = (struct logring_span){.file_offset = LOGRING_HEADER, .len = n - first};
    return 2;
}

uint64_t logring_oldest(const struct logring *ring)
{
    return ring->total > ring->capacity ? ring->total - ring->capacity : 0;
}
