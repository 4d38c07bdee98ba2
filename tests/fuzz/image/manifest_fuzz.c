// The manifest of a Linux image: any bytes give an answer, and what is taken is written back byte for byte.
#include <stdlib.h>
#include <string.h>

#include "manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m;
    struct err err = {""};
    int rc = manifest_parse(data, size, &m, &err);
    if (rc < 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    char *text = manifest_text(&m, &err);
    if (!text || strlen(text) != size || memcmp(text, data, size) != 0)
        abort();
    free(text);
    manifest_done(&m);
    return 0;
}
