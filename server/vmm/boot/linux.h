// Fills a Linux guest's memory before its start: kernel, initial RAM disk, command line, boot parameters or
// PVH start info, memory map, ACPI tables, first page tables. Called once by machine_linux; knows nothing of
// KVM. Files come as descriptors and are hostile.
#pragma once

#include "acpi.h"
#include "kvm_linux.h"
#include "memory.h"
#include "proto/vmctl.h"

struct linux_source {
    int kernel_fd;
    int initrd_fd;       // -1: none
    const char *cmdline; // all of it
    const struct acpi_machine *acpi;
};

// The descriptors stay the caller's and can be closed afterwards. 0 and *ret_start, or -errno with *ret_cause
// and a text.
int linux_load(const struct guest_memory *mem, const struct linux_source *source,
               struct linux_start *ret_start, enum vmctl_cause *ret_cause, struct err *err);
