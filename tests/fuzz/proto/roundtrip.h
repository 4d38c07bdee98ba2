// Every encoding in proto/ is canonical: what decodes, encodes to the same bytes. For the fuzz targets.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

// A writer with room for size bytes and no more; check_same() compares and frees.
static inline void encode_begin(struct wire_writer *w, size_t size)
{
    void *out = malloc(size ? size : 1);
    EXPECT(out);
    wire_writer_init(w, out, size);
}

static inline void check_same(struct wire_writer *w, const uint8_t *data, size_t size)
{
    EXPECT(!w->overflow && w->pos == size);
    EXPECT(size == 0 || memcmp(w->data, data, size) == 0);
    free(w->data);
}

// What a failed decoder must leave behind: a reason, at a place inside the input.
static inline void check_error(const struct wire_error *error, size_t size)
{
    EXPECT(error->what && error->what[0] && error->offset <= size);
}
