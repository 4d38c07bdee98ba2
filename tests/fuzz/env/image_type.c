// What an uploaded file is: any bytes give an answer, with a note unless it is a program.
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "env/image_type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct image_kind kind;
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0 || io_write_all(fd, data, size) < 0)
        return 0;
    image_type_probe(fd, &kind);
    if ((kind.type == IMAGE_STATIC_ELF) != (kind.note[0] == '\0') ||
        (kind.type == IMAGE_LINUX) != (kind.manifest.labels != NULL))
        abort();
    manifest_done(&kind.manifest);
    return 0;
}
