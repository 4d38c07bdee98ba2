// Makes segments ready ahead of need: files are allocated, and headed with a new salt and order before the
// first record is written to them. One step at a time, in the background of groups.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "journal/internal.h"

#define ZERO_WRITES 16 // of one file: the ring has place for them and for what else may be under way

bool prepare_may_take(const struct journal *j, bool cleaning)
{
    return j->next && (cleaning || j->n_spares >= RESERVE_SEGMENTS);
}

static void fail(struct journal *j, int rc)
{
    struct preparing *p = &j->preparing;
    const struct timeval again = {.tv_usec = RETRY_US};
    if (p->segment)
        segment_discard(j, take_ptr(p->segment));
    p->job = JOB_NONE;
    p->rc = rc;
    event_add(j->retry, &again);
}

int prepare_init(struct journal *j)
{
    struct preparing *p = &j->preparing;
    p->zeros_len = format_round(j->segment_bytes / ZERO_WRITES, FORMAT_PAGE);
    p->page = malloc(FORMAT_PAGE);
    // Only ever read: they take no memory.
    p->zeros = mmap(NULL, p->zeros_len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p->zeros = p->zeros == MAP_FAILED ? NULL : p->zeros;
    return p->page && p->zeros ? 0 : -ENOMEM;
}

void prepare_finish(struct journal *j)
{
    struct preparing *p = &j->preparing;
    if (p->zeros)
        munmap(p->zeros, p->zeros_len);
    free(p->page);
}

// Blocks that were written once are synced in a third of the time of those that were only allocated: the file
// system has nothing to note about them.
static void fill_with_zeros(struct journal *j, const struct segment *s)
{
    struct preparing *p = &j->preparing;
    for (uint64_t at = 0; at < s->bytes; at += p->zeros_len) {
        uint64_t left = s->bytes - at;
        ring_write_long(&j->ring, &p->task, s->fd, p->zeros, left < p->zeros_len ? left : p->zeros_len, at);
    }
}

static void begin_allocate(struct journal *j)
{
    struct preparing *p = &j->preparing;
    p->segment = segment_new(j, j->next_number++);
    int fd = p->segment ? segment_open(j, p->segment, O_WRONLY | O_CREAT | O_EXCL) : -ENOMEM;
    if (fd < 0) {
        fail(j, fd);
        return;
    }
    p->job = JOB_ALLOCATE;
    p->segment->fd = fd;
    ring_allocate(&j->ring, &p->task, fd, p->segment->bytes);
    fill_with_zeros(j, p->segment);
    ring_sync(&j->ring, &p->task, fd, false);
    ring_sync(&j->ring, &p->task, j->dir_fd, false);
    ring_submit(&j->ring);
}

static void begin_head(struct journal *j)
{
    struct preparing *p = &j->preparing;
    p->segment = TAILQ_FIRST(&j->spares);
    TAILQ_REMOVE(&j->spares, p->segment, link);
    j->n_spares--;
    int fd = segment_open(j, p->segment, O_WRONLY);
    if (fd < 0 || getrandom(&p->segment->salt, sizeof p->segment->salt, 0) < 0) {
        fail(j, fd < 0 ? fd : -errno);
        return;
    }
    const struct format_open open = {
        .order = j->next_order,
        .oldest = segment_oldest(j),
        .next_seq = j->next_seq,
        .epoch = j->epoch,
    };
    p->segment->order = j->next_order++;
    p->oldest = open.oldest;
    format_write_segment(p->page, p->segment->salt, &open);
    p->job = JOB_HEAD;
    p->segment->fd = fd;
    ring_write(&j->ring, &p->task, fd, p->page, FORMAT_PAGE, 0);
    ring_sync(&j->ring, &p->task, fd, true);
    ring_submit(&j->ring);
}

void prepare_done(struct ring_task *task, int rc)
{
    struct journal *j = table_entry(task, struct journal, preparing.task);
    struct preparing *p = &j->preparing;
    if (rc < 0) {
        fail(j, rc);
    } else if (p->job == JOB_ALLOCATE) {
        struct segment *s = take_ptr(p->segment);
        segment_close(s);
        TAILQ_INSERT_TAIL(&j->spares, s, link);
        j->n_spares++;
    } else {
        p->segment->end = FORMAT_FIRST;
        j->next = take_ptr(p->segment);
        j->durable_oldest = p->oldest;
    }
    p->job = JOB_NONE;
    write_step(j);
}

void prepare_step(struct journal *j)
{
    if (j->preparing.job != JOB_NONE || (j->closing && TAILQ_EMPTY(&j->waiting)))
        return;
    if (!j->next && j->n_spares > 0)
        begin_head(j);
    else if ((!j->next || j->n_spares < RESERVE_SEGMENTS) && j->n_segments < j->segments_max &&
             j->preparing.rc == 0)
        begin_allocate(j);
}
