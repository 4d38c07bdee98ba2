// See timerfd.h. Expiry is computed when somebody looks; the idle loop asks for the next one so that it wakes
// in time.
#include "fs/timerfd.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <linux/errno.h>

#include "base/clock.h"
#include "base/kernel.h"
#include "base/string.h"
#include "fs/file.h"
#include "mem/heap.h"

struct timerfd {
    struct timerfd *next; // all of them
    struct file *file;
    uint64_t expiry_ns, interval_ns; // monotonic; 0 = disarmed
    uint64_t n_expired;              // and not read yet
    bool realtime;
};

static struct timerfd *timers;

static void advance(struct timerfd *t)
{
    uint64_t now = clock_monotonic_ns();
    if (!t->expiry_ns || now < t->expiry_ns)
        return;
    uint64_t n = t->interval_ns ? 1 + (now - t->expiry_ns) / t->interval_ns : 1;
    t->n_expired += n;
    t->expiry_ns = t->interval_ns ? t->expiry_ns + n * t->interval_ns : 0;
    t->file->n_changes++;
}

static int64_t read_timerfd(struct file *file, void *out, size_t n, uint64_t *pos)
{
    struct timerfd *t = file->data;
    (void)pos;
    if (n < sizeof t->n_expired)
        return -EINVAL;
    advance(t);
    if (!t->n_expired)
        return -EAGAIN;
    memcpy(out, &t->n_expired, sizeof t->n_expired);
    t->n_expired = 0;
    return sizeof t->n_expired;
}

static uint32_t poll_timerfd(struct file *file)
{
    struct timerfd *t = file->data;
    advance(t);
    return t->n_expired ? POLLIN | POLLRDNORM : 0;
}

static void release_timerfd(struct file *file)
{
    struct timerfd **link = &timers;
    while (*link != file->data)
        link = &(*link)->next;
    *link = (*link)->next;
    heap_free(file->data);
}

static const struct file_ops timerfd_ops = {
    .read = read_timerfd, .poll = poll_timerfd, .release = release_timerfd, .mode = 0600};

struct file *timerfd_new(bool realtime, uint32_t flags)
{
    struct timerfd *t = heap_alloc_zeroed(sizeof *t);
    struct file *file = t ? file_new(&timerfd_ops, O_RDWR | flags, NULL, t) : NULL;
    if (!file) {
        heap_free(t);
        return NULL;
    }
    *t = (struct timerfd){.next = timers, .file = file, .realtime = realtime};
    timers = t;
    return file;
}

bool timerfd_is(const struct file *file)
{
    return file->ops == &timerfd_ops;
}

void timerfd_set(struct file *file, uint64_t value_ns, uint64_t interval_ns, bool absolute)
{
    struct timerfd *t = file->data;
    t->interval_ns = interval_ns;
    t->n_expired = 0;
    t->expiry_ns = 0;
    if (!value_ns)
        return;
    uint64_t now = clock_monotonic_ns();
    uint64_t reference = absolute ? (t->realtime ? clock_realtime_ns() : now) : 0;
    uint64_t left = value_ns > reference ? value_ns - reference : 0;
    t->expiry_ns = left < NEVER - now ? now + left : NEVER;
    t->expiry_ns += t->expiry_ns == 0;
}

void timerfd_get(struct file *file, uint64_t *ret_left_ns, uint64_t *ret_interval_ns)
{
    struct timerfd *t = file->data;
    advance(t);
    uint64_t now = clock_monotonic_ns();
    *ret_left_ns = t->expiry_ns > now ? t->expiry_ns - now : 0;
    *ret_interval_ns = t->interval_ns;
}

uint64_t timerfd_next_ns(void)
{
    uint64_t first = NEVER;
    for (struct timerfd *t = timers; t; t = t->next)
        if (t->expiry_ns && t->expiry_ns < first)
            first = t->expiry_ns;
    return first;
}
