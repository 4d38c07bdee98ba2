// Tests of the archive reader (agent/cell/fs/cpio.c).
#include "testing.h"

#include <stdlib.h>

#include "archive.h"
#include "fs/cpio.h"

static struct archive a;

static int setup(void **state)
{
    (void)state;
    memset(&a, 0, sizeof a);
    archive_add(&a, "etc", 040755, NULL);
    archive_add(&a, "etc/file", 0100644, "some text");
    archive_add(&a, "link", 0120777, "etc/file");
    archive_end(&a);
    return 0;
}

// Reads an exact copy, so that ASan sees a read past the end. The number of entries, or -1 with *ret_error.
static int count(const uint8_t *data, size_t len, const char **ret_error)
{
    uint8_t *exact = malloc(len ? len : 1);
    struct cpio_reader r;
    struct cpio_entry e;
    int n = 0, rc;
    memcpy(exact, data, len);
    cpio_reader_init(&r, exact, len);
    while ((rc = cpio_next(&r, &e)) == 1) {
        assert_true((const uint8_t *)e.name >= exact && e.data + e.size_bytes <= exact + len);
        assert_int_equal(strlen(e.name), e.name_len);
        n++;
    }
    if (rc < 0) {
        *ret_error = r.error;
        assert_int_equal(cpio_next(&r, &e), -1); // for good
    }
    free(exact);
    return rc < 0 ? -1 : n;
}

static void entries_come_in_order_with_their_data(void **state)
{
    (void)state;
    struct cpio_reader r;
    struct cpio_entry e;
    cpio_reader_init(&r, a.data, a.len);
    assert_int_equal(cpio_next(&r, &e), 1);
    assert_string_equal(e.name, "etc");
    assert_int_equal(e.mode, 040755);
    assert_int_equal(cpio_next(&r, &e), 1);
    assert_string_equal(e.name, "etc/file");
    assert_int_equal(e.size_bytes, 9);
    assert_memory_equal(e.data, "some text", 9);
    assert_int_equal(e.mtime_s, 1000000000);
    assert_int_equal(cpio_next(&r, &e), 1);
    assert_memory_equal(e.data, "etc/file", 8);
    assert_int_equal(cpio_next(&r, &e), 0);
    assert_int_equal(cpio_next(&r, &e), 0);
}

static void every_truncation_is_an_error_and_reads_nothing_outside(void **state)
{
    (void)state;
    // The trailer's padding may be missing: nothing comes after it.
    size_t needed = a.len - 3;
    for (size_t len = 0; len < needed; len++) {
        const char *error = NULL;
        assert_int_equal(count(a.data, len, &error), -1);
        assert_non_null(error);
    }
    const char *error;
    assert_int_equal(count(a.data, a.len, &error), 3);
}

static void expect_error(size_t offset, const char *bytes, const char *wanted)
{
    const char *error = "none";
    memcpy(a.data + offset, bytes, strlen(bytes));
    assert_int_equal(count(a.data, a.len, &error), -1);
    assert_string_equal(error, wanted);
}

static void wrong_magic_is_refused(void **state)
{
    (void)state;
    expect_error(0, "070707", "not a newc header");
}

static void field_that_is_not_hexadecimal_is_refused(void **state)
{
    (void)state;
    expect_error(6 + 8, "0000 1ff", "a header field is not hexadecimal");
}

static void file_longer_than_the_archive_is_refused(void **state)
{
    (void)state;
    expect_error(6 + 6 * 8, "FFFFFFFF", "the archive ends inside a file");
}

static void name_length_of_zero_or_too_much_is_refused(void **state)
{
    (void)state;
    expect_error(6 + 11 * 8, "00000000", "bad name length");
    expect_error(6 + 11 * 8, "7FFFFFFF", "bad name length");
    expect_error(6 + 11 * 8, "00001000", "the archive ends inside a name");
}

static void name_must_end_where_its_length_says(void **state)
{
    (void)state;
    expect_error(6 + 11 * 8, "00000003", "a name does not end where its length says");
}

static void name_with_a_nul_inside_is_refused(void **state)
{
    (void)state;
    a.data[110 + 1] = 0;
    expect_error(0, "070701", "a name does not end where its length says");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(entries_come_in_order_with_their_data, setup),
        cmocka_unit_test_setup(every_truncation_is_an_error_and_reads_nothing_outside, setup),
        cmocka_unit_test_setup(wrong_magic_is_refused, setup),
        cmocka_unit_test_setup(field_that_is_not_hexadecimal_is_refused, setup),
        cmocka_unit_test_setup(file_longer_than_the_archive_is_refused, setup),
        cmocka_unit_test_setup(name_length_of_zero_or_too_much_is_refused, setup),
        cmocka_unit_test_setup(name_must_end_where_its_length_says, setup),
        cmocka_unit_test_setup(name_with_a_nul_inside_is_refused, setup),
    };
    return cmocka_run_group_tests_name("cpio", tests, NULL, NULL);
}
