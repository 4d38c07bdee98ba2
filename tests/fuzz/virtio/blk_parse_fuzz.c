// Fuzzes the pure parsers of virtio-blk: the first byte says which. 0: a request (features, sizes, prefix),
// of which what is performed must be on the disk. Else: an overlay's header (the file is as long as it
// wants), which must come out of encoding again as it went in.
#include <stdlib.h>
#include <string.h>

#include "block/overlay_format.h"
#include "virtio/blk_request.h"

static void request(const uint8_t *data, size_t size)
{
    struct {
        uint64_t disk_bytes, features;
        uint32_t readable_bytes, writable_bytes;
        uint8_t read_only, prefix[BLK_PREFIX_BYTES];
    } in = {0};
    memcpy(&in, data, size < sizeof in ? size : sizeof in);
    struct blk_limits limits = {
        .disk_bytes = in.disk_bytes, .features = in.features, .read_only = in.read_only & 1};
    struct blk_request got = {0};
    uint8_t status = 0;
    const char *why = NULL;
    enum blk_verdict verdict =
        blk_parse(in.prefix, in.readable_bytes, in.writable_bytes, &limits, &got, &status, &why);
    if (verdict == BLK_BREAK && !why)
        abort();
    if (verdict == BLK_REFUSE && (status == 0 || status > 2))
        abort();
    if (verdict != BLK_PERFORM)
        return;
    if (got.offset > in.disk_bytes || got.bytes > in.disk_bytes - got.offset)
        abort();
    if (limits.read_only && (got.verb == BLK_OUT || got.verb == BLK_DISCARD || got.verb == BLK_WRITE_ZEROES))
        abort();
}

static void header(const uint8_t *data, size_t size)
{
    uint8_t bytes[OVERLAY_HEADER_BYTES] = {0}, again[OVERLAY_HEADER_BYTES];
    struct overlay_header got;
    struct err err;
    memcpy(bytes, data, size < sizeof bytes ? size : sizeof bytes);
    if (overlay_header_parse(bytes, sizeof bytes, UINT64_MAX, &got, &err) < 0)
        return;
    overlay_header_encode(&got, again);
    if (memcmp(bytes, again, sizeof bytes) != 0)
        abort();
    if (got.bitmap_bytes * 8 < got.n_blocks || got.data_offset < OVERLAY_HEADER_BYTES + got.bitmap_bytes ||
        got.n_blocks * got.block_bytes < got.disk_bytes || got.base_bytes > got.disk_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 0)
        request(data + 1, size - 1);
    else
        header(data + 1, size - 1);
    return 0;
}
