// Any bytes as a cell's archive: every entry lies inside, and reading ends.
#include <stdlib.h>
#include <string.h>

#include "fs/cpio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cpio_reader r;
    struct cpio_entry e;
    size_t n = 0;
    cpio_reader_init(&r, data, size);
    while (cpio_next(&r, &e) == 1) {
        const uint8_t *name = (const uint8_t *)e.name;
        if (name < data || name + e.name_len >= data + size || memchr(name, 0, e.name_len) ||
            name[e.name_len])
            abort();
        if (e.size_bytes && (e.data < data || e.size_bytes > (size_t)(data + size - e.data)))
            abort();
        if (++n > size)
            abort();
    }
    return 0;
}
