// See pages.h. Three bitmaps: `taken`, `mapped` for the taken pages that are the program's, and `stale` for
// pages that were used before and must be zeroed when handed out again; a page that was never touched costs
// the host nothing, so it is not touched to be cleared either.
#include "mem/pages.h"

#include "base/string.h"

#define NONE SIZE_MAX

static struct {
    uintptr_t base;
    size_t n, n_free;
    size_t top; // no page at or above it is free
    uint64_t *taken, *mapped, *stale;
} pages;

static bool bit_get(const uint64_t *map, size_t i)
{
    return map[i / 64] >> (i % 64) & 1;
}

// Sets or clears bits [from, to).
static void bits_put(uint64_t *map, size_t from, size_t to, bool value)
{
    while (from < to) {
        size_t word = from / 64, low = from % 64;
        size_t high = to - word * 64 < 64 ? to - word * 64 : 64;
        uint64_t mask = (high == 64 ? ~0ull : (1ull << high) - 1) & ~((1ull << low) - 1);
        map[word] = value ? map[word] | mask : map[word] & ~mask;
        from = word * 64 + high;
    }
}

// The highest page in [from, to) whose bit is `value`, or NONE.
static size_t find_last(const uint64_t *map, size_t from, size_t to, bool value)
{
    while (to > from) {
        size_t word = (to - 1) / 64, low = word * 64;
        uint64_t bits = value ? map[word] : ~map[word];
        if (to - low < 64)
            bits &= (1ull << (to - low)) - 1;
        if (bits) {
            size_t i = low + 63 - (size_t)__builtin_clzll(bits);
            return i >= from ? i : NONE;
        }
        to = low;
    }
    return NONE;
}

// First page of the highest free run of n pages, or NONE.
static size_t find_run(size_t n)
{
    size_t end = pages.top;
    while (end >= n) {
        size_t blocked = find_last(pages.taken, end - n, end, true);
        if (blocked == NONE)
            return end - n;
        size_t free = find_last(pages.taken, 0, blocked, false);
        if (free == NONE)
            return NONE;
        end = free + 1;
    }
    return NONE;
}

static void take(size_t first, size_t n)
{
    bits_put(pages.taken, first, first + n, true);
    pages.n_free -= n;
    if (first + n == pages.top)
        pages.top = first;
}

static void zero_stale(size_t first, size_t n)
{
    size_t page = first + n;
    while ((page = find_last(pages.stale, first, page, true)) != NONE)
        memset((void *)(pages.base + page * PAGES_SIZE), 0, PAGES_SIZE);
}

void pages_init(uintptr_t start, uintptr_t end)
{
    size_t n = (end - start) / PAGES_SIZE;
    size_t words = (n + 63) / 64;
    size_t map_bytes = (3 * words * sizeof(uint64_t) + PAGES_SIZE - 1) & ~(size_t)(PAGES_SIZE - 1);
    memset(&pages, 0, sizeof pages);
    if (n <= map_bytes / PAGES_SIZE)
        return;
    n -= map_bytes / PAGES_SIZE;
    pages.base = start;
    pages.n = pages.n_free = pages.top = n;
    pages.taken = (uint64_t *)(start + n * PAGES_SIZE);
    pages.mapped = pages.taken + words;
    pages.stale = pages.mapped + words;
}

// First page of a run that was taken, or NONE.
static size_t take_run(size_t n)
{
    if (n == 0 || n > pages.n_free)
        return NONE;
    size_t first = find_run(n);
    if (first != NONE)
        take(first, n);
    return first;
}

static uintptr_t address_of(size_t page)
{
    return pages.base + page * PAGES_SIZE;
}

uintptr_t pages_alloc_raw(size_t n)
{
    size_t first = take_run(n);
    return first == NONE ? 0 : address_of(first);
}

uintptr_t pages_alloc(size_t n)
{
    size_t first = take_run(n);
    if (first == NONE)
        return 0;
    zero_stale(first, n);
    return address_of(first);
}

uintptr_t pages_map(size_t n)
{
    size_t first = take_run(n);
    if (first == NONE)
        return 0;
    bits_put(pages.mapped, first, first + n, true);
    zero_stale(first, n);
    return address_of(first);
}

// The pages of [address, address + n pages) that are ours, as [*ret_first, *ret_end).
static void clip(uintptr_t address, size_t n, size_t *ret_first, size_t *ret_end)
{
    uintptr_t end = n > (UINTPTR_MAX - address) / PAGES_SIZE ? UINTPTR_MAX : address + n * PAGES_SIZE;
    uintptr_t limit = pages_end();
    *ret_first = address <= pages.base ? 0 : address >= limit ? pages.n : (address - pages.base) / PAGES_SIZE;
    *ret_end = end <= pages.base ? 0 : end >= limit ? pages.n : (end - pages.base) / PAGES_SIZE;
}

static bool all_ours(uintptr_t address, size_t n, size_t *ret_first)
{
    size_t end;
    clip(address, n, ret_first, &end);
    return address >= pages.base && address % PAGES_SIZE == 0 && end > *ret_first && end - *ret_first == n;
}

bool pages_map_at(uintptr_t address, size_t n)
{
    size_t first;
    if (!all_ours(address, n, &first) || find_last(pages.taken, first, first + n, true) != NONE)
        return false;
    take(first, n);
    bits_put(pages.mapped, first, first + n, true);
    zero_stale(first, n);
    return true;
}

static void give(size_t page)
{
    bits_put(pages.taken, page, page + 1, false);
    bits_put(pages.mapped, page, page + 1, false);
    bits_put(pages.stale, page, page + 1, true);
    pages.n_free++;
    if (page >= pages.top)
        pages.top = page + 1;
}

void pages_free(uintptr_t address, size_t n)
{
    size_t first, end;
    clip(address, n, &first, &end);
    for (size_t i = first; i < end; i++)
        give(i);
}

void pages_unmap(uintptr_t address, size_t n)
{
    size_t first, end;
    clip(address, n, &first, &end);
    for (size_t i = first; i < end; i++)
        if (bit_get(pages.mapped, i))
            give(i);
}

bool pages_all_mapped(uintptr_t address, size_t n)
{
    size_t first;
    return all_ours(address, n, &first) && find_last(pages.mapped, first, first + n, false) == NONE;
}

size_t pages_free_count(void)
{
    return pages.n_free;
}

size_t pages_total(void)
{
    return pages.n;
}

uintptr_t pages_start(void)
{
    return pages.base;
}

uintptr_t pages_end(void)
{
    return pages.base + pages.n * PAGES_SIZE;
}
