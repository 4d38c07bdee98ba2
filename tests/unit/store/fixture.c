// The store's test fixture: see fixture.h.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fixture_open(struct fixture *f, struct err *err)
{
    f->config.path = f->path;
    return store_open_sqlite(f->base, &f->config, &f->store, err);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/envd-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/store.db", f->dir);
    f->base = event_base_new();
    assert_non_null(f->base);
    if (fixture_open(f, &err) < 0)
        fail_msg("%s", err.text);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char wal[128];
    store_close(f->store);
    event_base_free(f->base);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    unlink(wal);
    unlink(f->path);
    rmdir(f->dir);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f)
{
    struct err err;
    store_close(f->store);
    f->store = NULL;
    if (fixture_open(f, &err) < 0)
        fail_msg("%s", err.text);
}

struct waiter {
    struct store_result result;
    size_t n;
};

static void on_result(void *arg, const struct store_result *result)
{
    struct waiter *waiter = arg;
    waiter->result = *result;
    waiter->n++;
}

static void on_timeout(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    *(bool *)arg = true;
}

void run_until(struct fixture *f, const size_t *counter, size_t n)
{
    bool late = false;
    struct event *timer = evtimer_new(f->base, on_timeout, &late);
    evtimer_add(timer, &(struct timeval){.tv_sec = 10});
    while (*counter < n && !late)
        event_base_loop(f->base, EVLOOP_ONCE);
    event_free(timer);
    assert_false(late);
}

int commit(struct fixture *f, struct store_txn *txn, struct store_result *ret)
{
    struct waiter waiter = {.n = 0};
    store_txn_commit(txn, on_result, &waiter);
    assert_int_equal(waiter.n, 0); // never inside the call
    run_until(f, &waiter.n, 1);
    if (ret)
        *ret = waiter.result;
    return waiter.result.rc;
}

int put(struct fixture *f, const char *key, const char *value)
{
    struct store_txn *txn = store_txn_new(f->store);
    assert_int_equal(store_txn_put(txn, key, value, strlen(value)), 0);
    return commit(f, txn, NULL);
}
