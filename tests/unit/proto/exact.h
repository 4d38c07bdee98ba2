// A copy of exactly n bytes on the heap, so that a decoder that reads one byte too many is seen by ASan.
// Test-only.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint8_t *exact_copy(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, data, n);
    return copy;
}
