// See heap.h. Small objects come from pages cut into slots of one size class; larger ones are runs of pages.
// Every page or run starts with a header, found by rounding the pointer down: a large block's pointer is 32
// bytes into its run.
//
//   small page:  | header | slot | slot | …         large run:  | header | bytes …              |
#include "mem/heap.h"

#include <stdbool.h>

#include "base/string.h"
#include "mem/pages.h"

#define CLASS_MIN_SHIFT 5 // 32 bytes
#define CLASS_COUNT     6 // 32, 64, 128, 256, 512, 1024
#define CLASS_LARGE     0xff
#define HEADER_BYTES    32

struct header {
    uint32_t n_pages; // of a large run; 1 for a small page
    uint8_t class;
    uint8_t zero[3];
    uint16_t n_used, n_fresh; // slots handed out; slots never handed out
    uint32_t zero2;
    void *free; // freed slots, linked through their first word
    struct header *next;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "slots stay aligned");

static struct {
    size_t max_pages, n_pages;
    struct header *partial[CLASS_COUNT]; // pages with a free slot
} heap;

static size_t class_bytes(unsigned class)
{
    return (size_t)1 << (CLASS_MIN_SHIFT + class);
}

static struct header *header_of(const void *p)
{
    return (struct header *)((uintptr_t)p & ~(uintptr_t)(PAGES_SIZE - 1));
}

static struct header *take_pages(size_t n)
{
    if (heap.max_pages && (n > heap.max_pages || heap.n_pages > heap.max_pages - n))
        return NULL;
    struct header *h = (struct header *)pages_alloc_raw(n);
    if (!h)
        return NULL;
    heap.n_pages += n;
    memset(h, 0, sizeof *h);
    h->n_pages = (uint32_t)n;
    return h;
}

static void give_pages(struct header *h)
{
    heap.n_pages -= h->n_pages;
    pages_free((uintptr_t)h, h->n_pages);
}

static void *alloc_large(size_t n)
{
    if (n > (size_t)UINT32_MAX * PAGES_SIZE / 2)
        return NULL;
    struct header *h = take_pages((n + HEADER_BYTES + PAGES_SIZE - 1) / PAGES_SIZE);
    if (!h)
        return NULL;
    h->class = CLASS_LARGE;
    return (uint8_t *)h + HEADER_BYTES;
}

static void *alloc_small(unsigned class)
{
    struct header *h = heap.partial[class];
    if (!h) {
        h = take_pages(1);
        if (!h)
            return NULL;
        h->class = (uint8_t) class;
        h->n_fresh = (uint16_t)((PAGES_SIZE - HEADER_BYTES) / class_bytes(class));
        heap.partial[class] = h;
    }
    void *slot = h->free;
    if (slot)
        memcpy(&h->free, slot, sizeof h->free);
    else
        slot = (uint8_t *)h + PAGES_SIZE - class_bytes(class) * h->n_fresh--;
    h->n_used++;
    if (!h->free && !h->n_fresh)
        heap.partial[class] = h->next;
    return slot;
}

static void free_small(struct header *h, void *p)
{
    bool was_full = !h->free && !h->n_fresh;
    memcpy(p, &h->free, sizeof h->free);
    h->free = p;
    h->n_used--;
    if (was_full) {
        h->next = heap.partial[h->class];
        heap.partial[h->class] = h;
    }
    // The last page of a class stays, or an object made and freed in a loop would make and free a page too.
    if (h->n_used || (heap.partial[h->class] == h && !h->next))
        return;
    struct header **link = &heap.partial[h->class];
    while (*link != h)
        link = &(*link)->next;
    *link = h->next;
    give_pages(h);
}

static size_t capacity_of(const struct header *h)
{
    return h->class == CLASS_LARGE ? (size_t)h->n_pages * PAGES_SIZE - HEADER_BYTES : class_bytes(h->class);
}

void heap_init(size_t max_pages)
{
    heap.max_pages = max_pages;
}

void *heap_alloc(size_t n)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        if (n <= class_bytes(class))
            return alloc_small(class);
    return alloc_large(n);
}

void *heap_alloc_zeroed(size_t n)
{
    void *p = heap_alloc(n);
    if (p)
        memset(p, 0, n);
    return p;
}

void *heap_resize(void *p, size_t n)
{
    if (!p)
        return heap_alloc(n);
    size_t old = capacity_of(header_of(p));
    if (n <= old && (n > old / 2 || old <= 64))
        return p;
    void *fresh = heap_alloc(n);
    if (!fresh)
        return n <= old ? p : NULL;
    memcpy(fresh, p, n < old ? n : old);
    heap_free(p);
    return fresh;
}

void heap_free(void *p)
{
    if (!p)
        return;
    struct header *h = header_of(p);
    if (h->class == CLASS_LARGE)
        give_pages(h);
    else
        free_small(h, p);
}

size_t heap_pages_used(void)
{
    return heap.n_pages;
}
