// Tests of the error contract (server/common/err.c).
#include "testing.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"

static void err_set_formats_and_returns_rc(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_set(&err, -EINVAL, "no %s", "disk"), -EINVAL);
    assert_string_equal(err.text, "no disk");
}

static void err_errno_appends_the_meaning(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_errno(&err, -EACCES, "open %s", "disk"), -EACCES);
    assert_string_equal(err.text, "open disk: Permission denied");
}

static void err_wrap_puts_context_in_front(void **state)
{
    (void)state;
    struct err err;
    err_errno(&err, -EACCES, "open disk");
    err_wrap(&err, -EACCES, "start environment %s/%s", "acme", "web");
    assert_string_equal(err.text, "start environment acme/web: open disk: Permission denied");
}

static void err_wrap_cuts_what_does_not_fit(void **state)
{
    (void)state;
    struct err err;
    memset(err.text, 'x', sizeof err.text - 1);
    err.text[sizeof err.text - 1] = '\0';
    err_wrap(&err, -EIO, "outer");
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "outer: xxx", 10);
}

static void null_err_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_errno(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_formats_and_returns_rc), cmocka_unit_test(err_errno_appends_the_meaning),
        cmocka_unit_test(err_wrap_puts_context_in_front), cmocka_unit_test(err_wrap_cuts_what_does_not_fit),
        cmocka_unit_test(null_err_is_accepted),
    };
    return cmocka_run_group_tests_name("common/err", tests, NULL, NULL);
}
