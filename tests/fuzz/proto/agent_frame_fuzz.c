// Frames of the agent protocol: a header, and a payload that is as long as it says or not.
#include "proto/agent.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct agent_header h;
    struct agent_frame f;
    struct wire_error error;
    struct wire_writer w;
    if (size < AGENT_HEADER_LEN)
        return 0;
    const char *what = agent_header_read(data, &h);
    if (what) {
        EXPECT(what[0]);
        return 0;
    }
    EXPECT(h.len_bytes <= AGENT_FRAME_MAX);
    // The decoder is total for any length, also for one that the header check would not have let through.
    h.len_bytes = (uint32_t)(size - AGENT_HEADER_LEN);
    if (!agent_frame_read(&h, data + AGENT_HEADER_LEN, &f, &error)) {
        check_error(&error, h.len_bytes);
        return 0;
    }
    EXPECT(f.type == h.type && f.tag == h.tag && agent_frame_size(&f) == size);
    encode_begin(&w, size);
    agent_frame_write(&w, &f);
    EXPECT(!w.overflow);
    memcpy(w.data, data, 4); // the length field: replaced above
    check_same(&w, data, size);
    return 0;
}
