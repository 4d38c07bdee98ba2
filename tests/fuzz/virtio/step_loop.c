// Owns a loop.h that runs only when it is told to. Linked by the fuzz targets instead of server/vmm/loop.c.
#include "step_loop.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/io.h"

#define SOURCES_MAX 128

struct loop_source {
    struct loop *loop;
    struct loop_source *next;
    loop_cb *cb;
    void *arg;
    int fd; // -1: a timer
    uint32_t events;
    uint64_t deadline_ns;
    bool removed;
};

struct loop {
    struct loop_source *sources;
    bool stopping;
};

struct loop *loop_new(void)
{
    return calloc(1, sizeof(struct loop));
}

static void sweep(struct loop *loop, bool all)
{
    for (struct loop_source **at = &loop->sources; *at;) {
        struct loop_source *s = *at;
        if (all || s->removed) {
            *at = s->next;
            free(s);
        } else {
            at = &s->next;
        }
    }
}

void loop_free(struct loop *loop)
{
    sweep(loop, true);
    free(loop);
}

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_cb *cb, void *arg)
{
    struct loop_source *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    *s = (struct loop_source){
        .loop = loop, .next = loop->sources, .cb = cb, .arg = arg, .fd = fd, .events = events};
    loop->sources = s;
    return s;
}

int loop_modify(struct loop_source *source, uint32_t events)
{
    source->events = events;
    return 0;
}

void loop_remove(struct loop_source *source)
{
    source->removed = true;
}

struct loop_source *loop_add_timer(struct loop *loop, loop_cb *cb, void *arg)
{
    return loop_add(loop, -1, 0, cb, arg);
}

void loop_timer_set(struct loop_source *timer, uint64_t monotonic_ns)
{
    timer->deadline_ns = monotonic_ns;
}

void step_loop_round(struct loop *loop)
{
    struct pollfd polled[SOURCES_MAX];
    struct loop_source *of[SOURCES_MAX];
    nfds_t n = 0;
    for (struct loop_source *s = loop->sources; s; s = s->next)
        if (s->fd >= 0 && s->events && !s->removed && n < SOURCES_MAX) {
            polled[n] = (struct pollfd){.fd = s->fd, .events = (short)s->events}; // EPOLL* are POLL*
            of[n++] = s;
        }
    poll(polled, n, 0);
    for (nfds_t i = 0; i < n; i++)
        if (polled[i].revents && !of[i]->removed)
            of[i]->cb(of[i]->arg, (uint32_t)polled[i].revents);
    uint64_t now = io_monotonic_ns();
    for (struct loop_source *s = loop->sources; s; s = s->next)
        if (s->deadline_ns && s->deadline_ns <= now && !s->removed) {
            s->deadline_ns = 0;
            s->cb(s->arg, 0);
        }
    sweep(loop, false);
}

int loop_run(struct loop *loop)
{
    while (!loop->stopping)
        step_loop_round(loop);
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}
