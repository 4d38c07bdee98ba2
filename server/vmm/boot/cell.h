// Fills a cell's memory before the start: kernel, program, archive, arguments, boot page, tables
// (proto/cell.h). Called once by machine; knows nothing of KVM. Files come as descriptors and are hostile.
#pragma once

#include "memory.h"
#include "proto/cell.h"
#include "proto/vmctl.h"

struct cell_source {
    int kernel_fd, program_fd;
    int archive_fd; // -1: none
    const struct vmctl_config *config;
    enum cell_flavour flavour;
    bool has_fsgsbase;
    uint32_t hwcap;
    const struct cell_device *devices;
    size_t n_devices; // <= CELL_DEVICES_MAX
};

// Loads everything. The descriptors stay the caller's and can be closed afterwards. Page-congruent parts of
// the files are mapped privately, so that they come from the page cache. 0 and *ret_kernel, or -errno with
// *ret_cause and a text.
int cell_load(const struct guest_memory *mem, const struct cell_source *source,
              struct cell_kernel_header *ret_kernel, enum vmctl_cause *ret_cause, struct err *err);
