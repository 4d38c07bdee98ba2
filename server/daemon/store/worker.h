// The thread that owns the database. Jobs go in and come back in the same order; transactions that wait
// together are committed together, one fsync for all. Internal to store/.
#pragma once

#include "store/db.h"

struct worker;

// Starts the thread; db is the worker's until worker_stop(). event_fd (stays the caller's) becomes readable
// when jobs have come back.
int worker_start(struct db *db, int event_fd, struct worker **ret, struct err *err);
void worker_submit(struct worker *worker, struct job *job);
// Moves the finished jobs, oldest first, to the end of done.
void worker_take_done(struct worker *worker, struct job_queue *done);
// Finishes what was submitted, ends the thread, moves the rest to done, frees worker.
void worker_stop(struct worker *worker, struct job_queue *done);
