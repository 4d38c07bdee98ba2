// The manifest of a Linux image (proto/manifest).
#include "../testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "manifest/manifest.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define GOOD                                                                                                 \
    "{\"cmdline\":\"quiet\",\"disk\":\"" A "\",\"disk_bytes\":8192,\"envd\":\"linux-image-1\","              \
    "\"initrd\":null,\"kernel\":\"" B "\",\"labels\":{\"os\":\"debian\"}}"

static int parse(const char *text, struct manifest *m, struct err *err)
{
    return manifest_parse(text, strlen(text), m, err);
}

static void refused(const char *text, int rc, const char *part_of_reason)
{
    struct manifest m;
    struct err err = {""};
    assert_int_equal(parse(text, &m, &err), rc);
    if (!strstr(err.text, part_of_reason))
        fail_msg("no \"%s\" in: %s", part_of_reason, err.text);
}

// GOOD with one piece replaced.
static const char *with(const char *from, const char *to)
{
    static char text[MANIFEST_MAX * 2];
    const char *at = strstr(GOOD, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
    return text;
}

static void a_manifest_is_read_and_written_back_the_same(void **state)
{
    struct manifest m;
    struct err err;
    (void)state;
    assert_int_equal(parse(GOOD, &m, &err), 0);
    assert_string_equal(m.parts[MANIFEST_DISK], A);
    assert_string_equal(m.parts[MANIFEST_KERNEL], B);
    assert_string_equal(m.parts[MANIFEST_INITRD], "");
    assert_string_equal(m.cmdline, "quiet");
    assert_int_equal(m.disk_bytes, 8192);
    char *text = manifest_text(&m, &err);
    assert_string_equal(text, GOOD);
    free(text);
    manifest_done(&m);
}

static void every_truncation_is_refused(void **state)
{
    struct manifest m;
    struct err err;
    (void)state;
    for (size_t len = 0; len < strlen(GOOD); len++)
        assert_int_equal(manifest_parse(GOOD, len, &m, &err), -EBADMSG);
}

static void another_form_of_the_same_is_refused(void **state)
{
    (void)state;
    refused(with("\"disk\":", "\"disk\" :"), -EBADMSG, "canonical");
    refused(with("quiet", "\\u0071uiet"), -EBADMSG, "canonical");
    refused(GOOD " ", -EBADMSG, "canonical");
}

static void another_version_is_told_so(void **state)
{
    (void)state;
    refused(with("linux-image-1", "linux-image-2"), -EPROTO, "linux-image-2");
}

static void missing_and_unknown_members_are_refused(void **state)
{
    (void)state;
    refused(with("\"initrd\":null,", ""), -EBADMSG, "initrd");
    refused(with("\"initrd\":null,", "\"initrd\":null,\"jnitrd\":1,"), -EBADMSG, "not known");
    refused("[]", -EBADMSG, "no manifest");
    refused("{}", -EBADMSG, "no manifest");
}

static void a_kernel_and_a_disk_or_an_initrd_are_needed(void **state)
{
    (void)state;
    refused(with("\"kernel\":\"" B "\"", "\"kernel\":null"), -EBADMSG, "kernel");
    refused(with("\"disk\":\"" A "\",\"disk_bytes\":8192", "\"disk\":null,\"disk_bytes\":0"), -EBADMSG,
            "neither");
}

static void digests_are_whole_and_lower_case(void **state)
{
    (void)state;
    refused(with(A, "sha256:aa"), -EBADMSG, "disk");
    refused(with("sha256:a", "sha256:A"), -EBADMSG, "disk");
    refused(with("sha256:a", "sha512:a"), -EBADMSG, "disk");
}

static void the_disks_size_fits_the_disk(void **state)
{
    (void)state;
    refused(with("8192", "0"), -EBADMSG, "disk_bytes");
    refused(with("8192", "8191"), -EBADMSG, "disk_bytes");
    refused(with("8192", "-4096"), -EBADMSG, "disk_bytes");
    refused(with("8192", "9223372036854771712"), -EBADMSG, "disk_bytes");
    refused(with("8192", "8192.0"), -EBADMSG, "disk_bytes");
    refused(with("8192", "99999999999999999999"), -EBADMSG, "JSON");
}

static void the_command_line_is_printable_and_short(void **state)
{
    char words[MANIFEST_CMDLINE_MAX + 2];
    (void)state;
    memset(words, 'a', sizeof words);
    words[sizeof words - 1] = '\0';
    refused(with("quiet", words), -EBADMSG, "at most");
    refused(with("quiet", "a\\nb"), -EBADMSG, "control");
    refused(with("quiet", "a\\u0000b"), -EBADMSG, "JSON");
}

static void labels_are_texts(void **state)
{
    (void)state;
    refused(with("\"debian\"", "1"), -EBADMSG, "label");
    refused(with("{\"os\":\"debian\"}", "[]"), -EBADMSG, "labels");
    refused(with("\"os\"", "\"\""), -EBADMSG, "label");
}

static void duplicates_and_depth_are_refused(void **state)
{
    static char deep[5000];
    (void)state;
    refused(with("\"initrd\":null", "\"disk\":null"), -EBADMSG, "JSON");
    memset(deep, '[', sizeof deep - 1);
    refused(deep, -EBADMSG, "JSON");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_is_read_and_written_back_the_same),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(another_form_of_the_same_is_refused),
        cmocka_unit_test(another_version_is_told_so),
        cmocka_unit_test(missing_and_unknown_members_are_refused),
        cmocka_unit_test(a_kernel_and_a_disk_or_an_initrd_are_needed),
        cmocka_unit_test(digests_are_whole_and_lower_case),
        cmocka_unit_test(the_disks_size_fits_the_disk),
        cmocka_unit_test(the_command_line_is_printable_and_short),
        cmocka_unit_test(labels_are_texts),
        cmocka_unit_test(duplicates_and_depth_are_refused),
    };
    return cmocka_run_group_tests_name("image_manifest", tests, NULL, NULL);
}
