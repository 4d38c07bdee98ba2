// Tests of what the journal recovers from files that are torn, flipped, stale or gone: what it gives back is
// a prefix of what was promised, or it says what was lost; it never invents a record.
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal/format.h"

#define RECORDS 12

static struct fixture *f;
static char path[128];             // of the segment that the records are in
static uint8_t image[SEGMENT];     // as it was
static uint64_t ends[RECORDS + 1]; // offset of each record's end, by number

static void read_image(void)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && read(fd, image, sizeof image) == (ssize_t)sizeof image);
    close(fd);
}

static void write_image(const uint8_t *bytes)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && write(fd, bytes, SEGMENT) == (ssize_t)SEGMENT);
    close(fd);
}

// The only segment with an opening record.
static void find_segment(void)
{
    DIR *dir = opendir(f->folder);
    assert_non_null(dir);
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%.32s", f->folder, e->d_name);
        read_image();
        struct format_reader r = {.untrusted = image, .len = SEGMENT, .at = FORMAT_FIRST};
        struct format_open open;
        struct format_found record;
        found = format_read_segment(image, SEGMENT, &r.salt, &open) && format_next(&r, &record);
        for (uint64_t n = 0; found && n < RECORDS && format_next(&r, &record);)
            if (record.type == 7)
                ends[++n] = r.at;
    }
    closedir(dir);
    assert_true(found);
}

// Appended one by one, so that each is durable before the next.
static int setup(void **state)
{
    (void)state;
    f = fixture_new();
    fixture_open(f);
    for (uint64_t i = 1; i <= RECORDS; i++) {
        assert_int_equal(fixture_append(f, i, 20 + i), 0);
        assert_true(fixture_wait(f, i, 5000));
    }
    fixture_close(f);
    find_segment();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(f);
    return 0;
}

// The first n records, and nothing else.
static bool is_prefix(size_t *ret_n)
{
    for (size_t i = 0; i < f->n_found; i++)
        if (!f->found[i].live || f->found[i].number != i + 1 || !f->found[i].intact)
            return false;
    *ret_n = f->n_found;
    return true;
}

static void assert_only_known(void)
{
    for (size_t i = 0; i < f->n_found; i++)
        assert_true(f->found[i].intact && f->found[i].number >= 1 && f->found[i].number <= RECORDS);
}

static void a_tail_torn_at_any_byte_leaves_all_before_it(void **state)
{
    (void)state;
    uint8_t torn[SEGMENT];
    for (unsigned stale = 0; stale < 2; stale++) {
        for (uint64_t at = ends[RECORDS - 1]; at < ends[RECORDS]; at++) {
            memcpy(torn, image, SEGMENT);
            memset(torn + at, stale ? 0xA5 : 0, SEGMENT - at);
            write_image(torn);
            fixture_open(f);
            size_t n = 0;
            assert_true(is_prefix(&n));
            // A record whose last bytes were zeros anyway is whole.
            if (n != RECORDS - 1 && !(n == RECORDS && memcmp(torn, image, ends[RECORDS]) == 0))
                fail_msg("%zu records with a tail torn at %u", n, (unsigned)at);
            fixture_close(f);
        }
    }
}

static void after_a_torn_tail_appending_goes_on(void **state)
{
    (void)state;
    uint8_t torn[SEGMENT];
    memcpy(torn, image, SEGMENT);
    memset(torn + ends[RECORDS] - 16, 0, 16);
    write_image(torn);
    fixture_open(f);
    assert_int_equal(f->n_live, RECORDS - 1);
    assert_int_equal(f->damages, 1); // said, for nobody can tell it from damage
    assert_non_null(strstr(f->damage, "torn"));
    for (uint64_t i = 100; i < 110; i++)
        assert_int_equal(fixture_append(f, i, 64), 0);
    for (unsigned round = 0; round < 2; round++) {
        fixture_reopen(f);
        assert_int_equal(f->n_live, RECORDS - 1 + 10);
        assert_int_equal(f->damages, 0); // the new segment says where the torn one ends
    }
}

static void a_flipped_bit_anywhere_loses_no_more_than_it_says(void **state)
{
    (void)state;
    uint8_t flipped[SEGMENT];
    for (uint64_t at = 0; at < ends[RECORDS] + 8; at++) {
        if (at == sizeof(struct format_segment))
            at = FORMAT_FIRST;
        memcpy(flipped, image, SEGMENT);
        flipped[at] ^= (uint8_t)(1u << (at % 8));
        write_image(flipped);
        fixture_open(f);
        size_t n = 0;
        assert_only_known();
        if (!is_prefix(&n) && f->damages == 0)
            fail_msg("a bit flipped at %u: records are missing and nothing is said", (unsigned)at);
        if (at < ends[RECORDS - 1] && n != RECORDS && f->damages == 0)
            fail_msg("a bit flipped at %u: what had been durable is missing and nothing is said",
                     (unsigned)at);
        fixture_close(f);
    }
}

static void damage_in_the_middle_keeps_the_rest_and_sets_the_file_aside(void **state)
{
    (void)state;
    char aside[160];
    image[ends[4] + 40] ^= 1;
    write_image(image);
    fixture_open(f);
    assert_int_equal(f->n_live, RECORDS - 1);
    assert_null(fixture_find(f, 5));
    assert_non_null(fixture_find(f, 6));
    assert_int_equal(f->damages, 1);
    assert_non_null(strstr(f->damage, "damaged"));
    assert_int_equal(fixture_append(f, 50, 64), 0);
    snprintf(aside, sizeof aside, "%.*s.damaged", (int)(strlen(path) - 4), path);
    for (unsigned i = 0; i < 200 && access(aside, F_OK) < 0; i++)
        fixture_run(f, 10);
    assert_int_equal(access(aside, F_OK), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    fixture_reopen(f);
    assert_int_equal(f->n_live, RECORDS); // copied out of it; 5 is lost, 50 is new
    assert_int_equal(f->damages, 0);
}

static void a_lost_header_is_replaced_by_the_first_record(void **state)
{
    (void)state;
    memset(image, 0xEE, 512);
    write_image(image);
    fixture_open(f);
    assert_int_equal(f->n_live, RECORDS);
}

static void a_file_that_is_none_of_ours_is_set_aside_and_said(void **state)
{
    (void)state;
    memset(image, 'x', sizeof image);
    write_image(image);
    fixture_open(f);
    assert_int_equal(f->n_live, 0);
    assert_int_equal(f->damages, 1);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_segment_cut_short_gives_what_is_left(void **state)
{
    (void)state;
    assert_int_equal(truncate(path, (off_t)ends[7] + 10), 0);
    fixture_open(f);
    size_t n = 0;
    assert_true(is_prefix(&n));
    assert_int_equal(n, 7);
}

static void a_missing_segment_is_said(void **state)
{
    (void)state;
    fixture_open(f);
    assert_int_equal(fixture_append(f, 50, 64), 0);
    fixture_close(f);
    assert_int_equal(unlink(path), 0);
    fixture_open(f);
    assert_int_equal(f->n_live, 1);
    assert_int_equal(f->damages, 1);
    assert_non_null(strstr(f->damage, "missing"));
}

static void a_cut_in_an_older_segment_is_said(void **state)
{
    (void)state;
    fixture_open(f);
    assert_int_equal(fixture_append(f, 50, 64), 0);
    fixture_close(f);
    memset(image + ends[RECORDS - 2], 0, SEGMENT - ends[RECORDS - 2]);
    write_image(image);
    fixture_open(f);
    assert_int_equal(f->n_live, RECORDS - 2 + 1);
    assert_int_equal(f->damages, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tail_torn_at_any_byte_leaves_all_before_it),
        TEST(after_a_torn_tail_appending_goes_on),
        TEST(a_flipped_bit_anywhere_loses_no_more_than_it_says),
        TEST(damage_in_the_middle_keeps_the_rest_and_sets_the_file_aside),
        TEST(a_lost_header_is_replaced_by_the_first_record),
        TEST(a_file_that_is_none_of_ours_is_set_aside_and_said),
        TEST(a_segment_cut_short_gives_what_is_left),
        TEST(a_missing_segment_is_said),
        TEST(a_cut_in_an_older_segment_is_said),
    };
    return cmocka_run_group_tests_name("journal/damage", tests, NULL, NULL);
}
