// Tests of transactions and reads (server/daemon/store).
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_new_store_is_empty_at_revision_0(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(store_revision(f->store), 0);
    assert_null(store_get(f->store, "a"));
    assert_null(store_next(f->store, "", NULL));
}

static void a_put_is_visible_once_its_callback_runs(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, "environments/acme/web", "{\"x\":1}"), 0);
    const struct store_entry *e = store_get(f->store, "environments/acme/web");
    assert_non_null(e);
    assert_string_equal(e->value, "{\"x\":1}");
    assert_int_equal(e->len, 7);
    assert_int_equal(e->revision, 1);
    assert_int_equal(e->created, 1);
}

static void a_put_is_not_visible_before_its_callback(void **state)
{
    struct fixture *f = *state;
    struct store_txn *txn = store_txn_new(f->store);
    store_txn_put(txn, "a", "1", 1);
    store_txn_commit(txn, NULL, NULL);
    assert_null(store_get(f->store, "a"));
    assert_int_equal(put(f, "b", "2"), 0); // and so a is done too
    assert_non_null(store_get(f->store, "a"));
}

static void an_overwrite_keeps_the_creating_revision(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "a", "2");
    fixture_reopen(f);
    const struct store_entry *e = store_get(f->store, "a");
    assert_string_equal(e->value, "2");
    assert_int_equal(e->created, 1);
    assert_int_equal(e->revision, 2);
}

static void what_was_committed_survives_reopening(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "b", "");
    fixture_reopen(f);
    assert_int_equal(store_revision(f->store), 2);
    assert_string_equal(store_get(f->store, "a")->value, "1");
    assert_int_equal(store_get(f->store, "b")->len, 0);
}

static void values_keep_every_byte(void **state)
{
    struct fixture *f = *state;
    struct store_txn *txn = store_txn_new(f->store);
    assert_int_equal(store_txn_put(txn, "a", "x\0\xff\ny", 5), 0);
    assert_int_equal(commit(f, txn, NULL), 0);
    fixture_reopen(f);
    assert_int_equal(store_get(f->store, "a")->len, 5);
    assert_memory_equal(store_get(f->store, "a")->value, "x\0\xff\ny", 5);
}

static void all_changes_of_a_transaction_share_one_revision(void **state)
{
    struct fixture *f = *state;
    put(f, "c", "0");
    struct store_txn *txn = store_txn_new(f->store);
    store_txn_put(txn, "a", "1", 1);
    store_txn_put(txn, "b", "1", 1);
    store_txn_delete(txn, "c");
    struct store_result result;
    assert_int_equal(commit(f, txn, &result), 0);
    assert_int_equal(result.revision, 2);
    assert_int_equal(store_get(f->store, "a")->revision, 2);
    assert_int_equal(store_get(f->store, "b")->revision, 2);
    assert_null(store_get(f->store, "c"));
}

static void a_failed_comparison_changes_nothing_and_names_the_key(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "1");
    put(f, "a", "2");
    struct store_txn *txn = store_txn_new(f->store);
    store_txn_put(txn, "b", "x", 1);
    store_txn_expect(txn, "a", 1);
    struct store_result result;
    assert_int_equal(commit(f, txn, &result), -ESTALE);
    assert_int_equal(result.key_revision, 2);
    assert_non_null(strstr(result.err.text, "a is at revision 2, expected 1"));
    assert_null(store_get(f->store, "b"));
    assert_int_equal(store_revision(f->store), 2);
}

static void expecting_revision_0_means_the_key_must_not_exist(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        struct store_txn *txn = store_txn_new(f->store);
        store_txn_expect(txn, "a", 0);
        store_txn_put(txn, "a", "1", 1);
        assert_int_equal(commit(f, txn, NULL), round == 0 ? 0 : -ESTALE);
    }
}

static void deleting_an_absent_key_makes_no_revision(void **state)
{
    struct fixture *f = *state;
    struct store_txn *txn = store_txn_new(f->store);
    store_txn_delete(txn, "nothing");
    assert_int_equal(commit(f, txn, NULL), 0);
    assert_int_equal(store_revision(f->store), 0);
}

static void a_transaction_refuses_bad_operations_and_keeps_the_good(void **state)
{
    struct fixture *f = *state;
    struct store_txn *txn = store_txn_new(f->store);
    char long_key[STORE_KEY_MAX + 2];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    assert_int_equal(store_txn_put(txn, "", "1", 1), -EINVAL);
    assert_int_equal(store_txn_put(txn, long_key, "1", 1), -EINVAL);
    assert_int_equal(store_txn_put(txn, "a", "", STORE_VALUE_MAX + 1), -E2BIG);
    assert_int_equal(store_txn_put(txn, "a", "1", 1), 0);
    assert_int_equal(store_txn_put(txn, "a", "2", 1), -EINVAL);
    assert_int_equal(store_txn_delete(txn, "a"), -EINVAL);
    assert_int_equal(commit(f, txn, NULL), 0);
    assert_string_equal(store_get(f->store, "a")->value, "1");
}

static void a_transaction_takes_a_bounded_number_of_operations(void **state)
{
    struct fixture *f = *state;
    struct store_txn *txn = store_txn_new(f->store);
    for (int i = 0; i < STORE_TXN_MAX; i++)
        assert_int_equal(store_txn_expect(txn, "a", 0), 0);
    assert_int_equal(store_txn_put(txn, "a", "1", 1), -E2BIG);
    store_txn_free(txn);
}

static void a_walk_sees_exactly_the_prefix_in_key_order(void **state)
{
    struct fixture *f = *state;
    const char *keys[] = {"e/b/1", "e/a/2", "e/a/1", "e/a", "f", "e/ab/1", "d"};
    for (size_t i = 0; i < 7; i++)
        put(f, keys[i], "");
    char walked[64] = "";
    for (const struct store_entry *e = store_next(f->store, "e/a/", NULL); e;
         e = store_next(f->store, "e/a/", e->key))
        snprintf(walked + strlen(walked), sizeof walked - strlen(walked), "%s ", e->key);
    assert_string_equal(walked, "e/a/1 e/a/2 ");
    assert_int_equal(store_count(f->store, "e/a/"), 2);
    assert_int_equal(store_count(f->store, "e/"), 5);
    assert_int_equal(store_count(f->store, ""), 7);
    assert_int_equal(store_count(f->store, "x"), 0);
}

static void a_page_continues_after_a_key_that_has_gone(void **state)
{
    struct fixture *f = *state;
    put(f, "e/1", "");
    put(f, "e/3", "");
    assert_string_equal(store_next(f->store, "e/", "e/2")->key, "e/3");
    assert_null(store_next(f->store, "e/", "e/3"));
    assert_string_equal(store_next(f->store, "e/", "a")->key, "e/1"); // before the prefix: from its start
    assert_null(store_next(f->store, "e/", "z"));
}

struct tally {
    size_t n, n_ok;
    uint64_t revisions[200];
};

static void count(void *arg, const struct store_result *result)
{
    struct tally *tally = arg;
    if (result->rc == 0)
        tally->revisions[tally->n_ok++] = result->revision;
    tally->n++;
}

static void transactions_committed_together_conflict_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct tally tally = {0};
    for (int i = 0; i < 200; i++) {
        struct store_txn *txn = store_txn_new(f->store);
        char key[16];
        snprintf(key, sizeof key, "k%d", i / 2); // each key is claimed twice
        store_txn_expect(txn, key, 0);
        store_txn_put(txn, key, "1", 1);
        store_txn_commit(txn, count, &tally);
    }
    run_until(f, &tally.n, 200);
    assert_int_equal(tally.n_ok, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(tally.revisions[i], i + 1);
    assert_int_equal(store_count(f->store, "k"), 100);
}

static void more_than_the_queue_takes_is_refused_not_kept(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5000; i++) {
        struct store_txn *txn = store_txn_new(f->store);
        store_txn_expect(txn, "a", 0);
        store_txn_commit(txn, NULL, NULL);
    }
    struct store_txn *last = store_txn_new(f->store);
    store_txn_put(last, "a", "1", 1);
    assert_int_equal(commit(f, last, NULL), -EBUSY);
    store_txn_commit(store_txn_new(f->store), NULL, NULL);
    while (put(f, "a", "1") == -EBUSY) // until the queue has drained
        event_base_loop(f->base, EVLOOP_ONCE);
    assert_string_equal(store_get(f->store, "a")->value, "1");
}

static void closing_completes_what_was_queued(void **state)
{
    struct fixture *f = *state;
    struct tally tally = {0};
    for (int i = 0; i < 50; i++) {
        struct store_txn *txn = store_txn_new(f->store);
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        store_txn_put(txn, key, "1", 1);
        store_txn_commit(txn, count, &tally);
    }
    store_close(f->store);
    f->store = NULL;
    assert_int_equal(tally.n_ok, 50);
    struct err err;
    assert_int_equal(fixture_open(f, &err), 0);
    assert_int_equal(store_count(f->store, "k"), 50);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_store_is_empty_at_revision_0),
        T(a_put_is_visible_once_its_callback_runs),
        T(a_put_is_not_visible_before_its_callback),
        T(an_overwrite_keeps_the_creating_revision),
        T(what_was_committed_survives_reopening),
        T(values_keep_every_byte),
        T(all_changes_of_a_transaction_share_one_revision),
        T(a_failed_comparison_changes_nothing_and_names_the_key),
        T(expecting_revision_0_means_the_key_must_not_exist),
        T(deleting_an_absent_key_makes_no_revision),
        T(a_transaction_refuses_bad_operations_and_keeps_the_good),
        T(a_transaction_takes_a_bounded_number_of_operations),
        T(a_walk_sees_exactly_the_prefix_in_key_order),
        T(a_page_continues_after_a_key_that_has_gone),
        T(transactions_committed_together_conflict_one_by_one),
        T(more_than_the_queue_takes_is_refused_not_kept),
        T(closing_completes_what_was_queued),
    };
    return cmocka_run_group_tests_name("store/txn", tests, NULL, NULL);
}
