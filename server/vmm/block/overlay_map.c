// Owns the overlay's bitmap in memory. Called by overlay.c, under the device's lock.
#include "block/overlay_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/overlay_format.h"

#define RUN_PAGES_MAX 256u
#define PAGE_BLOCKS   (8ull * OVERLAY_PAGE_BYTES)

enum { PAGE_CLEAN = 0, PAGE_DIRTY = 1, PAGE_STAGED = 2 }; // bits: a staged page can become dirty again

// calloc: pages that are never touched cost nothing.
int overlay_map_init(struct overlay_map *map, uint64_t n_blocks, uint64_t bitmap_bytes)
{
    *map = (struct overlay_map){.n_blocks = n_blocks, .n_pages = bitmap_bytes / OVERLAY_PAGE_BYTES};
    map->bits = calloc(map->n_pages, OVERLAY_PAGE_BYTES);
    map->staged = calloc(map->n_pages, OVERLAY_PAGE_BYTES);
    map->pages = calloc(map->n_pages, 1);
    if (map->bits && map->staged && map->pages)
        return 0;
    overlay_map_done(map);
    return -ENOMEM;
}

void overlay_map_done(struct overlay_map *map)
{
    free(map->bits);
    free(map->staged);
    free(map->pages);
    *map = (struct overlay_map){0};
}

void overlay_map_trim(struct overlay_map *map)
{
    uint64_t at = map->n_blocks / 8;
    if (map->n_blocks % 8 > 0)
        map->bits[at++] &= (uint8_t)((1u << map->n_blocks % 8) - 1);
    memset(map->bits + at, 0, map->n_pages * OVERLAY_PAGE_BYTES - at);
}

bool overlay_map_has(const struct overlay_map *map, uint64_t block)
{
    return map->bits[block / 8] >> block % 8 & 1;
}

void overlay_map_add(struct overlay_map *map, uint64_t first, uint64_t end)
{
    for (uint64_t block = first; block < end; block++) {
        if (overlay_map_has(map, block))
            continue;
        map->bits[block / 8] |= (uint8_t)(1u << block % 8);
        uint8_t *page = &map->pages[block / PAGE_BLOCKS];
        map->n_dirty += !(*page & PAGE_DIRTY);
        *page |= PAGE_DIRTY;
    }
}

void overlay_map_stage(struct overlay_map *map)
{
    map->next_staged = 0;
    for (uint64_t i = 0; i < map->n_pages && map->n_dirty > 0; i++) {
        if (!(map->pages[i] & PAGE_DIRTY))
            continue;
        memcpy(map->staged + i * OVERLAY_PAGE_BYTES, map->bits + i * OVERLAY_PAGE_BYTES, OVERLAY_PAGE_BYTES);
        map->pages[i] = PAGE_STAGED;
        map->n_dirty--;
    }
}

bool overlay_map_next_run(struct overlay_map *map, uint64_t *ret_page, uint64_t *ret_n_pages)
{
    uint64_t at = map->next_staged;
    while (at < map->n_pages && !(map->pages[at] & PAGE_STAGED))
        at++;
    uint64_t end = at;
    while (end < map->n_pages && end - at < RUN_PAGES_MAX && (map->pages[end] & PAGE_STAGED))
        end++;
    map->next_staged = end;
    *ret_page = at;
    *ret_n_pages = end - at;
    return end > at;
}

void overlay_map_commit(struct overlay_map *map)
{
    for (uint64_t i = 0; i < map->n_pages; i++)
        map->pages[i] &= (uint8_t)~PAGE_STAGED;
}

void overlay_map_unstage(struct overlay_map *map)
{
    for (uint64_t i = 0; i < map->n_pages; i++) {
        if (!(map->pages[i] & PAGE_STAGED))
            continue;
        map->n_dirty += !(map->pages[i] & PAGE_DIRTY);
        map->pages[i] = PAGE_DIRTY;
    }
}
