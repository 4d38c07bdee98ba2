// Tests of the agent protocol's frames (proto/agent.c).
#include "testing.h"

#include <string.h>

#include "exact.h"
#include "samples.h"

static struct sample sample;
static uint8_t out[SAMPLE_CAP];

// Decodes a whole frame whose header promises what is there.
static const char *decode(const uint8_t *data, size_t len, struct agent_frame *f)
{
    struct agent_header h;
    struct wire_error error;
    const char *what = agent_header_read(data, &h);
    if (what)
        return what;
    h.len_bytes = (uint32_t)(len - AGENT_HEADER_LEN);
    return agent_frame_read(&h, data + AGENT_HEADER_LEN, f, &error) ? NULL : error.what;
}

static void header_write(uint8_t raw[AGENT_HEADER_LEN], uint32_t len, uint16_t type, uint16_t zero)
{
    struct wire_writer w;
    wire_writer_init(&w, raw, AGENT_HEADER_LEN);
    wire_write_u32(&w, len);
    wire_write_u16(&w, type);
    wire_write_u16(&w, zero);
    wire_write_u32(&w, 77);
}

static void a_header_is_read_as_the_header_file_draws_it(void **state)
{
    (void)state;
    struct agent_header h;
    const uint8_t raw[AGENT_HEADER_LEN] = {4, 0, 0, 0, AGENT_CREDIT, 0, 0, 0, 0x78, 0x56, 0x34, 0x12};
    assert_null(agent_header_read(raw, &h));
    assert_int_equal(h.len_bytes, 4);
    assert_int_equal(h.type, AGENT_CREDIT);
    assert_int_equal(h.tag, 0x12345678);
}

static void a_header_that_promises_the_impossible_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t len;
        uint16_t type, zero;
        const char *what;
    } wrongs[] = {
        {0, 0, 0, "unknown frame type"},
        {0, AGENT_FRAME_TYPE_COUNT, 0, "unknown frame type"},
        {0, 0xffff, 0, "unknown frame type"},
        {0, AGENT_PING, 1, "reserved header bytes are not zero"},
        {1, AGENT_PING, 0, "frame too long for its type"},
        {AGENT_FRAME_MAX + 1, AGENT_SEND, 0, "frame too long for its type"},
        {UINT32_MAX, AGENT_DELIVER, 0, "frame too long for its type"},
        {17, AGENT_ACK, 0, "frame too long for its type"},
        {15, AGENT_ACK, 0, "frame too short for its type"},
        {9, AGENT_HELLO, 0, "frame too short for its type"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        uint8_t raw[AGENT_HEADER_LEN];
        struct agent_header h;
        header_write(raw, wrongs[i].len, wrongs[i].type, wrongs[i].zero);
        const char *what = agent_header_read(raw, &h);
        assert_non_null(what);
        assert_string_equal(what, wrongs[i].what);
    }
}

static void the_largest_message_fits_a_frame(void **state)
{
    (void)state;
    uint8_t raw[AGENT_HEADER_LEN];
    struct agent_header h;
    header_write(raw, AGENT_FRAME_MAX, AGENT_SEND, 0);
    assert_null(agent_header_read(raw, &h));
}

static void every_sample_survives_the_round_trip(void **state)
{
    (void)state;
    bool seen[AGENT_FRAME_TYPE_COUNT] = {false};
    for (size_t i = 0; sample_agent(i, &sample); i++) {
        struct agent_frame f = {0};
        assert_null(decode(sample.data, sample.len, &f));
        struct wire_writer w;
        wire_writer_init(&w, out, sizeof out);
        agent_frame_write(&w, &f);
        assert_false(w.overflow);
        assert_int_equal(w.pos, sample.len);
        assert_memory_equal(out, sample.data, sample.len);
        assert_int_equal(agent_frame_size(&f), sample.len);
        seen[f.type] = true;
    }
    for (unsigned type = 1; type < AGENT_FRAME_TYPE_COUNT; type++)
        if (!seen[type])
            fail_msg("no sample of %s", agent_frame_type_name((enum agent_frame_type)type));
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_agent(i, &sample); i++) {
        for (size_t n = AGENT_HEADER_LEN; n < sample.len; n++) {
            uint8_t *cut = exact_copy(sample.data, n);
            struct agent_frame f;
            const char *what = decode(cut, n, &f);
            free(cut);
            if (!what)
                fail_msg("%s cut to %zu was accepted", sample.name, n);
        }
    }
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; sample_agent(i, &sample); i++) {
        struct agent_frame f;
        sample.data[sample.len] = 0;
        assert_string_equal(decode(sample.data, sample.len + 1, &f), "trailing bytes");
    }
}

static void assert_payload_refused(const struct agent_frame *frame, const char *what)
{
    struct agent_frame f;
    struct wire_writer w;
    wire_writer_init(&w, out, sizeof out);
    agent_frame_write(&w, frame);
    const char *got = decode(out, w.pos, &f);
    assert_non_null(got);
    assert_string_equal(got, what);
}

static void each_wrong_value_is_named(void **state)
{
    (void)state;
    const struct wire_view acme = view_of("acme"), web = view_of("web");
    const char *const no_name = "not a name (a-z, 0-9 and -, at most 63)";
    assert_payload_refused(
        &(struct agent_frame){.type = AGENT_HELLO, .hello = {.version_min = 2, .version_max = 1}},
        "version range is empty");
    assert_payload_refused(&(struct agent_frame){.type = AGENT_HELLO_OK, .hello_ok = {1, 0, acme, web, 0, 0}},
                           "body limit out of range");
    assert_payload_refused(&(struct agent_frame){.type = AGENT_HELLO_OK,
                                                 .hello_ok = {1, 0, acme, web, ENVELOPE_BODY_MAX + 1, 0}},
                           "body limit out of range");
    assert_payload_refused(
        &(struct agent_frame){.type = AGENT_HELLO_OK, .hello_ok = {1, 0, acme, view_of("a/b"), 1, 0}},
        no_name);
    assert_payload_refused(&(struct agent_frame){.type = AGENT_CREDIT, .credit = AGENT_CREDIT_MAX + 1},
                           "credit out of range");
    assert_payload_refused(&(struct agent_frame){.type = AGENT_REGISTER, .service = view_of(":db")}, no_name);
    assert_payload_refused(
        &(struct agent_frame){.type = AGENT_RESULT, .receipt = {.code = RECEIPT_CODE_COUNT}},
        "unknown receipt code");
    assert_payload_refused(&(struct agent_frame){.type = AGENT_MONITOR, .address = view_of("acme/:db")},
                           "not the address of an environment");
    assert_payload_refused(
        &(struct agent_frame){.type = AGENT_GONE, .gone = {acme, AGENT_CERTAINTY_COUNT, web}},
        "unknown certainty");
    assert_payload_refused(
        &(struct agent_frame){.type = AGENT_DEFER, .defer = {.delay_ms = AGENT_DEFER_MAX_MS + 1}},
        "delay out of range");
    assert_payload_refused(&(struct agent_frame){.type = AGENT_REJECT, .reject = {view_of("\xff")}},
                           "string is not UTF-8 without NUL");
}

static void a_frame_of_unknown_type_is_refused_without_a_header_check(void **state)
{
    (void)state;
    struct agent_frame f;
    struct wire_error error;
    struct agent_header h = {.len_bytes = 0, .type = AGENT_FRAME_TYPE_COUNT};
    assert_false(agent_frame_read(&h, "", &f, &error));
    assert_string_equal(error.what, "unknown frame type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_read_as_the_header_file_draws_it),
        cmocka_unit_test(a_header_that_promises_the_impossible_is_refused),
        cmocka_unit_test(the_largest_message_fits_a_frame),
        cmocka_unit_test(every_sample_survives_the_round_trip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(each_wrong_value_is_named),
        cmocka_unit_test(a_frame_of_unknown_type_is_refused_without_a_header_check),
    };
    return cmocka_run_group_tests_name("proto/agent", tests, NULL, NULL);
}
