// Datagrams on envvm's control socket.
#include "proto/vmctl.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmctl_message m;
    struct wire_error error;
    struct wire_writer w;
    enum vmctl_type type = vmctl_type_of(data, size);
    if (!vmctl_read(data, size, &m, &error)) {
        check_error(&error, size);
        return 0;
    }
    EXPECT(m.type == type && type != VMCTL_CONFIG);
    encode_begin(&w, size);
    vmctl_write(&w, &m);
    check_same(&w, data, size);
    return 0;
}
