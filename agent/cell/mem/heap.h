// The kernel's own memory: small objects, and buffers for messages and files. Bounded, so that a peer's
// messages cannot take the program's memory. Every allocation may fail.
#pragma once

#include <stddef.h>
#include <stdint.h>

// At most this many pages at a time, 0 = no limit. Before the first allocation.
void heap_init(size_t max_pages);
// 16-byte aligned; NULL when the limit or the memory is exhausted. n 0 counts as 1.
void *heap_alloc(size_t n);
void *heap_alloc_zeroed(size_t n);
// As realloc; NULL leaves p as it was.
void *heap_resize(void *p, size_t n);
void heap_free(void *p); // NULL is fine
size_t heap_pages_used(void);
