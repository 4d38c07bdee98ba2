// Owns what is acceptable in virtio-blk requests (virtio 1.2, section 5.2.6). Called by blk.c and the fuzz
// target.
#include "virtio/blk_request.h"

#include <linux/virtio_blk.h>
#include <string.h>

#include "common/checked.h"

_Static_assert(sizeof(struct virtio_blk_outhdr) == BLK_HEADER_BYTES, "section 5.2.6");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == BLK_SEGMENT_BYTES, "section 5.2.6");

// A request whose framing is right, as it is read: data bytes in each direction, without header and status.
struct framed {
    const struct blk_limits *limits;
    uint64_t sector, out_bytes, in_bytes;
    struct virtio_blk_discard_write_zeroes segment;
};

typedef uint8_t parse_verb(const struct framed *f, struct blk_request *ret);

// Sets the range. False when any of it is not on the disk.
static bool set_range(const struct framed *f, uint64_t sector, uint64_t bytes, struct blk_request *ret)
{
    if (mul_overflows_u64(sector, BLK_SECTOR_BYTES, &ret->offset))
        return false;
    ret->bytes = bytes;
    return range_inside(ret->offset, bytes, f->limits->disk_bytes);
}

static bool set_transfer(const struct framed *f, uint64_t bytes, struct blk_request *ret)
{
    return bytes > 0 && bytes % BLK_SECTOR_BYTES == 0 && set_range(f, f->sector, bytes, ret);
}

static uint8_t parse_in(const struct framed *f, struct blk_request *ret)
{
    return f->out_bytes == 0 && set_transfer(f, f->in_bytes, ret) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t parse_out(const struct framed *f, struct blk_request *ret)
{
    return f->in_bytes == 0 && set_transfer(f, f->out_bytes, ret) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t parse_flush(const struct framed *f, struct blk_request *ret)
{
    (void)ret;
    return f->in_bytes == 0 && f->out_bytes == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t parse_get_id(const struct framed *f, struct blk_request *ret)
{
    (void)ret;
    return f->in_bytes == BLK_ID_BYTES && f->out_bytes == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

// One segment, with no flags but those allowed (section 5.2.6.2: UNSUPP for others).
static uint8_t parse_segment(const struct framed *f, uint32_t allowed_flags, struct blk_request *ret)
{
    if (f->in_bytes > 0 || f->out_bytes != BLK_SEGMENT_BYTES)
        return VIRTIO_BLK_S_IOERR;
    if (f->segment.flags & ~allowed_flags)
        return VIRTIO_BLK_S_UNSUPP;
    uint32_t n_sectors = f->segment.num_sectors;
    if (n_sectors == 0 || n_sectors > BLK_SEGMENT_SECTORS_MAX)
        return VIRTIO_BLK_S_IOERR;
    ret->unmap = f->segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    return set_range(f, f->segment.sector, (uint64_t)n_sectors * BLK_SECTOR_BYTES, ret) ? VIRTIO_BLK_S_OK
                                                                                        : VIRTIO_BLK_S_IOERR;
}

static uint8_t parse_discard(const struct framed *f, struct blk_request *ret)
{
    return parse_segment(f, 0, ret);
}

static uint8_t parse_write_zeroes(const struct framed *f, struct blk_request *ret)
{
    return parse_segment(f, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, ret);
}

// What is not here is not supported. A writing one fails on a read-only disk (section 5.2.6.2).
static const struct {
    uint32_t type;
    enum blk_verb verb;
    parse_verb *parse;
    uint64_t feature; // needs to be negotiated
    bool writes;
} verbs[] = {
    {VIRTIO_BLK_T_IN, BLK_IN, parse_in, 0, false},
    {VIRTIO_BLK_T_OUT, BLK_OUT, parse_out, 0, true},
    {VIRTIO_BLK_T_FLUSH, BLK_FLUSH, parse_flush, 1ull << VIRTIO_BLK_F_FLUSH, false},
    {VIRTIO_BLK_T_GET_ID, BLK_GET_ID, parse_get_id, 0, false},
    {VIRTIO_BLK_T_DISCARD, BLK_DISCARD, parse_discard, 1ull << VIRTIO_BLK_F_DISCARD, true},
    {VIRTIO_BLK_T_WRITE_ZEROES, BLK_WRITE_ZEROES, parse_write_zeroes, 1ull << VIRTIO_BLK_F_WRITE_ZEROES,
     true},
};

static uint8_t parse_framed(uint32_t type, const struct framed *f, struct blk_request *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (verbs[i].type != type)
            continue;
        if (verbs[i].writes && f->limits->read_only)
            return VIRTIO_BLK_S_IOERR;
        if ((f->limits->features & verbs[i].feature) != verbs[i].feature)
            return VIRTIO_BLK_S_UNSUPP;
        *ret = (struct blk_request){.verb = verbs[i].verb};
        return verbs[i].parse(f, ret);
    }
    return VIRTIO_BLK_S_UNSUPP;
}

enum blk_verdict blk_parse(const uint8_t untrusted_prefix[BLK_PREFIX_BYTES], uint64_t readable_bytes,
                           uint64_t writable_bytes, const struct blk_limits *limits, struct blk_request *ret,
                           uint8_t *ret_status, const char **ret_why)
{
    if (readable_bytes < BLK_HEADER_BYTES) {
        *ret_why = "a block request shorter than its header";
        return BLK_BREAK;
    }
    if (writable_bytes < BLK_STATUS_BYTES) {
        *ret_why = "a block request without a status byte";
        return BLK_BREAK;
    }
    struct virtio_blk_outhdr header;
    memcpy(&header, untrusted_prefix, sizeof header);
    struct framed f = {.limits = limits,
                       .sector = header.sector,
                       .out_bytes = readable_bytes - BLK_HEADER_BYTES,
                       .in_bytes = writable_bytes - BLK_STATUS_BYTES};
    memcpy(&f.segment, untrusted_prefix + BLK_HEADER_BYTES, sizeof f.segment);
    struct blk_request request = {0};
    uint8_t status = parse_framed(header.type, &f, &request);
    if (status != VIRTIO_BLK_S_OK) {
        *ret_status = status;
        return BLK_REFUSE;
    }
    *ret = request;
    return BLK_PERFORM;
}
