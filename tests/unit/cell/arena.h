// Memory for the page allocator: a fresh, zeroed arena per test, as a cell's RAM is at its start.
#pragma once

#include <stdlib.h>
#include <sys/mman.h>

#include "mem/heap.h"
#include "mem/pages.h"

#define ARENA_PAGES ((size_t)256)

static void *arena;

// n pages are left for the tests, one more holds the bookkeeping.
static inline void arena_setup(size_t n)
{
    arena = mmap(NULL, (n + 1) * PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED)
        abort();
    pages_init((uintptr_t)arena, (uintptr_t)arena + (n + 1) * PAGES_SIZE);
}

static inline void arena_teardown(size_t n)
{
    munmap(arena, (n + 1) * PAGES_SIZE);
}
