// A disk that fails: writes to a closed descriptor. Called by tests that have a journal.
#include "failing_writes.h"

#include "journal/ring.h"

unsigned n_failing_writes;

void __real_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_task *task, int fd, const void *data, size_t len,
                       uint64_t offset)
{
    bool fail = n_failing_writes > 0 && offset > 0; // headers of segments are written all the same
    n_failing_writes -= fail;
    __real_ring_write(r, task, fail ? -1 : fd, data, len, offset);
}
