// An event loop of one thread: epoll for descriptors, a scan of the few timers for the time-out. Called by
// envvm's machine, control and devices, and by envagent; knows nothing of them.
#include "common/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"

#define EVENTS_PER_ROUND 16

struct loop_source {
    struct loop *loop;
    struct loop_source *next;
    loop_cb *cb;
    void *arg;
    int fd;               // -1: a timer
    uint64_t deadline_ns; // timers: 0 = disarmed
    bool paused;          // not in the epoll set: events 0 there would still report a hang-up, over and over
    uint32_t events;      // wanted, also while held
    bool awake;           // loop_hold() leaves it alone
    bool removed;         // freed when the round ends: events of this round may still name it
};

struct loop {
    int epoll_fd;
    bool stopping;
    bool held;
    bool garbage; // some source is marked removed
    struct loop_source *fds;
    struct loop_source *timers;
};

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return NULL;
    }
    return loop;
}

static void free_list(struct loop_source *s)
{
    while (s) {
        struct loop_source *next = s->next;
        free(s);
        s = next;
    }
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    free_list(loop->fds);
    free_list(loop->timers);
    close(loop->epoll_fd);
    free(loop);
}

static struct loop_source *source_new(struct loop *loop, int fd, loop_cb *cb, void *arg)
{
    struct loop_source *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct loop_source){.loop = loop, .cb = cb, .arg = arg, .fd = fd};
    return s;
}

static void source_link(struct loop_source **list, struct loop_source *s)
{
    s->next = *list;
    *list = s;
}

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_cb *cb, void *arg)
{
    struct loop_source *s = source_new(loop, fd, cb, arg);
    if (!s)
        return NULL;
    s->paused = true;
    if (loop_modify(s, events) < 0) {
        free(s);
        return NULL;
    }
    source_link(&loop->fds, s);
    return s;
}

// Brings the epoll set in line with what is wanted.
static int apply(struct loop_source *source)
{
    const bool held = source->loop->held && !source->awake;
    struct epoll_event ev = {.events = held ? 0 : source->events, .data.ptr = source};
    bool pause = ev.events == 0;
    if (pause && source->paused)
        return 0;
    int op = pause ? EPOLL_CTL_DEL : source->paused ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(source->loop->epoll_fd, op, source->fd, &ev) < 0)
        return -errno;
    source->paused = pause;
    return 0;
}

int loop_modify(struct loop_source *source, uint32_t events)
{
    const uint32_t before = source->events;
    source->events = events;
    int rc = apply(source);
    if (rc < 0)
        source->events = before;
    return rc;
}

static void set_held(struct loop *loop, bool held)
{
    loop->held = held;
    // Fails only without memory to add a descriptor back: its source stays silent then.
    for (struct loop_source *s = loop->fds; s; s = s->next)
        if (!s->removed)
            (void)apply(s);
}

void loop_hold(struct loop *loop)
{
    set_held(loop, true);
}

void loop_release(struct loop *loop)
{
    set_held(loop, false);
}

void loop_keep_awake(struct loop_source *source)
{
    source->awake = true;
}

static bool timer_armed(const struct loop_source *t)
{
    return t->deadline_ns && !t->removed && (t->awake || !t->loop->held);
}

void loop_remove(struct loop_source *source)
{
    if (!source || source->removed)
        return;
    if (source->fd >= 0 && !source->paused)
        epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->deadline_ns = 0;
    source->removed = true;
    source->loop->garbage = true;
}

struct loop_source *loop_add_timer(struct loop *loop, loop_cb *cb, void *arg)
{
    struct loop_source *s = source_new(loop, -1, cb, arg);
    if (s)
        source_link(&loop->timers, s);
    return s;
}

void loop_timer_set(struct loop_source *timer, uint64_t monotonic_ns)
{
    if (!timer->removed)
        timer->deadline_ns = monotonic_ns;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

static void sweep(struct loop_source **list)
{
    while (*list) {
        struct loop_source *s = *list;
        if (s->removed) {
            *list = s->next;
            free(s);
        } else {
            list = &s->next;
        }
    }
}

// The time-out of the next wait; NULL when no timer is armed.
static const struct timespec *next_timeout(const struct loop *loop, struct timespec *ret)
{
    uint64_t first = UINT64_MAX;
    for (const struct loop_source *t = loop->timers; t; t = t->next)
        if (timer_armed(t) && t->deadline_ns < first)
            first = t->deadline_ns;
    if (first == UINT64_MAX)
        return NULL;
    uint64_t now = io_monotonic_ns();
    uint64_t left = first > now ? first - now : 0;
    *ret = (struct timespec){.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    return ret;
}

// One-shot: disarmed before the callback, which may re-arm.
static void fire_timers(struct loop *loop)
{
    uint64_t now = 0;
    for (struct loop_source *t = loop->timers; t; t = t->next) {
        if (!timer_armed(t))
            continue;
        if (now == 0)
            now = io_monotonic_ns();
        if (t->deadline_ns > now)
            continue;
        t->deadline_ns = 0;
        t->cb(t->arg, 0);
    }
}

// Milliseconds, rounded up, and no more than an int holds.
static int timeout_ms(const struct timespec *timeout)
{
    if (!timeout)
        return -1;
    return timeout->tv_sec > 1000000 ? 1000000000
                                     : (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000);
}

static int wait_events(const struct loop *loop, struct epoll_event *events)
{
    struct timespec timeout;
    const struct timespec *next = next_timeout(loop, &timeout);
    // By number: musl has no wrapper. The timer needs nanoseconds; a guest's kernel may be older than 5.11.
    int n = (int)syscall(SYS_epoll_pwait2, loop->epoll_fd, events, EVENTS_PER_ROUND, next, NULL, 0);
    if (n < 0 && errno == ENOSYS)
        n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, timeout_ms(next));
    return n;
}

int loop_run(struct loop *loop)
{
    while (!loop->stopping) {
        struct epoll_event events[EVENTS_PER_ROUND];
        int n = wait_events(loop, events);
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            struct loop_source *s = events[i].data.ptr;
            if (!s->removed && !(loop->held && !s->awake))
                s->cb(s->arg, events[i].events);
        }
        fire_timers(loop);
        if (loop->garbage) {
            sweep(&loop->fds);
            sweep(&loop->timers);
            loop->garbage = false;
        }
    }
    loop->stopping = false;
    return 0;
}
