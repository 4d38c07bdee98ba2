// Whatever an archive claims to be, a tar, an OCI image, a saved one: it becomes a disk, or there is a
// reason.
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/ext4.h"
#include "image/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct source_limits limits = {.max_bytes = 1 << 20, .max_files = 1000};
    const struct ext4_options options = {0};
    struct tree t;
    struct spool s;
    struct err err = {""};
    setenv("TMPDIR", "/dev/shm", 0);
    int rc = source_read_memory(data, size, &limits, &t, &s, &err);
    // One in sixteen, by its length: writing a disk takes much longer than reading.
    if (rc == 0 && size % 16 == 0) {
        int fd = memfd_create("disk", MFD_CLOEXEC);
        rc = ext4_write(&t, &s, &options, fd, &err);
        close(fd);
    }
    if (rc < 0 && !err.text[0])
        abort();
    tree_close(&t);
    spool_close(&s);
    return 0;
}
