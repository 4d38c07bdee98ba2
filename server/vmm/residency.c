// Owns the reading of /proc/self/statm. Called by machine.c. mincore() would be exact, and walks the page
// tables: of a large guest's memory, for seconds.
#include "residency.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/uio.h>

#define PAGE_BYTES 4096u

// Anonymous memory: pages resident less those of files. 0 on any failure.
static uint64_t anonymous_bytes(int statm_fd)
{
    char text[128];
    // Not pread(): the filter has a row for this call and this descriptor alone.
    const struct iovec io = {.iov_base = text, .iov_len = sizeof text - 1};
    const ssize_t n = preadv(statm_fd, &io, 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    uint64_t resident, of_files;
    if (sscanf(text, "%*u %" SCNu64 " %" SCNu64, &resident, &of_files) != 2 || resident < of_files)
        return 0;
    return (resident - of_files) * PAGE_BYTES;
}

void residency_init(struct residency *r, int statm_fd)
{
    *r = (struct residency){.statm_fd = statm_fd};
    if (statm_fd >= 0)
        r->own_bytes = anonymous_bytes(statm_fd);
}

uint64_t residency_guest_bytes(const struct residency *r, uint64_t most)
{
    if (r->statm_fd < 0)
        return 0;
    const uint64_t all = anonymous_bytes(r->statm_fd);
    const uint64_t guest = all > r->own_bytes ? all - r->own_bytes : 0;
    return guest < most ? guest : most;
}
