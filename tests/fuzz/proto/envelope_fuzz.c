// Message envelopes: any bytes in; what decodes is inside the documented limits and encodes to the same
// bytes.
#include "proto/envelope.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_reader r;
    struct envelope e;
    struct wire_writer w;
    wire_reader_init(&r, data, size);
    if (!envelope_read(&r, &e)) {
        check_error(&r.error, size);
        return 0;
    }
    EXPECT(e.kind < MESSAGE_KIND_COUNT && e.priority <= 9 && e.n_headers <= ENVELOPE_HEADERS_MAX);
    EXPECT(e.body.len <= ENVELOPE_BODY_MAX && r.pos - e.body.len <= ENVELOPE_OVERHEAD_MAX);
    EXPECT(envelope_size(&e) == r.pos);
    encode_begin(&w, r.pos);
    envelope_write(&w, &e);
    check_same(&w, data, r.pos);
    return 0;
}
