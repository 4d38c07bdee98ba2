// The program's pointers. Kernel and program share one address space, so a pointer needs no translation; what
// is checked is that it names the program's memory and not the kernel, its tables or nothing at all: -EFAULT
// instead of a crash.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// True for n bytes of program memory (or arguments); n 0 is always fine.
bool user_ok(uint64_t address, uint64_t n);
// 0 or -EFAULT.
int user_get(void *to, uint64_t from, size_t n);
int user_put(uint64_t to, const void *from, size_t n);
// A NUL-terminated path: its length, -EFAULT, -ENAMETOOLONG.
int64_t user_path(uint64_t address, const char **ret);
