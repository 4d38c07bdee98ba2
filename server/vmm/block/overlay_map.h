// Which blocks of a disk are in its overlay: the bitmap in memory, which of its pages the file does not have
// yet, and the pages that a flush is writing. Used by overlay.c; does no I/O.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct overlay_map {
    uint64_t n_blocks, n_pages;
    uint8_t *bits;   // as the guest sees it: n_pages * OVERLAY_PAGE_BYTES
    uint8_t *staged; // the pages being written, as they were when the flush began
    uint8_t *pages;  // PAGE_* per page
    uint64_t n_dirty;
    uint64_t next_staged; // where to look for the next page to write
};

// 0 or -ENOMEM. bits are zero; who fills them may then call overlay_map_trim().
int overlay_map_init(struct overlay_map *map, uint64_t n_blocks, uint64_t bitmap_bytes);
void overlay_map_done(struct overlay_map *map);
// Clears bits behind the last block.
void overlay_map_trim(struct overlay_map *map);
bool overlay_map_has(const struct overlay_map *map, uint64_t block);
// Blocks [first, end) are in the overlay now.
void overlay_map_add(struct overlay_map *map, uint64_t first, uint64_t end);
// A flush: stages the dirty pages, hands them out in runs (false: no more), then commits, or makes them dirty
// again.
void overlay_map_stage(struct overlay_map *map);
bool overlay_map_next_run(struct overlay_map *map, uint64_t *ret_page, uint64_t *ret_n_pages);
void overlay_map_commit(struct overlay_map *map);
void overlay_map_unstage(struct overlay_map *map);
