// Many queues, and what a link does first when it comes back: to a broker that has them, and to one that lost
// them.
#include "harness.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"

static struct peer p;
static size_t n_queues; // ENVD_TEST_QUEUES=N measures with N of them

static int setup(void **state)
{
    (void)state;
    peer_start_ready(&p);
    p.ack = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_stop(&p);
    return 0;
}

static void want_mailbox(const char *what, size_t i)
{
    char key[64], queue[80];
    snprintf(key, sizeof key, "%s.e%zu", what, i);
    snprintf(queue, sizeof queue, "mailbox.%s", key);
    const struct broker_binding binding = {"env", key};
    const struct broker_queue q = {.name = queue,
                                   .messages_max = 10000,
                                   .bytes_max = 1 << 20,
                                   .dead_letter_exchange = "env.dead",
                                   .bindings = &binding,
                                   .n_bindings = 1};
    assert_int_equal(broker_want_queue(p.broker, &q), 0);
    assert_int_equal(broker_want_consumer(p.broker, queue, (uint16_t)(10 + i % 2), i + 1), 0);
}

static bool all_there(void *arg)
{
    const size_t *n = arg;
    struct broker_stats s = peer_stats(&p);
    return s.wanted >= 3 * *n && s.wanted_missing == 0;
}

static bool came_back(void *arg)
{
    const uint64_t *before = arg;
    return peer_stats(&p).reconnects > *before;
}

static double since_s(uint64_t from_ns)
{
    return (double)(io_monotonic_ns() - from_ns) / 1e9;
}

// Ends the link's connections as a network would, at this very moment.
static void sever(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in a = {0};
        socklen_t len = sizeof a;
        if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.sin_family == AF_INET &&
            ntohs(a.sin_port) == rig_port(1, false))
            shutdown(fd, SHUT_RDWR);
    }
}

static void publish_to(const char *what, size_t i, const char *id)
{
    char key[64];
    snprintf(key, sizeof key, "%s.e%zu", what, i);
    peer_publish(&p, "env", key, id, "x");
}

// The first publications are asked for while nearly nothing is declared.
static void own_queues_need_not_all_be_there_to_publish(void **state)
{
    (void)state;
    uint64_t before = peer_stats(&p).reconnects, from = io_monotonic_ns();
    for (size_t i = 0; i < n_queues; i++)
        want_mailbox("many", i);
    publish_to("many", n_queues - 1, "last");
    publish_to("elsewhere", 0, "nobody");
    run_until_at_least(&p.n_done, 2, 60);
    print_message("%zu queues: the first to the last of them after %.2f s, ", n_queues, since_s(from));
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], 1);
    assert_int_equal(p.n_by_outcome[BROKER_RETURNED], 1);
    run_until_true(all_there, &n_queues, 300, "all queues");
    print_message("all made after %.2f s\n", since_s(from));
    run_until_at_least(&p.n_received, 1, 20);
    assert_int_equal(peer_stats(&p).reconnects, before);
}

static void a_link_that_comes_back_publishes_and_consumes_before_all_is_declared_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_queues; i++)
        want_mailbox("many", i);
    run_until_true(all_there, &n_queues, 300, "all queues");
    uint64_t before = peer_stats(&p).reconnects, from = io_monotonic_ns();
    sever();
    char id[32];
    for (size_t i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "back-%zu", i);
        publish_to("many", i % 2 == 0 ? 0 : n_queues - 1, id);
    }
    run_until_true(came_back, &before, 20, "the link");
    print_message("%zu queues: back after %.2f s, ", n_queues, since_s(from));
    run_until_at_least(&p.n_done, 100, 60);
    print_message("all confirmed after %.2f s, ", since_s(from));
    run_until_at_least(&p.n_received, 100, 60);
    print_message("received after %.2f s, ", since_s(from));
    run_until_true(all_there, &n_queues, 300, "all queues again");
    print_message("all declared again after %.2f s\n", since_s(from));
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], 100);
    assert_int_equal(peer_stats(&p).reconnects, before + 1); // and no answer was taken for another's
    for (size_t i = 0, next[2] = {0, 1}; i < 100; i++) {     // in order, each of the two
        size_t which = strcmp(p.received[i].key, "many.e0") != 0;
        snprintf(id, sizeof id, "back-%zu", next[which]);
        assert_string_equal(p.received[i].id, id);
        next[which] += 2;
    }
}

// Nobody is said not to exist whose host may only not have declared it anew.
static void after_a_broker_lost_its_data_nothing_is_nobodys(void **state)
{
    char line[256];
    size_t n = 20;
    (void)state;
    if (getenv("ENVD_TEST_BROKER"))
        skip();
    for (size_t i = 0; i < n; i++)
        want_mailbox("lost", i);
    run_until_true(all_there, &n, 60, "all queues");
    publish_to("elsewhere", 1, "before");
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
    rig_broker_meanwhile("node", "kill 1");
    snprintf(line, sizeof line, "rm -rf %s/node1/data", rig_folder());
    assert_int_equal(system(line), 0);
    rig_broker_meanwhile("node", "start 1");
    run_until_state(&p, BROKER_READY, 30);
    publish_to("lost", n - 1, "own");
    publish_to("elsewhere", 1, "after");
    run_until_at_least(&p.n_done, 3, 30);
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], 1);
    assert_int_equal(p.n_by_outcome[BROKER_NOT_SENT], 1);
    run_until_at_least(&p.n_received, 1, 20);
    run_until_true(all_there, &n, 60, "all queues again");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(own_queues_need_not_all_be_there_to_publish),
        T(a_link_that_comes_back_publishes_and_consumes_before_all_is_declared_again),
        T(after_a_broker_lost_its_data_nothing_is_nobodys),
    };
    n_queues = getenv("ENVD_TEST_QUEUES") ? (size_t)atoi(getenv("ENVD_TEST_QUEUES")) : 300;
    int rc = rig_start("");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/topology", tests, NULL, NULL);
    rig_stop();
    return rc;
}
