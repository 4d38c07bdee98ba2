// The page allocator: guest RAM that is neither kernel, program image nor archive. Virtual is physical here,
// so a run of pages is a mapping. mmap, brk, /tmp and the kernel heap take from it. Knows no file and no
// system call.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_SIZE ((size_t)4096)

// Takes over [start, end), page aligned, all of it zero bytes. Keeps three bits per page at its end. Once.
void pages_init(uintptr_t start, uintptr_t end);

// For the kernel: n contiguous pages, highest address first; 0 when there is no such run. raw: undefined
// contents, for callers that overwrite all of it.
uintptr_t pages_alloc(size_t n);
uintptr_t pages_alloc_raw(size_t n);
void pages_free(uintptr_t address, size_t n);

// For the program's mappings: zeroed pages, anywhere or exactly there (false when one is taken or is none of
// ours).
uintptr_t pages_map(size_t n);
bool pages_map_at(uintptr_t address, size_t n);
// Gives the program's pages of the range back. Free ones, the kernel's and what is none of ours stay as they
// are: to unmap a hole is no error, and no program can unmap the kernel's memory.
void pages_unmap(uintptr_t address, size_t n);
// True when every page of the range is mapped by the program.
bool pages_all_mapped(uintptr_t address, size_t n);
size_t pages_free_count(void);
size_t pages_total(void);
// [start, end) of what pages_init() got, less the bookkeeping.
uintptr_t pages_start(void);
uintptr_t pages_end(void);
