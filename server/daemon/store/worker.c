// Owns the worker thread, its two queues and the grouping of commits. Called by store.c; the database calls
// block here and nowhere else.
#include "store/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "common/cleanup.h"

#define GROUP_MAX 64

struct worker {
    struct db *db;
    int event_fd;
    pthread_t thread;
    pthread_mutex_t lock; // guards all below
    pthread_cond_t wake;
    bool stopping;
    struct job_queue todo;
    struct job_queue done;
};

// Waits for jobs and takes all of them; false when there are none and the worker is to end.
static bool take_todo(struct worker *worker, struct job_queue *ret)
{
    pthread_mutex_lock(&worker->lock);
    while (STAILQ_EMPTY(&worker->todo) && !worker->stopping)
        pthread_cond_wait(&worker->wake, &worker->lock);
    STAILQ_CONCAT(ret, &worker->todo);
    pthread_mutex_unlock(&worker->lock);
    return !STAILQ_EMPTY(ret);
}

static void give_back(struct worker *worker, struct job_queue *finished)
{
    pthread_mutex_lock(&worker->lock);
    STAILQ_CONCAT(&worker->done, finished);
    pthread_mutex_unlock(&worker->lock);
    eventfd_write(worker->event_fd, 1); // fails only on a counter of 2^64 - 1, which is readable all the same
}

static void fail(struct store_txn *txn, int rc, const struct err *err)
{
    txn->result = (struct store_result){.rc = rc, .err = *err};
}

// One durable commit for all; if the database fails, each by itself, so that only those fail that must.
static void commit_group(struct db *db, struct store_txn **txns, size_t n)
{
    struct err err;
    int rc = db_commit(db, txns, n, &err);
    if (rc == 0)
        return;
    if (n == 1) {
        fail(txns[0], rc, &err);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        rc = db_commit(db, &txns[i], 1, &err);
        if (rc < 0)
            fail(txns[i], rc, &err);
    }
}

// Takes the transactions at the head of todo, up to the first job of another kind.
static size_t take_group(struct job_queue *todo, struct store_txn **txns)
{
    size_t n = 0;
    struct job *job;
    while (n < GROUP_MAX && (job = STAILQ_FIRST(todo)) && job->kind == JOB_TXN) {
        STAILQ_REMOVE_HEAD(todo, link);
        txns[n++] = (struct store_txn *)job; // job is its first member
    }
    return n;
}

static void perform(struct worker *worker, struct job_queue *todo)
{
    struct store_txn *txns[GROUP_MAX];
    while (!STAILQ_EMPTY(todo)) {
        struct job_queue finished = STAILQ_HEAD_INITIALIZER(finished);
        size_t n = take_group(todo, txns);
        if (n > 0) {
            commit_group(worker->db, txns, n);
            for (size_t i = 0; i < n; i++)
                STAILQ_INSERT_TAIL(&finished, &txns[i]->job, link);
        } else {
            struct job *job = STAILQ_FIRST(todo);
            STAILQ_REMOVE_HEAD(todo, link);
            db_replay(worker->db, (struct replay *)job); // the only other kind
            STAILQ_INSERT_TAIL(&finished, job, link);
        }
        give_back(worker, &finished);
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct job_queue todo = STAILQ_HEAD_INITIALIZER(todo);
    while (take_todo(worker, &todo))
        perform(worker, &todo);
    return NULL;
}

// Signals are for the loop's thread.
static int start_thread(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

int worker_start(struct db *db, int event_fd, struct worker **ret, struct err *err)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return err_errno(err, -ENOMEM, "start the store's worker");
    worker->db = db;
    worker->event_fd = event_fd;
    STAILQ_INIT(&worker->todo);
    STAILQ_INIT(&worker->done);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    int rc = start_thread(worker);
    if (rc < 0) {
        pthread_cond_destroy(&worker->wake);
        pthread_mutex_destroy(&worker->lock);
        free(worker);
        return err_errno(err, rc, "start the store's worker");
    }
    *ret = worker;
    return 0;
}

void worker_submit(struct worker *worker, struct job *job)
{
    pthread_mutex_lock(&worker->lock);
    STAILQ_INSERT_TAIL(&worker->todo, job, link);
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
}

void worker_take_done(struct worker *worker, struct job_queue *done)
{
    pthread_mutex_lock(&worker->lock);
    STAILQ_CONCAT(done, &worker->done);
    pthread_mutex_unlock(&worker->lock);
}

void worker_stop(struct worker *worker, struct job_queue *done)
{
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    STAILQ_CONCAT(done, &worker->done);
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}
