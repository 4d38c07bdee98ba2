// Guest memory and its only translation, (gpa, len) to host pointer. Everything in envvm that touches guest
// memory goes through guest_memory_at(); a guest that names memory it does not have gets NULL, never a wild
// pointer.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

// Between the regions lies the hole for devices.
#define GUEST_MEMORY_LOW_MAX  0xc0000000ull
#define GUEST_MEMORY_HIGH_GPA 0x100000000ull

struct guest_memory {
    uint8_t *hva; // of guest-physical 0
    uint64_t size_bytes;
    uint8_t *high_hva; // of GUEST_MEMORY_HIGH_GPA
    uint64_t high_bytes;
};

// How memory is to be had from the host.
enum guest_memory_pages {
    GUEST_MEMORY_SMALL_PAGES, // 4 KiB: little is touched, and all that is costs
    GUEST_MEMORY_HUGE_PAGES,  // 2 MiB where the host has them: much is touched, and soon
};

// Maps size_bytes (page aligned) of zeroed memory that costs nothing until touched; what exceeds
// GUEST_MEMORY_LOW_MAX becomes the high region. 0 or -errno.
int guest_memory_init(struct guest_memory *mem, uint64_t size_bytes, enum guest_memory_pages pages,
                      struct err *err);
void guest_memory_done(struct guest_memory *mem);
// The host address of [gpa, gpa + len), or NULL when any byte of it is not guest memory, it is not inside one
// region, or the sum overflows. len 0 is NULL too. The bytes can change under the reader at any time: copy
// once, then validate.
void *guest_memory_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len);
