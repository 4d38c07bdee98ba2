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
    char note[IMAGE_NOTE_CAP];
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0 || io_write_all(fd, data, size) < 0)
        return 0;
    enum image_type type = image_type_probe(fd, note);
    if ((type == IMAGE_STATIC_ELF) != (note[0] == '\0'))
        abort();
    return 0;
}
