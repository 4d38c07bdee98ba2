// Segment files as files: their names, their descriptors, their end.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "journal/internal.h"

void segment_name(uint32_t number, char ret[NAME_LEN_CAP])
{
    snprintf(ret, NAME_LEN_CAP, "%08u.seg", number);
}

struct segment *segment_new(struct journal *j, uint32_t number)
{
    struct segment *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->number = number;
    s->fd = -1;
    s->bytes = j->segment_bytes;
    j->n_segments++;
    return s;
}

int segment_open(struct journal *j, struct segment *s, int flags)
{
    char name[NAME_LEN_CAP];
    segment_name(s->number, name);
    int fd = openat(j->dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

void segment_close(struct segment *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void segment_discard(struct journal *j, struct segment *s)
{
    char name[NAME_LEN_CAP], aside[NAME_LEN_CAP];
    segment_name(s->number, name);
    snprintf(aside, sizeof aside, "%08u.damaged", s->number);
    // A file that cannot be renamed or deleted is found, and ended, by the next opening.
    if (!s->damaged || renameat(j->dir_fd, name, j->dir_fd, aside) < 0)
        (void)unlinkat(j->dir_fd, name, 0);
    segment_close(s);
    free(s);
    j->n_segments--;
}

uint64_t segment_oldest(const struct journal *j)
{
    const struct segment *first = TAILQ_FIRST(&j->closed);
    return first ? first->order : j->active ? j->active->order : j->next_order;
}
