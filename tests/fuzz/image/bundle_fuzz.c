// An image's file: any bytes give an image with all its parts, or a reason.
#include <stdlib.h>

#include "image/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct linux_image image;
    struct err err = {""};
    setenv("TMPDIR", "/dev/shm", 0);
    if (bundle_read_memory(data, size, 1 << 20, &image, &err) < 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    for (int i = 0; i < MANIFEST_PARTS; i++)
        if ((image.fds[i] >= 0) != (image.manifest.parts[i][0] != '\0'))
            abort();
    linux_image_done(&image);
    return 0;
}
