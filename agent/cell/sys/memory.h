// brk's start: after the program's image.
#pragma once

#include <stdint.h>

void memory_init(uint64_t program_end, uint64_t heap_start);
