// Cleaning: what is still needed of the oldest segment is copied to the newest, and its file becomes a spare
// one. Always the oldest: the record that says that another is forgotten lies behind it, and may only go when
// every copy of that one is gone.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "journal/internal.h"

#define KEEP_CLOSED  3    // segments that are left alone, however dead
#define VISITS_MAX   4096 // records looked at in a row
#define SPARES_EXTRA 4    // above which spare files are deleted

static bool no_more_room(const struct journal *j)
{
    return !prepare_may_take(j, false) && (j->preparing.rc < 0 || j->n_segments >= j->segments_max);
}

static bool wanted(const struct journal *j)
{
    uint64_t dead = 0, live = 0;
    bool damaged = false;
    const struct segment *s;
    TAILQ_FOREACH(s, &j->closed, link)
    {
        live += s->live_bytes;
        dead += s->end - FORMAT_FIRST - s->live_bytes;
        damaged = damaged || s->damaged;
    }
    return damaged || (j->n_closed >= KEEP_CLOSED && dead >= live) ||
           (no_more_room(j) && dead >= j->segment_bytes);
}

bool clean_is_under_way(const struct journal *j)
{
    return j->cleaning.segment != NULL;
}

void clean_stop(struct journal *j)
{
    struct cleaning *c = &j->cleaning;
    if (c->reading) {
        c->failed = true; // goes when the read is done
        return;
    }
    if (c->fd >= 0)
        close(take_fd(&c->fd));
    free(take_ptr(c->image));
    c->segment = NULL;
    c->read = false;
}

// Copying comes to nothing now: again after a while.
static void postpone(struct journal *j)
{
    const struct timeval again = {.tv_usec = RETRY_US};
    j->cleaning.failed = true;
    clean_stop(j);
    event_add(j->retry, &again);
}

static void begin(struct journal *j)
{
    struct cleaning *c = &j->cleaning;
    c->segment = TAILQ_FIRST(&j->closed);
    c->at = FORMAT_FIRST;
    c->ended = false;
    c->image = malloc(c->segment->end);
    c->fd = segment_open(j, c->segment, O_RDONLY);
    if (!c->image || c->fd < 0) {
        postpone(j);
        return;
    }
    c->reading = true;
    ring_read(&j->ring, &c->task, c->fd, c->image, c->segment->end, 0);
    ring_submit(&j->ring);
}

static void delete_spares(struct journal *j)
{
    struct segment *s = TAILQ_FIRST(&j->spares);
    if (j->n_spares <= RESERVE_SEGMENTS + SPARES_EXTRA || j->n_spares <= j->n_closed / 2 ||
        s->order >= j->durable_oldest)
        return;
    TAILQ_REMOVE(&j->spares, s, link);
    j->n_spares--;
    segment_discard(j, s);
}

void clean_step(struct journal *j)
{
    struct cleaning *c = &j->cleaning;
    delete_spares(j);
    if (!c->segment && !c->failed && !j->closing && wanted(j))
        begin(j);
}

void clean_read_done(struct ring_task *task, int rc)
{
    struct journal *j = table_entry(task, struct journal, cleaning.task);
    struct cleaning *c = &j->cleaning;
    char what[JOURNAL_WHY_CAP];
    c->reading = false;
    if (rc < 0) {
        snprintf(what, sizeof what, "segment %08u of %s cannot be read: %s", c->segment->number, j->folder,
                 strerror(-rc));
        if (!c->segment->damaged)
            journal_damage(j, true, what);
        c->segment->damaged = true;
        postpone(j);
    } else if (c->failed) {
        clean_stop(j);
    } else {
        c->read = true;
    }
    write_step(j);
}

// Records that the table says are here, and are not: they cannot be kept.
static void give_up_unreadable(struct journal *j, struct segment *s)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < j->live.n_slots; i++) {
        for (struct table_node *n = j->live.slots[i], *next; n; n = next) {
            struct live *l = table_entry(n, struct live, node);
            next = n->next;
            if (l->segment == s) {
                live_remove(j, l);
                lost++;
            }
        }
    }
    char what[JOURNAL_WHY_CAP];
    snprintf(what, sizeof what, "segment %08u of %s was damaged since it was written: %llu records are lost",
             s->number, j->folder, (unsigned long long)lost);
    s->damaged = true;
    journal_damage(j, true, what);
}

static void finish(struct journal *j)
{
    struct segment *s = j->cleaning.segment;
    clean_stop(j);
    if (s->live_bytes > 0)
        give_up_unreadable(j, s);
    TAILQ_REMOVE(&j->closed, s, link);
    j->n_closed--;
    j->stats.cleaned++;
    j->durable_oldest = s->order + 1;
    if (s->damaged || s->bytes != j->segment_bytes) {
        segment_discard(j, s);
        return;
    }
    TAILQ_INSERT_TAIL(&j->spares, s, link);
    j->n_spares++;
}

// What its appending appends goes into the group of copies: they become durable with them.
static void drop(struct journal *j, struct group *g, const struct journal_record *r)
{
    if (!j->cb.on_dropped)
        return;
    j->cleaning.into = g;
    j->cb.on_dropped(j->arg, r);
    j->cleaning.into = NULL;
}

static int copy_or_drop(struct journal *j, struct group *g, const struct format_found *f)
{
    const struct journal_record r = {f->seq, f->type, f->data, f->len};
    struct live *l = f->type <= JOURNAL_TYPE_MAX ? live_find(j, f->seq) : NULL;
    if (l && l->segment == j->cleaning.segment && l->offset == f->offset) {
        const struct item item = {.seq = f->seq, .len = (uint32_t)f->len, .type = f->type, .copied = true};
        const struct iovec part = {(void *)f->data, f->len};
        return group_add(g, &item, &part, 1);
    }
    if (!l && f->type <= JOURNAL_TYPE_MAX)
        drop(j, g, &r);
    return 0;
}

// Everything was copied or dropped: a recovery need not look for this segment any more.
static int end(struct journal *j, struct group *g)
{
    uint64_t oldest = j->cleaning.segment->order + 1;
    const struct item item = {.len = sizeof oldest, .type = FORMAT_TYPE_OLDEST, .copied = true};
    const struct iovec part = {&oldest, sizeof oldest};
    drop(j, g, NULL);
    j->cleaning.ended = true;
    return group_add(g, &item, &part, 1);
}

// Copies a slice into g. False: no memory.
static bool fill(struct journal *j, struct group *g)
{
    struct cleaning *c = &j->cleaning;
    struct format_reader reader = {
        .untrusted = c->image, .len = c->segment->end, .at = c->at, .salt = c->segment->salt};
    size_t most = j->segment_bytes / 4 < SLICE_BYTES ? j->segment_bytes / 4 : SLICE_BYTES;
    struct format_found f;
    for (unsigned n = 0; n < VISITS_MAX && group_bytes(g) < most; n++) {
        if (!format_next(&reader, &f) && !format_seek(&reader, &f))
            return end(j, g) == 0;
        if (copy_or_drop(j, g, &f) < 0)
            return false;
        c->at = reader.at;
    }
    return true;
}

struct group *clean_group(struct journal *j)
{
    struct cleaning *c = &j->cleaning;
    if (!c->read || c->failed)
        return NULL;
    if (c->ended) {
        finish(j);
        write_kick(j);
        return NULL;
    }
    struct group *g = group_new(j);
    if (!g) {
        postpone(j);
        return NULL;
    }
    g->cleaning = true;
    if (!fill(j, g)) {
        write_fail(j, g, -ENOMEM);
        return NULL;
    }
    if (!group_is_empty(g))
        return g;
    group_recycle(j, g);
    write_kick(j); // others have their turn first
    return NULL;
}

void clean_written(struct journal *j, bool ok)
{
    if (!ok && clean_is_under_way(j))
        postpone(j);
}
