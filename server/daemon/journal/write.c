// The one writer: takes the first group that waits, finds its place, writes and syncs it in one chain, and
// tells those who wait. One group is under way at a time; the next ones gather meanwhile.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "journal/internal.h"

#define ATTEMPTS_MAX 2 // a group that failed is written once more, into another segment

enum place { PLACE_FOUND, PLACE_WAIT, PLACE_NONE };

void write_kick(struct journal *j)
{
    event_active(j->kick, 0, 0);
}

static bool fits_active(const struct journal *j, const struct group *g)
{
    // When this segment is the last one to be had, its end is for forgetting: that makes room.
    bool keep = g->n_items > 0 && !g->cleaning && !prepare_may_take(j, false);
    uint64_t margin = keep ? j->segment_bytes / 32 : 0;
    return j->active && j->active->end + group_size(g) + margin <= j->active->bytes;
}

// What was durable in it stays.
static void close_active(struct journal *j)
{
    struct segment *s = take_ptr(j->active);
    if (!s)
        return;
    if (s->end == FORMAT_FIRST) {
        segment_discard(j, s);
        return;
    }
    j->last_order = s->order;
    j->last_end = s->end;
    segment_close(s);
    TAILQ_INSERT_TAIL(&j->closed, s, link);
    j->n_closed++;
}

static enum place find_place(struct journal *j, const struct group *g)
{
    if (fits_active(j, g))
        return PLACE_FOUND;
    if (prepare_may_take(j, g->cleaning || g->probe)) {
        close_active(j);
        j->active = take_ptr(j->next);
        prepare_step(j);
        return PLACE_FOUND;
    }
    prepare_step(j); // a segment may have been cleaned just now
    clean_step(j);
    bool wait = j->preparing.job != JOB_NONE || (!g->cleaning && clean_is_under_way(j));
    return wait ? PLACE_WAIT : PLACE_NONE;
}

static void start(struct journal *j, struct group *g)
{
    struct segment *s = j->active;
    const struct format_open open = {
        .order = s->order,
        .oldest = segment_oldest(j),
        .next_seq = j->next_seq,
        .epoch = j->epoch,
        .prev_order = j->last_order,
        .prev_end = j->last_end,
    };
    const uint8_t *data;
    j->opening = s->end == FORMAT_FIRST;
    j->writing = g;
    j->write_at = s->end;
    size_t len = group_seal(g, s, s->end, j->opening ? &open : NULL, &data, &j->write_len);
    ring_write(&j->ring, &j->write_task, s->fd, data, len, s->end);
    ring_sync(&j->ring, &j->write_task, s->fd, true);
    ring_submit(&j->ring);
}

static void tell(struct journal *j, struct group *g, int rc)
{
    for (size_t i = 0; i < g->n_items; i++)
        if (g->items[i].done)
            g->items[i].done(g->items[i].arg, rc);
    group_recycle(j, g);
}

// Its records are not durable, and must not come to life later when they were written in part. What it was to
// forget is still to be forgotten.
void write_fail(struct journal *j, struct group *g, int rc)
{
    bool tried = g->attempts > 0;
    for (size_t i = 0; i < g->n_items; i++) {
        struct live *l = live_find(j, g->items[i].seq);
        if (g->items[i].copied || !l)
            continue;
        live_remove(j, l);
        if (tried)
            journal_forget(j, g->items[i].seq);
    }
    for (size_t i = 0; i < g->n_forgets; i++)
        journal_forget(j, g->forgets[i]);
    if (g->cleaning)
        clean_written(j, false);
    tell(j, g, tried ? -EIO : rc);
}

void write_fail_all(struct journal *j, int rc)
{
    struct group_list failed = TAILQ_HEAD_INITIALIZER(failed);
    struct group *g;
    TAILQ_CONCAT(&failed, &j->waiting, link);
    j->waiting_bytes = 0;
    while ((g = TAILQ_FIRST(&failed))) {
        TAILQ_REMOVE(&failed, g, link);
        write_fail(j, g, rc);
    }
}

static void written_well(struct journal *j, struct group *g)
{
    struct segment *s = j->active;
    // Where the first byte of the group's buffer would lie: without a segment's first record it is not
    // written.
    uint64_t base = j->write_at + j->write_len - group_size(g);
    s->end = j->write_at + j->write_len;
    j->stats.syncs++;
    for (size_t i = 0; i < g->n_items; i++) {
        struct live *l = live_find(j, g->items[i].seq);
        j->stats.appends += !g->items[i].copied;
        j->stats.copied_bytes += g->items[i].copied ? g->items[i].len : 0;
        if (l)
            live_place(j, l, s, base + g->items[i].offset);
    }
    if (g->cleaning)
        clean_written(j, true);
    if (j->stats.state == JOURNAL_FAILING)
        journal_set_state(j, JOURNAL_WRITABLE, 0, "");
    tell(j, g, 0);
}

// After a failed sync the kernel may take its pages for clean: nothing more is written to this file.
static void written_badly(struct journal *j, struct group *g, int rc)
{
    close_active(j);
    if (++g->attempts < ATTEMPTS_MAX && !g->probe) {
        TAILQ_INSERT_HEAD(&j->waiting, g, link);
        return;
    }
    char why[JOURNAL_WHY_CAP];
    snprintf(why, sizeof why, "write to %s: %s", j->folder, strerror(-rc));
    journal_set_state(j, JOURNAL_FAILING, -EIO, why);
    write_fail(j, g, -EIO);
    write_fail_all(j, -EIO);
}

void write_done(struct ring_task *task, int rc)
{
    struct journal *j = table_entry(task, struct journal, write_task);
    struct group *g = take_ptr(j->writing);
    if (rc < 0)
        written_badly(j, g, rc);
    else
        written_well(j, g);
    write_step(j);
}

// A group that only forgets waits for company for a moment.
static bool is_due(const struct journal *j, const struct group *g)
{
    if (!g || g->n_items > 0 || g->probe || g->attempts > 0 || TAILQ_NEXT(g, link))
        return g != NULL;
    return g->n_forgets == FORGETS_MAX || (g->n_forgets > 0 && (j->forgets_due || j->closing));
}

static void say_full(struct journal *j)
{
    char why[JOURNAL_WHY_CAP];
    int rc = j->preparing.rc ? j->preparing.rc : -ENOSPC;
    bool full = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
    if (j->preparing.rc)
        snprintf(why, sizeof why, "make a segment of %llu KiB in %s: %s",
                 (unsigned long long)(j->segment_bytes >> 10), j->folder, strerror(-rc));
    else
        snprintf(why, sizeof why, "%s has reached its limit of %llu MiB", j->folder,
                 (unsigned long long)((j->segments_max * j->segment_bytes) >> 20));
    journal_set_state(j, full ? JOURNAL_FULL : JOURNAL_FAILING, full ? rc : -EIO, why);
    write_fail_all(j, j->refuse_rc);
}

// Groups and copies take turns, so that neither waits for the other for long.
static struct group *choose(struct journal *j)
{
    struct group *g = TAILQ_FIRST(&j->waiting);
    bool due = is_due(j, g);
    if (due && (g->attempts > 0 || g->cleaning ||
                (++j->cleaning.turn % 2 == 0 && (fits_active(j, g) || prepare_may_take(j, false)))))
        return g;
    struct group *copies = clean_group(j);
    if (copies)
        TAILQ_INSERT_HEAD(&j->waiting, copies, link);
    return copies ? copies : due ? g : NULL;
}

void write_step(struct journal *j)
{
    prepare_step(j);
    clean_step(j);
    if (j->stats.state == JOURNAL_FULL && prepare_may_take(j, false))
        journal_set_state(j, JOURNAL_WRITABLE, 0, "");
    while (!j->writing) {
        struct group *g = choose(j);
        enum place place = g ? find_place(j, g) : PLACE_WAIT;
        if (place == PLACE_WAIT)
            return;
        if (place == PLACE_FOUND) {
            TAILQ_REMOVE(&j->waiting, g, link);
            if (g->attempts == 0 && !g->cleaning)
                j->waiting_bytes -= group_bytes(g);
            if (TAILQ_EMPTY(&j->waiting))
                j->forgets_due = false;
            start(j, g);
        } else if (g->cleaning) {
            TAILQ_REMOVE(&j->waiting, g, link);
            write_fail(j, g, -ENOSPC);
        } else if (g->n_items > 0) {
            say_full(j);
        } else {
            return; // forgetting can wait
        }
    }
}
