// Datagrams between envd and envpriv.
#include "proto/privctl.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct privctl_message m;
    struct wire_error error;
    struct wire_writer w;
    size_t min, max;
    if (!privctl_read(data, size, &m, &error)) {
        check_error(&error, size);
        return 0;
    }
    privctl_fds_allowed(m.type, &min, &max);
    EXPECT(min <= max && max <= PRIVCTL_FDS_MAX);
    if (m.type == PRIVCTL_SPAWN)
        EXPECT(name_valid(m.spawn.tenant, strlen(m.spawn.tenant)) &&
               name_valid(m.spawn.name, strlen(m.spawn.name)));
    encode_begin(&w, size);
    privctl_write(&w, &m);
    check_same(&w, data, size);
    return 0;
}
