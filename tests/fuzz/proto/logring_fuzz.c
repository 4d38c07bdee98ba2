// The header of a log file, which envd reads although envvm wrote it; then where pieces of such a log lie.
// The first 32 bytes are the header's fields, the next 16 which piece is wanted.
#include "proto/logring.h"
#include "roundtrip.h"

static void check_spans(const struct logring *ring, uint64_t from, size_t wanted)
{
    struct logring_span spans[2];
    size_t n = logring_spans(ring, from, wanted, spans), total = 0;
    EXPECT(n <= 2);
    for (size_t i = 0; i < n; i++) {
        EXPECT(spans[i].len > 0 && spans[i].file_offset >= LOGRING_HEADER);
        EXPECT(spans[i].file_offset + spans[i].len <= LOGRING_HEADER + ring->capacity);
        total += spans[i].len;
    }
    EXPECT(total == (wanted <= ring->capacity ? wanted : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t raw[LOGRING_HEADER];
    uint64_t piece[2] = {0};
    uint8_t written[32];
    struct logring ring;
    memset(raw, 0, sizeof raw);
    memcpy(raw, data, size < 32 ? size : 32);
    if (size > 48) // what lies behind the fields must be zero
        memcpy(raw + 32, data + 48, size - 48 < sizeof raw - 32 ? size - 48 : sizeof raw - 32);
    if (size >= 48)
        memcpy(piece, data + 32, 16);
    if (logring_header_read(raw, &ring))
        return 0;
    EXPECT(ring.capacity >= LOGRING_CAPACITY_MIN && ring.capacity <= LOGRING_CAPACITY_MAX);
    EXPECT(logring_oldest(&ring) <= ring.total && ring.total - logring_oldest(&ring) <= ring.capacity);
    logring_header_write(&ring, written);
    EXPECT(memcmp(written, raw, sizeof written) == 0);
    check_spans(&ring, piece[0], (size_t)piece[1]);
    check_spans(&ring, piece[0], (size_t)(piece[1] % (ring.capacity + 1)));
    return 0;
}
