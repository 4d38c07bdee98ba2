// Owns the thread, its queue, and the way back to the loop (an eventfd). Called by images.c.
#include "env/file_worker.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct file_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool quit;                           // under lock, as are the two queues
    struct file_work *todo, **todo_tail; // waiting for the thread
    struct file_work *done, **done_tail; // waiting for the loop
    int event_fd;
    struct event *on_done;
};

static void push(struct file_work *w, struct file_work ***tail)
{
    w->next = NULL;
    **tail = w;
    *tail = &w->next;
}

static void *thread_main(void *arg)
{
    struct file_worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->todo && !w->quit)
            pthread_cond_wait(&w->wake, &w->lock);
        struct file_work *work = w->todo;
        if (!work)
            break;
        w->todo = work->next;
        if (!w->todo)
            w->todo_tail = &w->todo;
        pthread_mutex_unlock(&w->lock);
        work->rc = work->run(work);
        pthread_mutex_lock(&w->lock);
        push(work, &w->done_tail);
        eventfd_write(w->event_fd, 1);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void deliver(struct file_worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct file_work *done = w->done;
    w->done = NULL;
    w->done_tail = &w->done;
    pthread_mutex_unlock(&w->lock);
    while (done) {
        struct file_work *next = done->next;
        done->done(done, done->rc); // may free it
        done = next;
    }
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    eventfd_t n;
    eventfd_read(fd, &n);
    deliver(arg);
}

struct file_worker *file_worker_new(struct event_base *base)
{
    struct file_worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->todo_tail = &w->todo;
    w->done_tail = &w->done;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->on_done = w->event_fd >= 0 ? event_new(base, w->event_fd, EV_READ | EV_PERSIST, on_done, w) : NULL;
    if (!w->on_done || event_add(w->on_done, NULL) < 0 ||
        pthread_create(&w->thread, NULL, thread_main, w) != 0)
        goto fail;
    return w;
fail:
    if (w->on_done)
        event_free(w->on_done);
    if (w->event_fd >= 0)
        close(w->event_fd);
    free(w);
    return NULL;
}

void file_worker_free(struct file_worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    deliver(w);
    event_free(w->on_done);
    close(w->event_fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void file_worker_submit(struct file_worker *w, struct file_work *work)
{
    pthread_mutex_lock(&w->lock);
    push(work, &w->todo_tail);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
