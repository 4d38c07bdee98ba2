// See epoll.h. Called by the epoll system calls; file.c tells of files that go away.
#include "fs/epoll.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <linux/errno.h>

#include "fs/file.h"
#include "mem/heap.h"

#include <linux/eventpoll.h>

#define ALWAYS (POLLERR | POLLHUP)

struct item {
    struct item *next;
    uint64_t fd;
    struct file *file;
    struct epoll_event event;
    uint32_t seen; // file->n_changes when it was last reported
    bool reported; // seen is meaningful
    bool spent;    // EPOLLONESHOT has fired
};

struct epoll {
    struct epoll *next; // all instances
    struct file *file;
    struct item *first;
    bool nested; // is in another one: must hold no instance itself
};

static struct epoll *instances;

static uint32_t item_events(struct item *item)
{
    if (item->spent)
        return 0;
    if ((item->event.events & EPOLLET) && item->reported && item->seen == item->file->n_changes)
        return 0;
    return file_poll(item->file) & (item->event.events | ALWAYS);
}

static uint32_t poll_epoll(struct file *file)
{
    struct epoll *epoll = file->data;
    for (struct item *i = epoll->first; i; i = i->next)
        if (item_events(i))
            return POLLIN | POLLRDNORM;
    return 0;
}

static void release_epoll(struct file *file)
{
    struct epoll *epoll = file->data, **link = &instances;
    while (*link != epoll)
        link = &(*link)->next;
    *link = epoll->next;
    for (struct item *i = epoll->first, *next; i; i = next) {
        next = i->next;
        heap_free(i);
    }
    heap_free(epoll);
}

static const struct file_ops epoll_ops = {.poll = poll_epoll, .release = release_epoll, .mode = 0600};

struct file *epoll_new(uint32_t flags)
{
    struct epoll *epoll = heap_alloc_zeroed(sizeof *epoll);
    struct file *file = epoll ? file_new(&epoll_ops, O_RDWR | flags, NULL, epoll) : NULL;
    if (!file) {
        heap_free(epoll);
        return NULL;
    }
    epoll->file = file;
    epoll->next = instances;
    instances = epoll;
    return file;
}

bool epoll_is(const struct file *file)
{
    return file->ops == &epoll_ops;
}

static bool may_nest(struct epoll *outer, struct file *target)
{
    struct epoll *inner = target->data;
    if (inner == outer || outer->nested)
        return false;
    for (struct item *i = inner->first; i; i = i->next)
        if (epoll_is(i->file))
            return false;
    inner->nested = true;
    return true;
}

static int add_item(struct epoll *epoll, uint64_t fd, struct file *target, const struct epoll_event *event)
{
    if (target->ops->seekable)
        return -EPERM; // as Linux says of regular files
    if (epoll_is(target) && !may_nest(epoll, target))
        return -ELOOP;
    struct item *item = heap_alloc_zeroed(sizeof *item);
    if (!item)
        return -ENOMEM;
    *item = (struct item){.next = epoll->first, .fd = fd, .file = target, .event = *event};
    epoll->first = item;
    return 0;
}

int epoll_control(struct file *file, int op, uint64_t fd, struct file *target,
                  const struct epoll_event *event)
{
    struct epoll *epoll = file->data;
    struct item **link = &epoll->first;
    while (*link && ((*link)->fd != fd || (*link)->file != target))
        link = &(*link)->next;
    struct item *item = *link;
    if (op == EPOLL_CTL_ADD)
        return item ? -EEXIST : add_item(epoll, fd, target, event);
    if (!item)
        return -ENOENT;
    if (op == EPOLL_CTL_MOD) {
        item->event = *event;
        item->reported = item->spent = false;
        return 0;
    }
    if (op != EPOLL_CTL_DEL)
        return -EINVAL;
    *link = item->next;
    heap_free(item);
    return 0;
}

size_t epoll_collect(struct file *file, struct epoll_event *out, size_t max)
{
    struct epoll *epoll = file->data;
    size_t n = 0;
    for (struct item *i = epoll->first; i && n < max; i = i->next) {
        uint32_t events = item_events(i);
        if (!events)
            continue;
        out[n++] = (struct epoll_event){.events = events, .data = i->event.data};
        i->reported = true;
        i->seen = i->file->n_changes;
        i->spent = i->event.events & EPOLLONESHOT;
    }
    return n;
}

void epoll_forget(struct file *file)
{
    for (struct epoll *e = instances; e; e = e->next)
        for (struct item **link = &e->first; *link;) {
            struct item *item = *link;
            if (item->file != file) {
                link = &item->next;
                continue;
            }
            *link = item->next;
            heap_free(item);
        }
}
