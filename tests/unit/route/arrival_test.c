// Tests of what a guest's new stream is taken for (arrival.c), on real socket pairs.
#include "testing.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "route/arrival.h"

static struct {
    struct event_base *base;
    struct arrival *arrival;
    int guest;
    int n_agent, n_attach, n_closed, fd;
    struct id token;
    uint8_t head[ARRIVAL_HEAD_MAX];
    size_t head_len;
} t;

static void on_agent(void *arg, struct arrival *self, int fd, const void *untrusted, size_t len)
{
    (void)arg;
    assert_ptr_equal(self, t.arrival);
    t.n_agent++;
    t.fd = fd;
    t.arrival = NULL;
    t.head_len = len;
    memcpy(t.head, untrusted, len);
}

static void on_attach(void *arg, struct arrival *self, int fd, const struct id *token)
{
    (void)arg;
    assert_ptr_equal(self, t.arrival);
    t.n_attach++;
    t.fd = fd;
    t.arrival = NULL;
    t.token = *token;
}

static void on_closed(void *arg, struct arrival *self)
{
    (void)arg;
    assert_ptr_equal(self, t.arrival);
    t.arrival = NULL;
    t.n_closed++;
}

static const struct arrival_cb callbacks = {on_agent, on_attach, on_closed};

static int setup(void **state)
{
    (void)state;
    int pair[2];
    memset(&t, 0, sizeof t);
    t.fd = -1;
    t.base = event_base_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    t.guest = pair[0];
    t.arrival = arrival_new(t.base, pair[1], 50, &callbacks, NULL);
    assert_non_null(t.arrival);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arrival_free(t.arrival);
    close(t.guest);
    if (t.fd >= 0)
        close(t.fd);
    event_base_free(t.base);
    return 0;
}

static void say(const void *data, size_t len)
{
    assert_int_equal(write(t.guest, data, len), len);
    event_base_loop(t.base, EVLOOP_NONBLOCK);
}

static size_t encode(const struct agent_frame *f, uint8_t out[256])
{
    struct wire_writer w;
    wire_writer_init(&w, out, 256);
    agent_frame_write(&w, f);
    return w.pos;
}

static const struct agent_frame attach = {.type = AGENT_ATTACH, .session = {.token = {{9, 8, 7}}}};

static void a_stream_that_begins_with_attach_is_handed_over_without_reading_on(void **state)
{
    (void)state;
    uint8_t data[256], rest[8];
    size_t len = encode(&attach, data);
    memcpy(data + len, "more", 4);
    say(data, len + 4);
    event_base_loop(t.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.n_attach, 1);
    assert_memory_equal(&t.token, &attach.session.token, sizeof t.token);
    assert_int_equal(recv(t.fd, rest, sizeof rest, MSG_DONTWAIT), 4);
}

static void attach_may_come_byte_by_byte(void **state)
{
    (void)state;
    uint8_t data[256];
    size_t len = encode(&attach, data);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(t.n_attach, 0);
        say(data + i, 1);
    }
    assert_int_equal(t.n_attach, 1);
}

static void any_other_stream_is_the_agents_own_with_what_was_read_of_it(void **state)
{
    (void)state;
    uint8_t data[256];
    const struct agent_frame hello = {
        .type = AGENT_HELLO,
        .hello = {.version_min = 1, .version_max = 1, .software = {(const uint8_t *)"x", 1}}};
    size_t len = encode(&hello, data);
    say(data, len);
    assert_int_equal(t.n_agent, 1);
    assert_int_equal(t.head_len, AGENT_HEADER_LEN);
    assert_memory_equal(t.head, data, t.head_len);
}

static void what_is_no_frame_is_for_the_session_to_complain_about(void **state)
{
    (void)state;
    say("this is not a frame of any protocol", 35);
    assert_int_equal(t.n_agent, 1);
}

static void a_stream_that_says_nothing_is_closed_in_time(void **state)
{
    (void)state;
    say("abc", 3);
    event_base_dispatch(t.base);
    assert_int_equal(t.n_closed, 1);
    assert_int_equal(recv(t.guest, (char[1]){0}, 1, MSG_DONTWAIT), 0);
}

static void a_stream_that_its_guest_closes_is_over(void **state)
{
    (void)state;
    shutdown(t.guest, SHUT_RDWR);
    event_base_loop(t.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.n_closed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_that_begins_with_attach_is_handed_over_without_reading_on),
        TEST(attach_may_come_byte_by_byte),
        TEST(any_other_stream_is_the_agents_own_with_what_was_read_of_it),
        TEST(what_is_no_frame_is_for_the_session_to_complain_about),
        TEST(a_stream_that_says_nothing_is_closed_in_time),
        TEST(a_stream_that_its_guest_closes_is_over),
    };
    return cmocka_run_group_tests_name("arrival", tests, NULL, NULL);
}
