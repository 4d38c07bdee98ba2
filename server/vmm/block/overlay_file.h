// Loading what an overlay file says of itself. Used by overlay.c.
#pragma once

#include "block/overlay.h"
#include "block/overlay_map.h"

// Header and bitmap of an overlay, checked against its image. 0 and *ret_map is the caller's to end, or as
// block_overlay_open().
int overlay_file_load(const struct block_overlay_options *options, struct overlay_header *ret_header,
                      struct overlay_map *ret_map, struct err *err);
