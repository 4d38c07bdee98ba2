// Messages that the agent gave back and does not want again at once: they stay out of the mailbox's queue
// until their time has come, or until the agent registers a service, whose messages they may be. Called by
// session_frames.c.
#include "route/session_internal.h"

#include <stdlib.h>

#include "common/io.h"

#define DEFERRED_MAX 4096 // more are released at once
#define DELAY_MAX_MS 60000u
#define NS_PER_MS    1000000ull

struct deferred {
    TAILQ_ENTRY(deferred) link;
    struct id id;
    uint64_t due_ns;
};

static void arm(struct session *s)
{
    const struct deferred *first = TAILQ_FIRST(&s->deferred);
    uint64_t now_ns = io_monotonic_ns();
    if (!first) {
        event_del(s->due);
        return;
    }
    uint64_t in_us = first->due_ns > now_ns ? (first->due_ns - now_ns) / 1000 + 1 : 0;
    const struct timeval tv = {.tv_sec = (time_t)(in_us / 1000000),
                               .tv_usec = (suseconds_t)(in_us % 1000000)};
    evtimer_add(s->due, &tv);
}

// It was counted when it was put off.
static void end(struct session *s, struct deferred *d, bool release)
{
    TAILQ_REMOVE(&s->deferred, d, link);
    s->n_deferred--;
    if (release)
        endpoint_release(s->endpoint, &d->id, false);
    free(d);
}

void session_defer(struct session *s, const struct agent_frame *f)
{
    uint32_t delay_ms = f->defer.delay_ms < DELAY_MAX_MS ? f->defer.delay_ms : DELAY_MAX_MS;
    struct deferred *d = s->n_deferred < DEFERRED_MAX && delay_ms > 0 ? malloc(sizeof *d) : NULL;
    if (!d) {
        endpoint_release(s->endpoint, &f->defer.id, f->defer.tried);
        return;
    }
    if (!endpoint_put_off(s->endpoint, &f->defer.id, f->defer.tried)) {
        free(d);
        return;
    }
    *d = (struct deferred){.id = f->defer.id, .due_ns = io_monotonic_ns() + delay_ms * NS_PER_MS};
    // Agents defer for about as long as they did last: the walk is short.
    struct deferred *before = TAILQ_LAST(&s->deferred, deferred_list);
    while (before && before->due_ns > d->due_ns)
        before = TAILQ_PREV(before, deferred_list, link);
    if (before)
        TAILQ_INSERT_AFTER(&s->deferred, before, d, link);
    else
        TAILQ_INSERT_HEAD(&s->deferred, d, link);
    s->n_deferred++;
    arm(s);
}

void session_release_due(struct session *s)
{
    uint64_t now_ns = io_monotonic_ns();
    struct deferred *d;
    // NOLINTBEGIN(clang-analyzer-unix.Malloc): end() takes out of the list what it frees
    while (s->state == SESSION_READY && (d = TAILQ_FIRST(&s->deferred)) && d->due_ns <= now_ns)
        end(s, d, true);
    // NOLINTEND(clang-analyzer-unix.Malloc)
    arm(s);
}

void session_recall(struct session *s)
{
    struct deferred *d;
    while ((d = TAILQ_FIRST(&s->deferred))) // NOLINT(clang-analyzer-unix.Malloc): see above
        end(s, d, true);                    // NOLINT(clang-analyzer-unix.Malloc)
    arm(s);
}

void session_drop_deferred(struct session *s)
{
    struct deferred *d;
    while ((d = TAILQ_FIRST(&s->deferred))) // NOLINT(clang-analyzer-unix.Malloc): see above
        end(s, d, false);                   // NOLINT(clang-analyzer-unix.Malloc)
}
