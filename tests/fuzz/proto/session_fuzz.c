// Frames of the session protocol: a header, and a payload that is as long as it says or not.
#include "proto/session.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_header h;
    struct session_frame f;
    struct wire_error error;
    struct wire_writer w;
    if (size < SESSION_HEADER_LEN)
        return 0;
    const char *what = session_header_read(data, &h);
    if (what) {
        EXPECT(what[0]);
        return 0;
    }
    EXPECT(h.len_bytes <= SESSION_PAYLOAD_MAX);
    // The decoder is total for any length, also for one that the header check would not have let through.
    h.len_bytes = (uint32_t)(size - SESSION_HEADER_LEN);
    if (!session_frame_read(&h, data + SESSION_HEADER_LEN, &f, &error)) {
        check_error(&error, h.len_bytes);
        return 0;
    }
    EXPECT(f.type == h.type && session_frame_size(&f) == size);
    encode_begin(&w, size);
    session_frame_write(&w, &f);
    EXPECT(!w.overflow);
    memcpy(w.data, data, 4); // the length field: replaced above
    check_same(&w, data, size);
    return 0;
}
