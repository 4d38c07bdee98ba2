// Tests of the guest's log and its token bucket (server/vmm/guest_log.c).
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_log.h"

#define CAPACITY LOGRING_CAPACITY_MIN
#define S        1000000000ull

struct fixture {
    int fd;
    struct guest_log log;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    uint8_t raw[32];
    const struct logring ring = {.capacity = CAPACITY};
    logring_header_write(&ring, raw);
    f->fd = memfd_create("log", MFD_CLOEXEC);
    if (ftruncate(f->fd, LOGRING_HEADER + CAPACITY) < 0 || pwrite(f->fd, raw, sizeof raw, 0) != sizeof raw)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    free(f);
    return 0;
}

static void init(struct fixture *f, uint32_t rate, uint32_t burst)
{
    struct err err;
    assert_int_equal(guest_log_init(&f->log, f->fd, rate, burst, S, &err), 0);
}

static void put(struct fixture *f, const char *text, uint64_t now_ns)
{
    guest_log_write(&f->log, (const uint8_t *)text, strlen(text), now_ns);
}

static struct logring header(struct fixture *f)
{
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    assert_int_equal(pread(f->fd, raw, sizeof raw, 0), sizeof raw);
    assert_null(logring_header_read(raw, &ring));
    return ring;
}

// What a reader of the file finds.
static void assert_text(struct fixture *f, const char *expected)
{
    guest_log_flush(&f->log);
    const struct logring ring = header(f);
    char text[CAPACITY + 1];
    const uint64_t from = logring_oldest(&ring);
    struct logring_span spans[2];
    const size_t n = logring_spans(&ring, from, (size_t)(ring.total - from), spans);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pread(f->fd, text + len, spans[i].len, (off_t)spans[i].file_offset), spans[i].len);
        len += spans[i].len;
    }
    text[len] = '\0';
    assert_string_equal(text, expected);
}

static void what_is_written_can_be_read(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    put(f, "hello ", S);
    put(f, "world\n", S);
    assert_text(f, "hello world\n");
}

static void the_header_follows_at_the_flush(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    assert_false(guest_log_flush(&f->log)); // nothing to say
    put(f, "hello\n", S);
    assert_int_equal(header(f).total, 0);
    assert_true(guest_log_flush(&f->log));
    assert_int_equal(header(f).total, 6);
    assert_false(guest_log_flush(&f->log));
}

static void a_log_goes_on_where_it_ended(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    put(f, "one\n", S);
    guest_log_flush(&f->log);
    init(f, 0, 0);
    put(f, "two\n", S);
    assert_text(f, "one\ntwo\n");
}

static void the_newest_bytes_survive_a_wrap(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    char expected[CAPACITY + 1];
    for (size_t i = 0; i < CAPACITY; i++)
        expected[i] = (char)('a' + i % 26);
    expected[CAPACITY] = '\0';
    put(f, "old text that goes", S);
    put(f, expected, S);
    assert_text(f, expected);
    assert_int_equal(header(f).total, CAPACITY + 18);
}

static void a_write_longer_than_the_ring_keeps_its_end(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    static char big[3 * CAPACITY + 101];
    memset(big, 'x', sizeof big - 1);
    snprintf(big + sizeof big - 5, 5, "end\n");
    put(f, big, S);
    assert_text(f, big + sizeof big - 1 - CAPACITY);
}

static void what_exceeds_the_rate_is_dropped_counted_and_said(void **state)
{
    struct fixture *f = *state;
    init(f, 1000, 300);
    char text[401];
    memset(text, 'a', 400);
    text[399] = '\n';
    text[400] = '\0';
    put(f, text, S); // 300 kept, 100 dropped
    put(f, "lost\n", S);
    put(f, "kept\n", 2 * S);
    char expected[600];
    snprintf(expected, sizeof expected,
             "%.300s\n[envvm: 105 bytes dropped: more than 1000 bytes per second]\nkept\n", text);
    assert_text(f, expected);
    assert_int_equal(header(f).dropped, 105);
}

static void drops_at_the_end_are_said_too(void **state)
{
    struct fixture *f = *state;
    init(f, 1000, 256);
    char text[301];
    memset(text, 'b', 300);
    text[300] = '\0';
    put(f, text, S);
    guest_log_settle(&f->log);
    guest_log_settle(&f->log); // once
    char expected[400];
    snprintf(expected, sizeof expected,
             "%.256s\n[envvm: 44 bytes dropped: more than 1000 bytes per second]\n", text);
    assert_text(f, expected);
}

static void a_note_begins_on_a_line_of_its_own(void **state)
{
    struct fixture *f = *state;
    init(f, 0, 0);
    guest_log_note(&f->log, "one");
    put(f, "half", S);
    guest_log_note(&f->log, "two");
    assert_text(f, "[envvm: one]\nhalf\n[envvm: two]\n");
}

static void a_file_that_is_no_ring_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err;
    assert_int_equal(ftruncate(f->fd, LOGRING_HEADER + CAPACITY - 1), 0);
    assert_int_equal(guest_log_init(&f->log, f->fd, 0, 0, S, &err), -EINVAL);
    assert_string_equal(err.text, "the log is shorter than its header says");
    assert_int_equal(ftruncate(f->fd, 100), 0);
    assert_int_equal(guest_log_init(&f->log, f->fd, 0, 0, S, &err), -EINVAL);
    assert_string_equal(err.text, "the log is no log ring: the file is too short");
    assert_int_equal(ftruncate(f->fd, 0), 0);
    assert_int_equal(ftruncate(f->fd, LOGRING_HEADER + CAPACITY), 0);
    assert_int_equal(guest_log_init(&f->log, f->fd, 0, 0, S, &err), -EINVAL);
    assert_string_equal(err.text, "the log is no log ring: not a log: the magic is missing");
}

// ---- the bucket ----

static void a_bucket_starts_full_and_refills_with_time(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 100, 50, S);
    assert_int_equal(token_bucket_take(&b, 60, S), 50);
    assert_int_equal(token_bucket_take(&b, 1, S), 0);
    assert_int_equal(token_bucket_take(&b, 60, S + S / 10), 10);
    assert_int_equal(token_bucket_take(&b, 60, 10 * S), 50); // never more than the burst
}

static void a_bucket_loses_no_fractions(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 10, 1000, S);
    token_bucket_take(&b, 1000, S);
    size_t got = 0;
    for (uint64_t t = S; t <= 2 * S; t += S / 1000) // a token takes 100 of these steps
        got += token_bucket_take(&b, 1, t);
    assert_int_equal(got, 10);
}

static void a_bucket_without_a_rate_gives_everything(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 0, 1, S);
    assert_int_equal(token_bucket_take(&b, SIZE_MAX, S), SIZE_MAX);
}

static void a_bucket_survives_time_standing_still_for_ages(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, UINT32_MAX, UINT32_MAX, 0);
    assert_int_equal(token_bucket_take(&b, UINT32_MAX, 0), UINT32_MAX);
    assert_int_equal(token_bucket_take(&b, SIZE_MAX, UINT64_MAX), UINT32_MAX);
    assert_int_equal(token_bucket_take(&b, 1, 0), 0); // and going back
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_written_can_be_read),
        CASE(the_header_follows_at_the_flush),
        CASE(a_log_goes_on_where_it_ended),
        CASE(the_newest_bytes_survive_a_wrap),
        CASE(a_write_longer_than_the_ring_keeps_its_end),
        CASE(what_exceeds_the_rate_is_dropped_counted_and_said),
        CASE(drops_at_the_end_are_said_too),
        CASE(a_note_begins_on_a_line_of_its_own),
        CASE(a_file_that_is_no_ring_is_refused),
        cmocka_unit_test(a_bucket_starts_full_and_refills_with_time),
        cmocka_unit_test(a_bucket_loses_no_fractions),
        cmocka_unit_test(a_bucket_without_a_rate_gives_everything),
        cmocka_unit_test(a_bucket_survives_time_standing_still_for_ages),
    };
    return cmocka_run_group_tests_name("vmm/guest_log", tests, NULL, NULL);
}
