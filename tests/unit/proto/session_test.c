// Tests of the session protocol's frames (proto/session.c).
#include "testing.h"

#include <string.h>

#include "exact.h"
#include "samples.h"

static struct sample sample;
static uint8_t out[SAMPLE_CAP];

// Decodes a whole frame whose header promises what is there.
static const char *decode(const uint8_t *data, size_t len, struct session_frame *f)
{
    struct session_header h;
    struct wire_error error;
    const char *what = session_header_read(data, &h);
    if (what)
        return what;
    h.len_bytes = (uint32_t)(len - SESSION_HEADER_LEN);
    return session_frame_read(&h, data + SESSION_HEADER_LEN, f, &error) ? NULL : error.what;
}

static void a_header_is_read_as_the_header_file_draws_it(void **state)
{
    (void)state;
    struct session_header h;
    const uint8_t raw[SESSION_HEADER_LEN] = {4, 0, 0, 0, SESSION_CREDIT, 0, 0, 0};
    assert_null(session_header_read(raw, &h));
    assert_int_equal(h.len_bytes, 4);
    assert_int_equal(h.type, SESSION_CREDIT);
}

static void a_header_that_promises_the_impossible_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t raw[SESSION_HEADER_LEN];
        const char *what;
    } wrongs[] = {
        {{0}, "unknown frame type"},
        {{0, 0, 0, 0, SESSION_FRAME_TYPE_COUNT}, "unknown frame type"},
        {{0, 0, 0, 0, SESSION_STDIN_EOF, 1}, "reserved header bytes are not zero"},
        {{0, 0, 0, 0, SESSION_STDIN_EOF, 0, 0, 1}, "reserved header bytes are not zero"},
        {{1, 0, 0, 0, SESSION_STDIN_EOF}, "frame too long for its type"},
        {{1, 0, 1, 0, SESSION_DATA}, "frame too long for its type"},
        {{0, 0, 0, 0x80, SESSION_STDOUT}, "frame too long for its type"},
        {{0, 0, 0, 0, SESSION_STDIN}, "frame too short for its type"},
        {{31, 0, 0, 0, SESSION_END}, "frame too short for its type"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct session_header h;
        const char *what = session_header_read(wrongs[i].raw, &h);
        assert_non_null(what);
        assert_string_equal(what, wrongs[i].what);
    }
}

static void every_sample_survives_the_round_trip(void **state)
{
    (void)state;
    bool seen[SESSION_FRAME_TYPE_COUNT] = {false};
    for (size_t i = 0; sample_session(i, &sample); i++) {
        struct session_frame f = {0};
        struct wire_writer w;
        assert_null(decode(sample.data, sample.len, &f));
        wire_writer_init(&w, out, sizeof out);
        session_frame_write(&w, &f);
        assert_false(w.overflow);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
        assert_int_equal(session_frame_size(&f), sample.len);
        seen[f.type] = true;
    }
    for (unsigned type = 1; type < SESSION_FRAME_TYPE_COUNT; type++)
        if (!seen[type])
            fail_msg("no sample of %s", session_frame_type_name((enum session_frame_type)type));
}

static bool is_raw(enum session_frame_type type)
{
    return type == SESSION_STDIN || type == SESSION_STDOUT || type == SESSION_STDERR || type == SESSION_DATA;
}

static void every_truncation_of_a_structured_frame_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_session(i, &sample); i++) {
        for (size_t n = SESSION_HEADER_LEN; n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            struct session_frame f;
            const char *what = decode(cut, n, &f);
            free(cut);
            if (!what && (n == SESSION_HEADER_LEN || !is_raw(f.type)))
                fail_msg("%s cut to %zu was accepted", sample.name, n);
        }
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_session(i, &sample); i++) {
        struct session_frame f;
        if (is_raw((enum session_frame_type)sample.data[4]))
            continue;
        sample.data[sample.len] = 0;
        assert_string_equal(decode(sample.data, sample.len + 1, &f), "trailing bytes");
    }
}

static void assert_refused(const struct session_frame *frame, const char *what)
{
    struct session_frame f;
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    session_frame_write(&w, frame);
    const char *got = decode(out, w.pos, &f);
    assert_non_null(got);
    assert_string_equal(got, what);
}

static struct session_frame exec_of(const char *arg, const char *variable)
{
    return (struct session_frame){
        .type = SESSION_EXEC,
        .exec = {.n_args = 1, .args = {view_of(arg)}, .n_env = 1, .env = {view_of(variable)}}};
}

static void a_command_that_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    struct session_frame f = exec_of("", "A=b");
    assert_refused(&f, "empty command");
    f = exec_of("true", "A");
    assert_refused(&f, "an environment string is not NAME=VALUE");
    f = exec_of("true", "=b");
    assert_refused(&f, "an environment string is not NAME=VALUE");
    f = exec_of("true", "A=b");
    f.exec.flags = 4;
    assert_refused(&f, "unknown flags");
    f = exec_of("true", "A=b");
    f.exec.n_args = 0;
    assert_refused(&f, "too few or too many strings");
    f = exec_of("true", "A=b");
    f.exec.args[0] = (struct wire_view){(const uint8_t *)"a\0b", 3};
    assert_refused(&f, "text with a NUL byte");
}

static void a_copy_that_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    struct session_frame f = {.type = SESSION_COPY,
                              .copy = {.op = SESSION_COPY_SYMLINK, .target = view_of("/b")}};
    assert_refused(&f, "empty path");
    f.copy.op = SESSION_COPY_GET;
    f.copy.path = view_of("/a");
    assert_refused(&f, "a target is for a symlink, and only for it");
    f.copy.op = SESSION_COPY_SYMLINK;
    f.copy.target.len = 0;
    assert_refused(&f, "a target is for a symlink, and only for it");
    f.copy.op = SESSION_COPY_OP_COUNT;
    assert_refused(&f, "unknown operation");
    f = (struct session_frame){.type = SESSION_COPY,
                               .copy = {.op = SESSION_COPY_PUT, .mode = 010000, .path = view_of("/a")}};
    assert_refused(&f, "mode has more than permission bits");
}

static void a_listed_name_cannot_lead_elsewhere(void **state)
{
    (void)state;
    struct session_frame f = {.type = SESSION_STAT, .stat = {.name = view_of("a/b")}};
    assert_refused(&f, "a name with a slash");
    f.stat.name = view_of("..");
    assert_refused(&f, "a name that is . or ..");
}

static void each_number_out_of_range_is_named(void **state)
{
    (void)state;
    assert_refused(&(struct session_frame){.type = SESSION_SIGNAL, .signal = 0}, "not a signal's number");
    assert_refused(&(struct session_frame){.type = SESSION_SIGNAL, .signal = 65}, "not a signal's number");
    assert_refused(&(struct session_frame){.type = SESSION_CREDIT, .credit = SESSION_CREDIT_MAX + 1},
                   "credit out of range");
    assert_refused(&(struct session_frame){.type = SESSION_EXIT, .exit = {2, 0}}, "unknown kind of exit");
    assert_refused(&(struct session_frame){.type = SESSION_ERROR, .error = {SESSION_ERROR_COUNT, {0}}},
                   "unknown error code");
}

static void every_error_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(session_error_name(0), "unknown");
    assert_string_equal(session_error_name(SESSION_ERROR_COUNT), "unknown");
    for (unsigned a = 1; a < SESSION_ERROR_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(session_error_name(a), session_error_name(b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read_as_the_header_file_draws_it),
        cmocka_unit_test(a_header_that_promises_the_impossible_is_refused),
        cmocka_unit_test(every_sample_survives_the_round_trip),
        cmocka_unit_test(every_truncation_of_a_structured_frame_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(a_command_that_cannot_be_meant_is_refused),
        cmocka_unit_test(a_copy_that_cannot_be_meant_is_refused),
        cmocka_unit_test(a_listed_name_cannot_lead_elsewhere),
        cmocka_unit_test(each_number_out_of_range_is_named),
        cmocka_unit_test(every_error_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests_name("proto/session", tests, NULL, NULL);
}
