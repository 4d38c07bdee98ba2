// A link without a broker (server/daemon/broker): the thread, its queues and its end. With a broker:
// tests/integ/broker.
#include "testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/settings.h"
#include "common/io.h"

static struct event_base *base;
static struct broker *b;
static enum broker_state last_state;
static size_t n_states, n_done, n_not_sent, n_got;

static void on_state(void *arg, enum broker_state state, const char *why)
{
    (void)arg;
    last_state = state;
    n_states++;
    assert_true(why[0] != '\0');
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    (void)arg, (void)d;
    fail();
}

static void on_done(void *arg, enum broker_outcome outcome)
{
    (void)arg;
    n_done++;
    n_not_sent += outcome == BROKER_NOT_SENT;
}

static void on_got(void *arg, const struct broker_delivery *d, const char *why)
{
    (void)arg;
    assert_null(d);
    assert_non_null(why);
    n_got++;
}

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    n_states = n_done = n_not_sent = n_got = 0;
    return base ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    broker_free(b);
    b = NULL;
    event_base_free(base);
    return 0;
}

static void start(uint16_t port)
{
    static const struct broker_cb cb = {.on_state = on_state, .on_delivery = on_delivery};
    struct broker_config config = {.host = "127.0.0.1",
                                   .port = port,
                                   .user = "u",
                                   .password = "p",
                                   .connect_timeout_ms = 200,
                                   .rpc_timeout_ms = 200,
                                   .backoff_max_ms = 200};
    struct err err;
    assert_int_equal(broker_new(base, &config, &cb, NULL, &b, &err), 0);
}

static void run_until(const size_t *counter, size_t n)
{
    uint64_t deadline = io_monotonic_ns() + 20000000000ull;
    while (*counter < n && io_monotonic_ns() < deadline)
        event_base_loop(base, EVLOOP_ONCE);
    assert_true(*counter >= n);
}

static int publish(uint32_t patience_ms)
{
    struct broker_publication p = {
        .exchange = {"env", 3}, .routing_key = {"a.b", 3}, .patience_ms = patience_ms};
    return broker_publish(b, &p, on_done, NULL);
}

static void without_a_broker_it_is_unreachable_and_publications_run_out_of_patience(void **state)
{
    (void)state;
    start(1);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(publish(50), 0);
    run_until(&n_states, 1);
    assert_int_equal(last_state, BROKER_UNREACHABLE);
    run_until(&n_done, 1000);
    assert_int_equal(n_not_sent, 1000);
    struct broker_stats s;
    broker_get_stats(b, &s);
    assert_int_equal(s.not_sent, 1000);
    assert_int_equal(s.outbox_bytes, 0);
    assert_int_equal(s.waiting, 0);
}

static void wishes_wait_for_a_connection(void **state)
{
    (void)state;
    static const struct broker_binding binding = {"env", "a.b"};
    const struct broker_queue q = {.name = "q", .bindings = &binding, .n_bindings = 1};
    struct broker_stats s;
    start(1);
    assert_int_equal(broker_want_exchange(b, "env", "direct"), 0);
    assert_int_equal(broker_want_queue(b, &q), 0);
    assert_int_equal(broker_want_queue(b, &q), 0);
    assert_int_equal(broker_want_binding(b, "q", "env", "c.d"), 0);
    assert_int_equal(broker_want_consumer(b, "q", 1, 1), 0);
    assert_int_equal(broker_want_consumer(b, "other", 1, 2), 0);
    assert_int_equal(broker_want_consumer(b, "q", 1, 0), -EINVAL);
    assert_int_equal(broker_get(b, "q", 1, on_got, NULL), 0);
    assert_int_equal(broker_get(b, "q", 1, on_got, NULL), -EBUSY);
    broker_settle(b, 12345, BROKER_ACK);
    run_until(&n_got, 1);
    broker_get_stats(b, &s);
    assert_int_equal(s.wanted, 7); // an exchange, two queues, two bindings, two consumers
    assert_int_equal(s.wanted_missing, 7);
    assert_int_equal(broker_unwant_binding(b, "q", "env", "c.d"), 0);
    assert_int_equal(broker_unwant_consumer(b, 1), 0);
    assert_int_equal(broker_unwant_queue(b, "q", true), 0);
}

static void a_listener_that_says_nothing_is_silent(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    start(ntohs(a.sin_port));
    run_until(&n_states, 1);
    assert_int_equal(last_state, BROKER_SILENT);
    close(fd);
}

static void what_is_under_way_at_the_end_gets_its_outcome(void **state)
{
    (void)state;
    start(1);
    for (int i = 0; i < 500; i++)
        assert_int_equal(publish(60000), 0);
    broker_free(b);
    b = NULL;
    assert_int_equal(n_done, 500);
    assert_int_equal(n_not_sent, 500);
}

static void assert_refused(struct broker_config config)
{
    struct err err = {""};
    assert_int_equal(broker_new(base, &config, &(struct broker_cb){0}, NULL, &b, &err), -EINVAL);
    assert_true(strlen(err.text) > 0);
}

static void a_configuration_that_cannot_work_is_refused_at_once(void **state)
{
    (void)state;
    assert_refused((struct broker_config){.host = ""});
    assert_refused((struct broker_config){.host = "a,"});
    assert_refused((struct broker_config){.host = "a,b:0"});
    assert_refused((struct broker_config){.host = "[::1"});
    assert_refused((struct broker_config){.host = "a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9"});
    assert_refused((struct broker_config){.host = "h", .tls = true});
    assert_refused((struct broker_config){.host = "h", .tls = true, .ca = "/ca", .cert = "/cert"});
    assert_refused((struct broker_config){.host = "h", .publish_window = 65537});
}

static void three_addresses_are_a_cluster_with_quorum_queues(void **state)
{
    static const struct {
        const char *host;
        enum broker_queue_type asked, type;
    } cases[] = {
        {"a", BROKER_QUEUE_AUTO, BROKER_QUEUE_AUTO},
        {"a,b", BROKER_QUEUE_AUTO, BROKER_QUEUE_AUTO},
        {"a,b,c", BROKER_QUEUE_AUTO, BROKER_QUEUE_QUORUM},
        {"a,b,c", BROKER_QUEUE_CLASSIC, BROKER_QUEUE_CLASSIC},
        {"a", BROKER_QUEUE_QUORUM, BROKER_QUEUE_QUORUM},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct broker_config config = {.host = cases[i].host, .queue_type = cases[i].asked};
        struct settings s;
        struct err err;
        assert_int_equal(settings_init(&s, &config, &err), 0);
        assert_int_equal(s.queue_type, cases[i].type);
        settings_done(&s);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_a_broker_it_is_unreachable_and_publications_run_out_of_patience),
        T(wishes_wait_for_a_connection),
        T(a_listener_that_says_nothing_is_silent),
        T(what_is_under_way_at_the_end_gets_its_outcome),
        T(three_addresses_are_a_cluster_with_quorum_queues),
        T(a_configuration_that_cannot_work_is_refused_at_once),
    };
    return cmocka_run_group_tests_name("broker/link", tests, NULL, NULL);
}
