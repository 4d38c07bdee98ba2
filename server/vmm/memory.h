// Guest memory and its only translation, (gpa, len) to host pointer. Everything in envvm that touches guest
// memory goes through guest_memory_at(); a guest that names memory it does not have gets NULL, never a wild
// pointer.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

// One region from guest-physical 0. A Linux guest's memory above 4 GiB will be a second one.
struct guest_memory {
    uint8_t *hva;
    uint64_t size_bytes;
};

// Maps size_bytes (page aligned) of zeroed memory that costs nothing until touched. 0 or -errno.
int guest_memory_init(struct guest_memory *mem, uint64_t size_bytes, struct err *err);
void guest_memory_done(struct guest_memory *mem);
// The host address of [gpa, gpa + len), or NULL when any byte of it is not guest memory or the sum overflows.
// len 0 is NULL too. The bytes can change under the reader at any time: copy once, then validate.
void *guest_memory_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len);
