// Reading boot files, which are a tenant's: whatever they do meanwhile is an error and never a SIGBUS. Called
// by boot/cell and boot/linux.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "memory.h"

// what: "kernel", "archive", …, for the sentences. All: 0 or -errno.
int boot_file_length(int fd, const char *what, uint64_t *ret, struct err *err);
// Reads exactly len bytes.
int boot_file_read(int fd, void *out, size_t len, uint64_t offset, const char *what, struct err *err);
// Copies [offset, offset + len) of the file to gpa.
int boot_file_copy(const struct guest_memory *mem, int fd, uint64_t gpa, uint64_t offset, uint64_t len,
                   const char *what, struct err *err);
