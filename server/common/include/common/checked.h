// Checked arithmetic for sizes and addresses that come from outside. True on overflow, as the builtins say it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool add_overflows_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    return __builtin_add_overflow(a, b, ret);
}

static inline bool mul_overflows_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    return __builtin_mul_overflow(a, b, ret);
}

// True when [offset, offset + len) lies inside [0, size).
static inline bool range_inside(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
