// Page tables, GDT, IDT, TSS and CPL0 stubs of a cell, written into guest memory before the start. Called by
// boot/cell; pure apart from those writes.
#pragma once

#include <stdbool.h>

#include "memory.h"
#include "proto/cell.h"

// Writes all tables. mem covers at least CELL_PROGRAM_MIN. Pages below BOOT_SUPER_END are for CPL0 only, page
// 0 is for nobody, everything else that is memory, and the MMIO pages, is for CPL3. What is neither is not
// mapped, so that a program that goes astray gets a page fault with an address.
void boot_tables_write(const struct guest_memory *mem, const struct cell_kernel_header *kernel);
// "page fault", "divide error", …; "unknown vector" above 31.
const char *boot_vector_name(unsigned vector);
// True when the CPU pushes an error code for this vector.
bool boot_vector_has_error(unsigned vector);
