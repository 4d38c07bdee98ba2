// Owns what is a valid overlay header. Called by overlay.c and the fuzz target; does no I/O.
#include "block/overlay_format.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "block/block.h"

#define VERSION   1u
#define CRC_BYTES 80u

struct wire {
    uint8_t magic[8];
    uint32_t version, block_bytes;
    uint64_t disk_bytes, base_bytes, bitmap_offset, data_offset;
    uint8_t base_id[OVERLAY_ID_BYTES];
    uint32_t crc;
    uint8_t zero[OVERLAY_HEADER_BYTES - CRC_BYTES - 4];
} __attribute__((packed));

_Static_assert(sizeof(struct wire) == OVERLAY_HEADER_BYTES, "the header is a page");
_Static_assert(offsetof(struct wire, crc) == CRC_BYTES, "as drawn in the header file");

static const uint8_t magic[8] = {'e', 'n', 'v', 'd', 'c', 'o', 'w', '\n'};

static uint32_t crc32(const void *data, size_t len)
{
    uint32_t crc = ~0u;
    for (const uint8_t *p = data; len-- > 0; p++) {
        crc ^= *p;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

// Sums stay small: a disk is at most BLOCK_BYTES_MAX.
int overlay_header_complete(struct overlay_header *h, struct err *err)
{
    if (h->block_bytes < OVERLAY_BLOCK_MIN || h->block_bytes > OVERLAY_BLOCK_MAX ||
        (h->block_bytes & (h->block_bytes - 1)) != 0)
        return err_set(err, -EINVAL, "overlay: blocks of %u bytes", h->block_bytes);
    if (h->disk_bytes == 0 || h->disk_bytes % BLOCK_SECTOR_BYTES != 0 || h->disk_bytes > BLOCK_BYTES_MAX)
        return err_set(err, -EINVAL, "overlay: a disk of %llu bytes", (unsigned long long)h->disk_bytes);
    if (h->base_bytes > h->disk_bytes)
        return err_set(err, -EINVAL, "overlay: the disk is smaller than its image of %llu bytes",
                       (unsigned long long)h->base_bytes);
    h->n_blocks = round_up(h->disk_bytes, h->block_bytes) / h->block_bytes;
    h->bitmap_bytes = round_up((h->n_blocks + 7) / 8, OVERLAY_PAGE_BYTES);
    if (h->bitmap_bytes > OVERLAY_BITMAP_MAX)
        return err_set(err, -EINVAL, "overlay: a disk of %llu bytes needs larger blocks than %u",
                       (unsigned long long)h->disk_bytes, h->block_bytes);
    h->data_offset = round_up(OVERLAY_HEADER_BYTES + h->bitmap_bytes, h->block_bytes);
    h->file_bytes = h->data_offset + h->n_blocks * h->block_bytes;
    return 0;
}

void overlay_header_encode(const struct overlay_header *h, uint8_t out[OVERLAY_HEADER_BYTES])
{
    struct wire wire = {.version = VERSION,
                        .block_bytes = h->block_bytes,
                        .disk_bytes = h->disk_bytes,
                        .base_bytes = h->base_bytes,
                        .bitmap_offset = OVERLAY_HEADER_BYTES,
                        .data_offset = h->data_offset};
    memcpy(wire.magic, magic, sizeof magic);
    memcpy(wire.base_id, h->base_id, sizeof wire.base_id);
    wire.crc = crc32(&wire, CRC_BYTES);
    memcpy(out, &wire, sizeof wire);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

int overlay_header_parse(const uint8_t *untrusted_bytes, size_t len, uint64_t file_bytes,
                         struct overlay_header *ret, struct err *err)
{
    struct wire wire;
    if (len < sizeof wire || memcmp(untrusted_bytes, magic, sizeof magic) != 0)
        return err_set(err, -EINVAL, "overlay: the file is not an overlay");
    memcpy(&wire, untrusted_bytes, sizeof wire);
    if (wire.version != VERSION)
        return err_set(err, -ENOTSUP, "overlay: format version %u, this is %u", wire.version, VERSION);
    if (wire.crc != crc32(&wire, CRC_BYTES))
        return err_set(err, -EINVAL, "overlay: the header is damaged");
    struct overlay_header h = {
        .block_bytes = wire.block_bytes, .disk_bytes = wire.disk_bytes, .base_bytes = wire.base_bytes};
    memcpy(h.base_id, wire.base_id, sizeof h.base_id);
    int rc = overlay_header_complete(&h, err);
    if (rc < 0)
        return rc;
    if (wire.bitmap_offset != OVERLAY_HEADER_BYTES || wire.data_offset != h.data_offset ||
        !all_zero(wire.zero, sizeof wire.zero))
        return err_set(err, -EINVAL, "overlay: the header contradicts itself");
    if (file_bytes < h.file_bytes)
        return err_set(err, -EINVAL, "overlay: the file was cut to %llu of %llu bytes",
                       (unsigned long long)file_bytes, (unsigned long long)h.file_bytes);
    *ret = h;
    return 0;
}
