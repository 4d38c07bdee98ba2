// How much of the guest's memory the host has given so far, from the kernel's own count of this process's
// pages: as quick for a terabyte as for a megabyte. Called by machine.c. Knows nothing of where the memory
// lies.
#pragma once

#include <stdint.h>

struct residency {
    int statm_fd;       // -1: nobody can tell
    uint64_t own_bytes; // what this process had of its own before the guest had any
};

// statm_fd, /proc/self/statm or -1, stays the caller's. To be called before the guest's memory is touched.
void residency_init(struct residency *r, int statm_fd);
// At most `most`; 0 where nobody can tell. What this process has allocated since counts as the guest's, and
// the kernel's count may lag some dozens of pages for each CPU behind.
uint64_t residency_guest_bytes(const struct residency *r, uint64_t most);
