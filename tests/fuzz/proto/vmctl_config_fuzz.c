// The configuration of a VM.
#include "proto/vmctl.h"
#include "roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vmctl_config c;
    struct wire_error error;
    struct wire_writer w;
    if (!vmctl_config_read(data, size, &c, &error)) {
        check_error(&error, size);
        return 0;
    }
    size_t args_bytes = 0;
    for (size_t i = 0; i < c.n_args; i++)
        args_bytes += c.args[i].len + 1;
    for (size_t i = 0; i < c.n_env; i++)
        args_bytes += c.env[i].len + 1;
    EXPECT(c.n_args >= (c.kind == VMCTL_KIND_CELL) && args_bytes <= VMCTL_ARGS_BYTES_MAX);
    EXPECT(c.n_vcpus >= 1 && c.n_vcpus <= (c.kind == VMCTL_KIND_CELL ? 1 : VMCTL_VCPUS_MAX));
    EXPECT(c.n_disks <= VMCTL_DISKS_MAX && c.cmdline.len <= VMCTL_CMDLINE_MAX);
    encode_begin(&w, size);
    vmctl_config_write(&w, &c);
    check_same(&w, data, size);
    return 0;
}
