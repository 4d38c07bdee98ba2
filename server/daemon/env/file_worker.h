// One thread for file work that would block the event loop (fsync of uploads). Called by images.c; knows no
// file.
#pragma once

struct event_base;
struct file_worker;

// Embedded by the caller, who keeps it until done was called.
struct file_work {
    struct file_work *next;
    int (*run)(struct file_work *work);           // on the thread; touches nothing but what work belongs to
    void (*done)(struct file_work *work, int rc); // afterwards, from the loop; rc is what run returned
    int rc;
};

// NULL: no thread, no descriptor or no memory.
struct file_worker *file_worker_new(struct event_base *base);
// Waits for the work that is queued; done callbacks of it run within this call. Accepts NULL.
void file_worker_free(struct file_worker *w);
// In order, one at a time.
void file_worker_submit(struct file_worker *w, struct file_work *work);
