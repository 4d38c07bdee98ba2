// Sizes as people write them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// "64MiB", "64M", "1GiB", "1G" or a bare number of MiB. False when it is none of these or over 16 TiB.
bool size_parse_mib(const char *text, uint32_t *ret_mib);
