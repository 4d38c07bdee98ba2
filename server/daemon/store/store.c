// Owns the loop's side of the store: the view, the watches, and what happens when jobs come back from the
// worker. Called by the daemon's parts through store.h; the disk is behind worker.h. A back end is what runs
// jobs in order and gives them back in order: another one replaces the worker, not this file.
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "store/view.h"
#include "store/worker.h"

#define PENDING_MAX 4096 // transactions on their way; more are refused with -EBUSY

struct store_watch {
    struct store_watch *next;
    struct store *store;
    uint64_t id;    // what replays carry: the watch may be closed before they come back
    bool live;      // gets events as they happen; else a replay is under way, or it has ended
    bool closed;    // freed when no callback runs
    uint64_t since; // everything up to here was delivered
    store_watch_cb *cb;
    void *arg;
    char prefix[STORE_KEY_MAX + 1];
};

struct store {
    struct db *db;
    struct worker *worker; // NULL once closing
    struct event *wake;
    int event_fd;
    struct view view;
    uint64_t revision;
    size_t n_pending; // transactions with the worker
    size_t n_puts;    // puts in them: the view has room for as many
    struct job_queue done;
    uint64_t last_watch_id;
    bool delivering; // watches are being called: closed ones stay in the list
    struct store_watch *watches;
};

// --- watches ---

static void deliver(struct store_watch *watch, const struct store_event *event)
{
    if (!watch->closed)
        watch->cb(watch->arg, event);
}

static void sweep_closed(struct store *store)
{
    struct store_watch **at = &store->watches;
    while (*at) {
        struct store_watch *watch = *at;
        if (!watch->closed) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        free(watch);
    }
}

static bool watches_key(const struct store_watch *watch, const char *key)
{
    return strncmp(key, watch->prefix, strlen(watch->prefix)) == 0;
}

static struct store_watch *find_watch(struct store *store, uint64_t id)
{
    for (struct store_watch *watch = store->watches; watch; watch = watch->next)
        if (watch->id == id && !watch->closed)
            return watch;
    return NULL;
}

static int request_replay(struct store_watch *watch)
{
    struct replay *replay = calloc(1, sizeof *replay);
    if (!replay)
        return -ENOMEM;
    replay->job.kind = JOB_REPLAY;
    replay->watch_id = watch->id;
    replay->since = watch->since;
    memcpy(replay->prefix, watch->prefix, sizeof replay->prefix);
    worker_submit(watch->store->worker,
                  &replay->job); // comes back in on_wake(): no leak, whatever -fanalyzer says
    return 0;
}

static void end_watch(struct store_watch *watch, const struct replay *replay)
{
    bool compacted = replay && replay->rc == -ESTALE;
    if (!compacted)
        log_error(NULL, "a watch of %s ends: %s", watch->prefix, replay ? replay->err.text : "out of memory");
    deliver(watch, &(struct store_event){.type = compacted ? STORE_EVENT_COMPACTED : STORE_EVENT_FAILED,
                                         .revision = watch->store->revision});
}

static void deliver_replayed(struct store_watch *watch, const struct replay *replay)
{
    for (size_t i = 0; i < replay->n; i++) {
        const struct replayed *r = &replay->events[i];
        const struct store_entry *entry = &r->entry->pub;
        deliver(watch, &(struct store_event){.type = r->is_delete ? STORE_EVENT_DELETE : STORE_EVENT_PUT,
                                             .revision = r->revision,
                                             .more = i + 1 < replay->n && r[1].revision == r->revision,
                                             .key = entry->key,
                                             .value = r->is_delete ? NULL : entry->value,
                                             .len = entry->len});
    }
}

static void on_replayed(struct store *store, struct replay *replay)
{
    struct store_watch *watch = find_watch(store, replay->watch_id);
    if (!watch || !store->worker) // closed meanwhile, the watch or the store
        return;
    if (replay->rc < 0) {
        end_watch(watch, replay);
        return;
    }
    deliver_replayed(watch, replay);
    watch->since = replay->until;
    if (replay->caught_up) {
        watch->live = true;
        deliver(watch, &(struct store_event){.type = STORE_EVENT_SYNCED, .revision = replay->until});
    } else if (request_replay(watch) < 0) {
        end_watch(watch, NULL);
    }
}

struct store_watch *store_watch_open(struct store *store, const char *prefix, uint64_t since,
                                     store_watch_cb *cb, void *arg)
{
    size_t len = strnlen(prefix, STORE_KEY_MAX + 1);
    struct store_watch *watch = len <= STORE_KEY_MAX ? calloc(1, sizeof *watch) : NULL;
    if (!watch)
        return NULL;
    *watch = (struct store_watch){
        .store = store, .id = ++store->last_watch_id, .since = since, .cb = cb, .arg = arg};
    memcpy(watch->prefix, prefix, len);
    if (!store->worker || request_replay(watch) < 0) {
        free(watch);
        return NULL;
    }
    watch->next = store->watches;
    store->watches = watch;
    return watch;
}

void store_watch_close(struct store_watch *watch)
{
    if (!watch)
        return;
    watch->closed = true;
    if (!watch->store->delivering)
        sweep_closed(watch->store);
}

// --- transactions ---

// Whether a later operation of txn changes a key under the watch's prefix.
static bool more_for(const struct store_watch *watch, const struct store_txn *txn, size_t i)
{
    for (i++; i < txn->n_ops; i++)
        if (txn->ops[i].type != OP_EXPECT && watches_key(watch, txn->ops[i].entry->pub.key))
            return true;
    return false;
}

static void announce(struct store *store, const struct store_txn *txn, size_t i)
{
    const struct store_op *op = &txn->ops[i];
    const struct store_entry *entry = &op->entry->pub;
    bool is_put = op->type == OP_PUT;
    for (struct store_watch *watch = store->watches; watch; watch = watch->next) {
        if (!watch->live || !watches_key(watch, entry->key))
            continue;
        deliver(watch, &(struct store_event){.type = is_put ? STORE_EVENT_PUT : STORE_EVENT_DELETE,
                                             .revision = store->revision,
                                             .more = more_for(watch, txn, i),
                                             .key = entry->key,
                                             .value = is_put ? entry->value : NULL,
                                             .len = entry->len});
    }
}

// Moves what was committed into the view. A delete of an absent key becomes OP_EXPECT: nothing to announce.
static void apply_to_view(struct store *store, struct store_txn *txn, struct entry **replaced)
{
    for (size_t i = 0; i < txn->n_ops; i++) {
        struct store_op *op = &txn->ops[i];
        if (op->type == OP_PUT) {
            op->entry->pub.revision = op->entry->pub.created = store->revision;
            replaced[i] = view_put(&store->view, op->entry);
            if (replaced[i])
                op->entry->pub.created = replaced[i]->pub.created;
        } else if (op->type == OP_DELETE) {
            replaced[i] = view_remove(&store->view, op->entry->pub.key);
            if (!replaced[i])
                op->type = OP_EXPECT;
        }
    }
}

static void on_committed(struct store *store, struct store_txn *txn)
{
    struct entry *replaced[STORE_TXN_MAX] = {NULL};
    store->revision = txn->result.revision;
    apply_to_view(store, txn, replaced);
    for (size_t i = 0; i < txn->n_ops; i++)
        if (txn->ops[i].type != OP_EXPECT)
            announce(store, txn, i);
    for (size_t i = 0; i < txn->n_ops; i++) {
        free(replaced[i]);
        if (txn->ops[i].type == OP_PUT)
            txn->ops[i].entry = NULL; // the view's now
    }
}

static size_t count_puts(const struct store_txn *txn)
{
    size_t n = 0;
    for (size_t i = 0; i < txn->n_ops; i++)
        n += txn->ops[i].type == OP_PUT;
    return n;
}

static void on_txn_done(struct store *store, struct store_txn *txn)
{
    store->n_pending--;
    store->n_puts -= count_puts(txn);
    if (txn->result.rc == 0)
        on_committed(store, txn);
    if (txn->cb)
        txn->cb(txn->arg, &txn->result);
    store_txn_free(txn);
}

// Comes back through the loop like any other, without having been to the disk.
static void refuse(struct store *store, struct store_txn *txn, int rc, const char *why)
{
    txn->result.rc = err_set(&txn->result.err, rc, "%s", why);
    STAILQ_INSERT_TAIL(&store->done, &txn->job, link);
    eventfd_write(store->event_fd, 1);
}

void store_txn_commit(struct store_txn *txn, store_commit_cb *cb, void *arg)
{
    struct store *store = txn->store;
    txn->cb = cb;
    txn->arg = arg;
    store->n_pending++;
    store->n_puts += count_puts(txn);
    if (!store->worker)
        refuse(store, txn, -ECANCELED, "the store is closing");
    else if (store->n_pending > PENDING_MAX)
        refuse(store, txn, -EBUSY, "too many changes are waiting for the disk: try again");
    else if (view_reserve(&store->view, store->n_puts) < 0)
        refuse(store, txn, -ENOMEM, "out of memory");
    else
        worker_submit(store->worker, &txn->job);
}

// --- jobs coming back, opening and closing ---

static void complete(struct store *store)
{
    struct job *job;
    store->delivering = true;
    while ((job = STAILQ_FIRST(&store->done))) {
        STAILQ_REMOVE_HEAD(&store->done, link);
        if (job->kind == JOB_TXN) {
            on_txn_done(store, (struct store_txn *)job);
        } else {
            on_replayed(store, (struct replay *)job);
            replay_free((struct replay *)job);
        }
    }
    store->delivering = false;
    sweep_closed(store);
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
    (void)events;
    struct store *store = arg;
    eventfd_t ignored;
    eventfd_read(fd, &ignored);
    worker_take_done(store->worker, &store->done);
    complete(store);
}

static int take_loaded(void *arg, struct entry *entry)
{
    struct store *store = arg;
    if (view_reserve(&store->view, 1) < 0) {
        free(entry);
        return -ENOMEM;
    }
    view_put(&store->view, entry); // in key order and without duplicates: an append
    return 0;
}

static int set_up(struct store *store, struct event_base *base, struct err *err)
{
    int rc = db_load(store->db, take_loaded, store, err);
    if (rc < 0)
        return rc;
    store->revision = db_revision(store->db);
    store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store->event_fd < 0)
        return err_errno(err, -errno, "open the store: eventfd");
    store->wake = event_new(base, store->event_fd, EV_READ | EV_PERSIST, on_wake, store);
    if (!store->wake || event_add(store->wake, NULL) < 0)
        return err_errno(err, -ENOMEM, "open the store");
    return worker_start(store->db, store->event_fd, &store->worker, err);
}

int store_open_sqlite(struct event_base *base, const struct store_sqlite_config *config, struct store **ret,
                      struct err *err)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return err_errno(err, -ENOMEM, "open the store");
    store->event_fd = -1;
    STAILQ_INIT(&store->done);
    int rc = db_open(config, &store->db, err);
    if (rc == 0)
        rc = set_up(store, base, err);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *ret = store;
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    if (store->worker)
        worker_stop(take_ptr(store->worker), &store->done);
    complete(store);
    while (store->watches) {
        struct store_watch *watch = store->watches;
        store->watches = watch->next;
        free(watch);
    }
    db_close(store->db);
    if (store->wake)
        event_free(store->wake);
    if (store->event_fd >= 0)
        close(store->event_fd);
    view_done(&store->view);
    free(store);
}

uint64_t store_revision(const struct store *store)
{
    return store->revision;
}

const struct store_entry *store_get(const struct store *store, const char *key)
{
    const struct entry *entry = view_find(&store->view, key);
    return entry ? &entry->pub : NULL;
}

const struct store_entry *store_next(const struct store *store, const char *prefix, const char *after)
{
    return view_next(&store->view, prefix, after);
}

size_t store_count(const struct store *store, const char *prefix)
{
    return view_count(&store->view, prefix);
}
