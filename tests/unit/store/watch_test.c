// Tests of watches: replay, live events, compaction (server/daemon/store).
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What a watch was told, as text: "+key=value@revision" for a put, "-key@revision" for a delete, "," for
// more.
struct record {
    size_t n;
    size_t n_synced;
    char text[4096];
    struct store_watch *close_after_first;
};

static void note(void *arg, const struct store_event *event)
{
    struct record *r = arg;
    char *at = r->text + strlen(r->text);
    size_t room = sizeof r->text - strlen(r->text);
    unsigned long long revision = event->revision;
    switch (event->type) {
    case STORE_EVENT_PUT:
        snprintf(at, room, "+%s=%s@%llu%s ", event->key, event->value, revision, event->more ? "," : "");
        break;
    case STORE_EVENT_DELETE:
        snprintf(at, room, "-%s@%llu%s ", event->key, revision, event->more ? "," : "");
        break;
    case STORE_EVENT_SYNCED:
        snprintf(at, room, "synced@%llu ", revision);
        r->n_synced++;
        break;
    case STORE_EVENT_COMPACTED:
        snprintf(at, room, "compacted ");
        break;
    case STORE_EVENT_FAILED:
        snprintf(at, room, "failed ");
        break;
    }
    r->n++;
    if (r->close_after_first) {
        store_watch_close(r->close_after_first);
        r->close_after_first = NULL;
    }
}

static void a_watch_replays_then_says_synced_then_is_live(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    put(f, "a/1", "x");
    put(f, "b/1", "x");
    put(f, "a/2", "y");
    struct store_watch *w = store_watch_open(f->store, "a/", 1, note, &r);
    assert_int_equal(r.n, 0);
    run_until(f, &r.n, 2);
    put(f, "a/1", "z");
    put(f, "b/2", "z");
    assert_string_equal(r.text, "+a/2=y@3 synced@3 +a/1=z@4 ");
    store_watch_close(w);
}

static void a_watch_loses_and_repeats_nothing_while_commits_are_under_way(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    put(f, "a", "0");
    for (int i = 1; i <= 20; i++) {
        struct store_txn *txn = store_txn_new(f->store);
        char value[8];
        snprintf(value, sizeof value, "%d", i);
        store_txn_put(txn, "a", value, strlen(value));
        store_txn_commit(txn, NULL, NULL);
        if (i == 10)
            store_watch_open(f->store, "", 0, note, &r);
    }
    put(f, "end", "");
    run_until(f, &r.n_synced, 1);
    char expected[4096] = "", got[4096] = "";
    for (int i = 0; i <= 20; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "+a=%d@%d ", i, i + 1);
    snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "+end=@22 ");
    char *synced = strstr(r.text, "synced@");
    assert_non_null(synced);
    snprintf(got, sizeof got, "%.*s%s", (int)(synced - r.text), r.text, strchr(synced, ' ') + 1);
    assert_string_equal(got, expected);
}

static void history_longer_than_a_batch_is_replayed_whole(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    for (int i = 0; i < 700; i++) {
        struct store_txn *txn = store_txn_new(f->store);
        store_txn_put(txn, "k", "", 0);
        store_txn_put(txn, "l", "", 0);
        store_txn_commit(txn, NULL, NULL);
    }
    put(f, "end", "");
    store_watch_open(f->store, "", 0, note, &r);
    run_until(f, &r.n_synced, 1);
    assert_int_equal(r.n, 1400 + 1 + 1);
}

static void deletes_and_transactions_are_told_as_such(void **state)
{
    struct fixture *f = *state;
    struct record r = {0}, again = {0};
    put(f, "a", "1");
    store_watch_open(f->store, "", 1, note, &r);
    run_until(f, &r.n_synced, 1);
    struct store_txn *txn = store_txn_new(f->store);
    store_txn_delete(txn, "a");
    store_txn_put(txn, "b", "2", 1);
    store_txn_delete(txn, "absent");
    commit(f, txn, NULL);
    assert_string_equal(r.text, "synced@1 -a@2, +b=2@2 ");
    store_watch_open(f->store, "", 1, note, &again);
    run_until(f, &again.n_synced, 1);
    assert_string_equal(again.text, "-a@2, +b=2@2 synced@2 ");
}

static void a_watch_from_forgotten_history_says_compacted(void **state)
{
    struct fixture *f = *state;
    struct record r = {0}, kept = {0};
    f->config.history_revisions = 16;
    fixture_reopen(f);
    for (int i = 0; i < 40; i++)
        put(f, "a", "1");
    store_watch_open(f->store, "", 1, note, &r);
    run_until(f, &r.n, 1);
    assert_string_equal(r.text, "compacted ");
    store_watch_open(f->store, "", 30, note, &kept);
    run_until(f, &kept.n_synced, 1);
    assert_int_equal(kept.n, 11);
}

static void history_is_bounded_by_bytes_too(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    f->config.history_bytes = 10000;
    fixture_reopen(f);
    char value[2000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 20; i++)
        put(f, "a", value);
    fixture_reopen(f); // what was kept is read back
    store_watch_open(f->store, "", 1, note, &r);
    run_until(f, &r.n, 1);
    assert_string_equal(r.text, "compacted ");
    assert_int_equal(store_revision(f->store), 20);
}

static void a_watch_from_the_future_says_compacted(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    store_watch_open(f->store, "", 5, note, &r);
    run_until(f, &r.n, 1);
    assert_string_equal(r.text, "compacted ");
}

static void a_watch_may_be_closed_by_its_own_callback(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    put(f, "a", "1");
    put(f, "a", "2");
    r.close_after_first = store_watch_open(f->store, "", 0, note, &r);
    run_until(f, &r.n, 1);
    put(f, "a", "3");
    assert_string_equal(r.text, "+a=1@1 ");
}

static void a_watch_closed_during_its_replay_is_not_called(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    put(f, "a", "1");
    struct store_watch *w = store_watch_open(f->store, "", 0, note, &r);
    store_watch_close(w);
    put(f, "a", "2");
    assert_int_equal(r.n, 0);
}

struct order {
    struct fixture *f;
    size_t n_events, n_events_at_commit, n_commits;
};

static void count_event(void *arg, const struct store_event *event)
{
    (void)event;
    ((struct order *)arg)->n_events++;
}

static void on_commit(void *arg, const struct store_result *result)
{
    struct order *order = arg;
    assert_int_equal(result->rc, 0);
    order->n_events_at_commit = order->n_events;
    order->n_commits++;
}

static void live_events_come_before_the_commits_own_callback(void **state)
{
    struct order order = {.f = *state};
    store_watch_open(order.f->store, "", 0, count_event, &order);
    run_until(order.f, &order.n_events, 1); // synced
    struct store_txn *txn = store_txn_new(order.f->store);
    store_txn_put(txn, "a", "1", 1);
    store_txn_commit(txn, on_commit, &order);
    run_until(order.f, &order.n_commits, 1);
    assert_int_equal(order.n_events_at_commit, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_watch_replays_then_says_synced_then_is_live),
        T(a_watch_loses_and_repeats_nothing_while_commits_are_under_way),
        T(history_longer_than_a_batch_is_replayed_whole),
        T(deletes_and_transactions_are_told_as_such),
        T(a_watch_from_forgotten_history_says_compacted),
        T(history_is_bounded_by_bytes_too),
        T(a_watch_from_the_future_says_compacted),
        T(a_watch_may_be_closed_by_its_own_callback),
        T(a_watch_closed_during_its_replay_is_not_called),
        T(live_events_come_before_the_commits_own_callback),
    };
    return cmocka_run_group_tests_name("store/watch", tests, NULL, NULL);
}
