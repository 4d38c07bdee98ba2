// How a guest's frames are followed on their way to a client (server/daemon/relay/watch.c).
#include "../testing.h"

#include <string.h>

#include "relay/watch.h"

struct bytes {
    uint8_t data[4096];
    size_t len;
};

static void add(struct bytes *b, const struct session_frame *f)
{
    struct wire_writer w;
    wire_writer_init(&w, b->data + b->len, sizeof b->data - b->len);
    session_frame_write(&w, f);
    assert_false(w.overflow);
    b->len += w.pos;
}

static const struct session_frame output = {.type = SESSION_STDOUT,
                                            .data = {(const uint8_t *)"some text", 9}};

static const char *result_of(const struct session_watch *w)
{
    static char text[64];
    session_watch_result(w, text, sizeof text);
    return text;
}

static void the_result_is_the_same_however_the_bytes_are_cut(void **state)
{
    (void)state;
    struct bytes b = {.len = 0};
    add(&b, &(struct session_frame){.type = SESSION_STARTED, .pid = 1});
    add(&b, &output);
    add(&b, &(struct session_frame){.type = SESSION_EXIT, .exit = {SESSION_SIGNALLED, 9}});
    for (size_t piece = 1; piece <= b.len; piece++) {
        struct session_watch w = {0};
        for (size_t at = 0; at < b.len; at += piece)
            assert_null(session_watch_feed(&w, b.data + at, b.len - at < piece ? b.len - at : piece));
        assert_true(w.started);
        assert_string_equal(result_of(&w), "signal 9");
    }
}

static void each_ending_has_its_words(void **state)
{
    (void)state;
    static const struct {
        struct session_frame frame;
        const char *result;
    } cases[] = {
        {{.type = SESSION_EXIT, .exit = {SESSION_EXITED, 3}}, "exited 3"},
        {{.type = SESSION_ERROR, .error = {SESSION_ERROR_NOT_FOUND, {(const uint8_t *)"x", 1}}},
         "error not-found"},
        {{.type = SESSION_END}, "complete"},
        {{.type = SESSION_CREDIT, .credit = 7}, "unfinished"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct session_watch w = {0};
        struct bytes b = {.len = 0};
        add(&b, &cases[i].frame);
        assert_null(session_watch_feed(&w, b.data, b.len));
        assert_string_equal(result_of(&w), cases[i].result);
    }
}

static void nothing_may_follow_the_last_frame(void **state)
{
    (void)state;
    struct session_watch w = {0};
    struct bytes b = {.len = 0};
    add(&b, &(struct session_frame){.type = SESSION_EXIT});
    add(&b, &output);
    assert_non_null(session_watch_feed(&w, b.data, b.len));
}

static void frames_of_clients_are_refused(void **state)
{
    (void)state;
    struct session_watch w = {0};
    struct bytes b = {.len = 0};
    add(&b, &(struct session_frame){.type = SESSION_STDIN_EOF});
    assert_non_null(session_watch_feed(&w, b.data, b.len));
}

static void a_header_that_is_none_is_refused_before_its_payload(void **state)
{
    (void)state;
    struct session_watch w = {0};
    const uint8_t too_long[SESSION_HEADER_LEN] = {1, 0, 1, 0, SESSION_STDOUT};
    assert_non_null(session_watch_feed(&w, too_long, sizeof too_long));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_is_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(each_ending_has_its_words),
        cmocka_unit_test(nothing_may_follow_the_last_frame),
        cmocka_unit_test(frames_of_clients_are_refused),
        cmocka_unit_test(a_header_that_is_none_is_refused_before_its_payload),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
