// Tests of the journal as its callers see it: order, groups, forgetting, segments that are used again,
// cleaning, limits, and a disk that fails (ring_write() is wrapped for that).
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "failing_writes.h"
#include "journal/ring.h"

static struct fixture *f;

// Syncs that fail, after a write that did not.
static unsigned n_unsynced;
void __real_ring_sync(struct ring *r, struct ring_task *task, int fd, bool data_only);
void __wrap_ring_sync(struct ring *r, struct ring_task *task, int fd, bool data_only);
void __wrap_ring_sync(struct ring *r, struct ring_task *task, int fd, bool data_only)
{
    bool fail = n_unsynced > 0;
    n_unsynced -= fail;
    __real_ring_sync(r, task, fail ? -1 : fd, data_only);
}

static int setup(void **state)
{
    (void)state;
    f = fixture_new();
    n_failing_writes = n_unsynced = 0;
    fixture_open(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(f);
    return 0;
}

static void append_all(uint64_t from, uint64_t to, size_t len)
{
    for (uint64_t i = from; i <= to; i++)
        assert_int_equal(fixture_append(f, i, len), 0);
    assert_true(fixture_wait(f, f->done + f->failed + to - from + 1, 10000));
}

static void assert_live(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++) {
        const struct found *found = fixture_find(f, i);
        if (!found)
            fail_msg("record %u is lost", (unsigned)i);
        assert_true(found->intact);
    }
}

static void records_come_back_in_order_with_their_bytes(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(fixture_append(f, i, 8 + i * 13), 0);
    assert_true(fixture_wait(f, 100, 5000));
    assert_int_equal(f->done, 100);
    assert_true(f->in_order);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(f->found[i].number, i + 1);
        assert_int_equal(f->found[i].type, 7);
        assert_true(f->found[i].intact);
        assert_true(i == 0 || f->found[i].seq > f->found[i - 1].seq);
    }
    assert_int_equal(f->damages, 0);
}

static void appends_under_way_at_once_share_syncs(void **state)
{
    (void)state;
    append_all(1, 1000, 24);
    struct journal_stats s = fixture_stats(f);
    assert_int_equal(s.appends, 1000);
    assert_in_range(s.syncs, 1, 50);
}

static void nothing_is_said_within_the_append(void **state)
{
    (void)state;
    assert_int_equal(fixture_append(f, 1, 64), 0);
    assert_int_equal(f->done, 0);
    assert_true(fixture_wait(f, 1, 5000));
    assert_int_equal(f->done, 1);
}

static void closing_makes_what_was_appended_durable(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 50; i++)
        assert_int_equal(fixture_append(f, i, 100), 0);
    fixture_close(f);
    assert_int_equal(f->done, 50);
    fixture_open(f);
    assert_live(1, 50);
}

static void what_was_forgotten_is_not_live_and_is_told_as_dead(void **state)
{
    (void)state;
    append_all(1, 20, 40);
    for (uint64_t i = 2; i <= 20; i += 2)
        fixture_forget(f, i);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 10);
    assert_int_equal(f->n_found, 20);
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(fixture_find(f, i) != NULL, i % 2 == 1);
}

static void forgetting_becomes_durable_without_anybody_appending(void **state)
{
    (void)state;
    append_all(1, 2, 40);
    uint64_t syncs = fixture_stats(f).syncs;
    fixture_forget(f, 1);
    fixture_run(f, 100);
    assert_int_equal(fixture_stats(f).syncs, syncs + 1);
}

static void a_record_can_be_forgotten_before_it_is_durable(void **state)
{
    (void)state;
    assert_int_equal(fixture_append(f, 1, 40), 0);
    fixture_forget(f, 1);
    assert_true(fixture_wait(f, 1, 5000));
    fixture_reopen(f);
    assert_int_equal(f->n_live, 0);
}

static void seqs_are_never_used_again(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (unsigned round = 1; round <= 6; round++) {
        append_all(round, round, 40);
        assert_true(f->seqs[round] > last);
        last = f->seqs[round];
        fixture_forget(f, round);
        fixture_reopen(f);
    }
}

static void a_record_that_fits_no_segment_is_refused(void **state)
{
    (void)state;
    static uint8_t large[SEGMENT];
    struct iovec part = {large, journal_record_max(f->journal) + 1};
    assert_int_equal(journal_append(f->journal, 1, &part, 1, NULL, NULL, NULL), -E2BIG);
    part.iov_len--;
    assert_int_equal(journal_append(f->journal, 1, &part, 1, NULL, NULL, NULL), 0);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 1);
}

static void segments_are_used_again_and_nothing_old_is_read_in_them(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (unsigned round = 0; round < 40; round++) {
        append_all(n + 1, n + 100, 300 + round * 7);
        for (uint64_t i = n + 1; i <= n + 100; i++)
            if (i % 100 != 0)
                fixture_forget(f, i);
        n += 100;
    }
    struct journal_stats s = fixture_stats(f);
    assert_true(s.cleaned >= 5);
    assert_in_range(s.segments, 4, 14);
    fixture_reopen(f);
    assert_int_equal(f->damages, 0);
    assert_int_equal(f->n_live, 40);
    for (uint64_t i = 100; i <= n; i += 100)
        assert_live(i, i);
}

// A queue: the oldest goes.
static void cleaning_under_load_keeps_within_bytes_max(void **state)
{
    (void)state;
    f->config.bytes_max = 24 * SEGMENT;
    fixture_reopen(f);
    uint64_t n = 0, oldest = 1;
    for (unsigned round = 0; round < 400; round++) {
        append_all(n + 1, n + 20, 700);
        n += 20;
        for (; n - oldest > 600; oldest++)
            fixture_forget(f, oldest);
        assert_true(fixture_stats(f).bytes <= f->config.bytes_max);
    }
    assert_int_equal(f->failed, 0);
    assert_true(fixture_stats(f).copied_bytes < 2 * n * 700);
    fixture_reopen(f);
    assert_int_equal(f->n_live, n - oldest + 1);
    assert_live(oldest, n);
}

static void near_the_limit_appends_wait_for_cleaning(void **state)
{
    (void)state;
    f->config.bytes_max = 8 * SEGMENT;
    fixture_reopen(f);
    uint64_t n = 0;
    for (unsigned round = 0; round < 400; round++) {
        append_all(n + 1, n + 40, 700);
        for (uint64_t i = n + 1; i <= n + 40; i++)
            fixture_forget(f, i);
        n += 40;
    }
    assert_int_equal(f->failed, 0);
    assert_true(fixture_stats(f).cleaned > 100);
}

static void long_lived_records_survive_many_cleanings(void **state)
{
    (void)state;
    append_all(1, 30, 500);
    for (uint64_t n = 30; n < 9030; n += 30) {
        append_all(n + 1, n + 30, 900);
        for (uint64_t i = n + 1; i <= n + 30; i++)
            fixture_forget(f, i);
    }
    struct journal_stats s = fixture_stats(f);
    assert_true(s.cleaned > 20);
    assert_true(s.copied_bytes > 30u * 500);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 30);
    assert_live(1, 30);
}

static void at_bytes_max_appends_are_refused_and_forgetting_heals(void **state)
{
    (void)state;
    f->config.bytes_max = 8 * SEGMENT;
    fixture_reopen(f);
    uint64_t n = 0;
    while (f->state == JOURNAL_WRITABLE && n < 2000)
        if (fixture_append(f, ++n, 2000) < 0 || !fixture_wait(f, n, 5000))
            break;
    assert_int_equal(f->state, JOURNAL_FULL);
    assert_int_equal(f->last_rc, -ENOSPC);
    assert_int_equal(fixture_append(f, n + 1, 2000), -ENOSPC);
    assert_non_null(strstr(fixture_stats(f).why, "limit"));
    uint64_t kept = f->done;
    for (uint64_t i = 1; i <= kept / 2; i++)
        fixture_forget(f, i);
    assert_true(fixture_wait_state(f, JOURNAL_WRITABLE, 5000));
    f->done = f->failed = 0;
    append_all(n + 2, n + 11, 2000);
    assert_int_equal(f->failed, 0);
    assert_true(fixture_stats(f).bytes <= f->config.bytes_max);
    fixture_reopen(f);
    assert_int_equal(f->n_live, kept - kept / 2 + 10);
    assert_live(kept / 2 + 1, kept);
}

static void a_full_journal_opens_and_gives_what_it_holds(void **state)
{
    (void)state;
    f->config.bytes_max = 4 * SEGMENT;
    fixture_reopen(f);
    uint64_t n = 0;
    while (fixture_append(f, ++n, 1000) == 0 && fixture_wait(f, n, 5000) && n < 2000) {
    }
    uint64_t kept = f->done;
    for (unsigned i = 0; i < 20; i++) {
        fixture_reopen(f);
        assert_int_equal(f->n_live, kept);
        fixture_run(f, 5);
    }
    for (uint64_t i = 1; i <= kept; i++)
        fixture_forget(f, i);
    f->state = JOURNAL_FULL;
    for (unsigned i = 0; i < 200 && fixture_append(f, n + 1, 1000) < 0; i++)
        fixture_run(f, 20);
    assert_true(fixture_wait(f, 1, 5000));
    assert_int_equal(f->failed, 0);
}

static uint64_t reappended_from;

static void reappend(struct fixture *fx, const struct journal_record *r)
{
    if (!r)
        return;
    uint64_t number;
    memcpy(&number, r->data, sizeof number);
    if (number <= 10 && number >= reappended_from) {
        reappended_from = number + 1;
        assert_int_equal(fixture_append(fx, 1000 + number, 64), 0);
    }
}

static void what_is_appended_when_the_dead_are_dropped_survives(void **state)
{
    (void)state;
    reappended_from = 1;
    f->on_dropped = reappend;
    append_all(1, 10, 400);
    for (uint64_t i = 1; i <= 10; i++)
        fixture_forget(f, i);
    for (uint64_t n = 100; n < 900; n += 20) {
        append_all(n + 2000, n + 2019, 900);
        for (uint64_t i = n; i < n + 20; i++)
            fixture_forget(f, i + 2000);
    }
    fixture_reopen(f);
    assert_int_equal(f->n_live, 10);
    assert_live(1001, 1010);
}

static void a_write_that_fails_once_is_done_again_elsewhere(void **state)
{
    (void)state;
    append_all(1, 5, 100);
    n_failing_writes = 1;
    append_all(6, 10, 100);
    assert_int_equal(f->done, 10);
    assert_int_equal(f->state, JOURNAL_WRITABLE);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 10);
    assert_live(1, 10);
    assert_int_equal(f->damages, 0);
}

static void after_a_failed_sync_another_segment_is_written(void **state)
{
    (void)state;
    append_all(1, 5, 100);
    fixture_run(f, 50); // whatever is made ready is
    n_unsynced = 1;
    append_all(6, 10, 100);
    assert_int_equal(f->done, 10);
    append_all(11, 15, 100);
    fixture_reopen(f);
    assert_int_equal(f->n_live, 15);
    assert_int_equal(f->damages, 0);
}

static void a_disk_that_fails_is_said_and_heals_by_itself(void **state)
{
    (void)state;
    append_all(1, 5, 100);
    n_failing_writes = 3; // the write, its repetition, and a probe
    append_all(6, 10, 100);
    assert_int_equal(f->failed, 5);
    assert_int_equal(f->last_rc, -EIO);
    assert_int_equal(f->state, JOURNAL_FAILING);
    assert_int_equal(fixture_append(f, 11, 100), -EIO);
    assert_true(fixture_wait_state(f, JOURNAL_WRITABLE, 5000));
    append_all(12, 15, 100);
    assert_int_equal(f->failed, 5);
    fixture_reopen(f);
    assert_live(1, 5);
    assert_live(12, 15);
    assert_null(fixture_find(f, 11));
    assert_int_equal(f->damages, 0);
}

static void append_another(struct fixture *fx, uint64_t number, int rc)
{
    (void)rc;
    if (number < 500)
        assert_int_equal(fixture_append(fx, number + 1, 64), 0);
}

static void appending_from_a_completion_goes_on(void **state)
{
    (void)state;
    f->on_done = append_another;
    assert_int_equal(fixture_append(f, 1, 64), 0);
    assert_true(fixture_wait(f, 500, 10000));
    assert_int_equal(f->done, 500);
    assert_true(f->in_order);
}

// Not a test: how many appends a second there are. Only when asked for.
static void measure(void **state)
{
    (void)state;
    if (!getenv("JOURNAL_MEASURE")) {
        skip();
        return;
    }
    f->config.segment_bytes = 0;
    f->config.bytes_max = 0;
    fixture_reopen(f);
    fixture_run(f, 500);
    for (unsigned in_flight = 1; in_flight <= 65536; in_flight *= 16) {
        uint64_t begin = io_monotonic_ns(), n = 0;
        struct journal_stats before = fixture_stats(f);
        while (io_monotonic_ns() - begin < 2000000000ull) {
            uint64_t from = f->done;
            for (unsigned i = 0; i < in_flight; i++)
                assert_int_equal(fixture_append(f, n + i, 256), 0);
            assert_true(fixture_wait(f, from + in_flight, 10000));
            for (unsigned i = 0; i < in_flight; i++)
                fixture_forget(f, n + i);
            n = (n + in_flight) % 65536;
        }
        double s = (double)(io_monotonic_ns() - begin) / 1e9;
        struct journal_stats after = fixture_stats(f);
        fprintf(stderr, "%6u in flight: %.0f appends/s, %.0f syncs/s, %llu cleaned\n", in_flight,
                (double)(after.appends - before.appends) / s, (double)(after.syncs - before.syncs) / s,
                (unsigned long long)(after.cleaned - before.cleaned));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_come_back_in_order_with_their_bytes),
        TEST(appends_under_way_at_once_share_syncs),
        TEST(nothing_is_said_within_the_append),
        TEST(closing_makes_what_was_appended_durable),
        TEST(what_was_forgotten_is_not_live_and_is_told_as_dead),
        TEST(forgetting_becomes_durable_without_anybody_appending),
        TEST(a_record_can_be_forgotten_before_it_is_durable),
        TEST(seqs_are_never_used_again),
        TEST(a_record_that_fits_no_segment_is_refused),
        TEST(segments_are_used_again_and_nothing_old_is_read_in_them),
        TEST(cleaning_under_load_keeps_within_bytes_max),
        TEST(near_the_limit_appends_wait_for_cleaning),
        TEST(long_lived_records_survive_many_cleanings),
        TEST(at_bytes_max_appends_are_refused_and_forgetting_heals),
        TEST(a_full_journal_opens_and_gives_what_it_holds),
        TEST(what_is_appended_when_the_dead_are_dropped_survives),
        TEST(a_write_that_fails_once_is_done_again_elsewhere),
        TEST(after_a_failed_sync_another_segment_is_written),
        TEST(a_disk_that_fails_is_said_and_heals_by_itself),
        TEST(appending_from_a_completion_goes_on),
        TEST(measure),
    };
    return cmocka_run_group_tests_name("journal/journal", tests, NULL, NULL);
}
