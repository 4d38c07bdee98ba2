// Owns making and loading overlay files: the only blocking I/O of the overlay, before it has a guest. Called
// by overlay.c and whoever makes environments' disks.
#include "block/overlay_file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "block/raw.h"

static int write_header(int fd, const struct overlay_header *header, struct err *err)
{
    uint8_t bytes[OVERLAY_HEADER_BYTES];
    overlay_header_encode(header, bytes);
    if (ftruncate(fd, (off_t)header->file_bytes) < 0)
        return err_errno(err, -errno, "overlay: make the file as large as the disk");
    ssize_t n = pwrite(fd, bytes, sizeof bytes, 0);
    if (n != (ssize_t)sizeof bytes)
        return err_errno(err, n < 0 ? -errno : -ENOSPC, "overlay: write the header");
    if (fsync(fd) < 0)
        return err_errno(err, -errno, "overlay: write the header");
    return 0;
}

int block_overlay_format(const struct block_overlay_options *options, uint64_t disk_bytes,
                         uint32_t block_bytes, struct err *err)
{
    int64_t base = block_file_bytes(options->base_fd), file = block_file_bytes(options->file_fd);
    if (base < 0 || file < 0)
        return err_errno(err, (int)(base < 0 ? base : file), "overlay: find the files' sizes");
    if (file > 0)
        return err_set(err, -EEXIST, "overlay: the file is not empty");
    struct overlay_header header = {.block_bytes = block_bytes ? block_bytes : OVERLAY_BLOCK_MIN,
                                    .disk_bytes = disk_bytes,
                                    .base_bytes = (uint64_t)base};
    if (disk_bytes == 0)
        header.disk_bytes = ((uint64_t)base + BLOCK_SECTOR_BYTES - 1) & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1);
    memcpy(header.base_id, options->base_id, sizeof header.base_id);
    int rc = overlay_header_complete(&header, err);
    return rc < 0 ? rc : write_header(options->file_fd, &header, err);
}

// Zero, or not: an id that is all zero names any image.
static bool same_image(const uint8_t *a, const uint8_t *b)
{
    static const uint8_t any[OVERLAY_ID_BYTES];
    return memcmp(a, any, sizeof any) == 0 || memcmp(b, any, sizeof any) == 0 ||
           memcmp(a, b, sizeof any) == 0;
}

static int read_header(const struct block_overlay_options *options, struct overlay_header *ret,
                       struct err *err)
{
    uint8_t untrusted_bytes[OVERLAY_HEADER_BYTES];
    int64_t file = block_file_bytes(options->file_fd), base = block_file_bytes(options->base_fd);
    if (file < 0 || base < 0)
        return err_errno(err, (int)(file < 0 ? file : base), "overlay: find the files' sizes");
    ssize_t n = pread(options->file_fd, untrusted_bytes, sizeof untrusted_bytes, 0);
    if (n < 0)
        return err_errno(err, -errno, "overlay: read the header");
    struct overlay_header header = {0};
    int rc = overlay_header_parse(untrusted_bytes, (size_t)n, (uint64_t)file, &header, err);
    if (rc < 0)
        return rc;
    if ((uint64_t)base != header.base_bytes || !same_image(options->base_id, header.base_id))
        return err_set(err, -ESTALE, "overlay: it was made over another image");
    *ret = header;
    return 0;
}

static int read_bits(int fd, struct overlay_map *map, uint64_t bytes, struct err *err)
{
    for (uint64_t at = 0; at < bytes;) {
        ssize_t n = pread(fd, map->bits + at, bytes - at, (off_t)(OVERLAY_HEADER_BYTES + at));
        if (n <= 0)
            return err_errno(err, n < 0 ? -errno : -EIO, "overlay: read the bitmap");
        at += (uint64_t)n;
    }
    overlay_map_trim(map);
    return 0;
}

int overlay_file_load(const struct block_overlay_options *options, struct overlay_header *ret_header,
                      struct overlay_map *ret_map, struct err *err)
{
    struct overlay_header header = {0};
    struct overlay_map map;
    int rc = read_header(options, &header, err);
    if (rc < 0)
        return rc;
    rc = overlay_map_init(&map, header.n_blocks, header.bitmap_bytes);
    if (rc < 0)
        return err_errno(err, rc, "overlay: the bitmap");
    rc = read_bits(options->file_fd, &map, header.bitmap_bytes, err);
    if (rc < 0) {
        overlay_map_done(&map);
        return rc;
    }
    *ret_header = header;
    *ret_map = map;
    return 0;
}
