// Owns the two queues between the loop and the broker's thread. Called by both; knows nothing of what passes.
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/item.h"

int lane_init(struct lane *lane)
{
    STAILQ_INIT(&lane->items);
    lane->closed = false;
    lane->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (lane->event_fd < 0)
        return -errno;
    pthread_mutex_init(&lane->lock, NULL);
    return 0;
}

void lane_done(struct lane *lane)
{
    if (lane->event_fd < 0)
        return;
    close(lane->event_fd);
    lane->event_fd = -1;
    pthread_mutex_destroy(&lane->lock);
}

void lane_wake(struct lane *lane)
{
    eventfd_write(lane->event_fd, 1); // fails only on a counter of 2^64 - 1, which is readable all the same
}

void lane_put_all(struct lane *lane, struct item_queue *items)
{
    if (STAILQ_EMPTY(items))
        return;
    pthread_mutex_lock(&lane->lock);
    bool was_empty = STAILQ_EMPTY(&lane->items);
    STAILQ_CONCAT(&lane->items, items);
    pthread_mutex_unlock(&lane->lock);
    if (was_empty)
        lane_wake(lane);
}

void lane_put(struct lane *lane, struct item *item)
{
    struct item_queue one = STAILQ_HEAD_INITIALIZER(one);
    STAILQ_INSERT_TAIL(&one, item, link);
    lane_put_all(lane, &one);
}

bool lane_take(struct lane *lane, struct item_queue *ret)
{
    eventfd_t ignored;
    // Before the items: one that comes in between makes it readable again.
    (void)eventfd_read(lane->event_fd, &ignored);
    pthread_mutex_lock(&lane->lock);
    STAILQ_CONCAT(ret, &lane->items);
    bool open = !lane->closed;
    pthread_mutex_unlock(&lane->lock);
    return open;
}

void lane_close(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->closed = true;
    pthread_mutex_unlock(&lane->lock);
    lane_wake(lane);
}
