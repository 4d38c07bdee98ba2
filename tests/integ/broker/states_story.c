// What a link says when its broker will not have it, blocks it, says nothing or sleeps; and that it heals.
#include "harness.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct peer p;

static int setup(void **state)
{
    struct broker_config config = peer_config();
    (void)state;
    peer_start(&p, &config);
    run_until_state(&p, BROKER_READY, 30);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_stop(&p);
    return 0;
}

static void a_wrong_password_is_refused_with_the_brokers_words(void **state)
{
    (void)state;
    struct broker_config config = peer_config();
    config.password = "wrong";
    peer_start(&p, &config);
    run_until_state(&p, BROKER_REFUSED, 30);
    assert_non_null(strstr(p.why, "ACCESS_REFUSED"));
    peer_stop(&p);
    config = peer_config();
    config.vhost = "elsewhere";
    peer_start(&p, &config);
    run_until_state(&p, BROKER_REFUSED, 30);
    assert_non_null(strstr(p.why, "elsewhere"));
}

static void a_password_that_becomes_right_heals(void **state)
{
    (void)state;
    struct broker_config config = peer_config();
    char *right = rig_password("envd.h1"), args[128];
    config.password = "another";
    peer_start(&p, &config);
    run_until_state(&p, BROKER_REFUSED, 30);
    rig_broker_meanwhile("ctl", "change_password envd.h1 another");
    run_until_state(&p, BROKER_READY, 30);
    snprintf(args, sizeof args, "change_password envd.h1 %s", right);
    rig_broker_meanwhile("ctl", args);
    free(right);
}

static void what_a_user_may_not_declare_is_named(void **state)
{
    (void)state;
    struct broker_queue q = {.name = "inbox.h2"}; // another host's
    broker_want_queue(p.broker, &q);
    for (int i = 0; i < 100 && p.why[0] == '\0'; i++)
        run_for(100);
    assert_non_null(strstr(p.why, "inbox.h2: ACCESS_REFUSED"));
    assert_int_equal(p.state, BROKER_READY);
}

static void nobody_there_is_unreachable(void **state)
{
    (void)state;
    struct broker_config config = peer_config();
    config.port = 1;
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNREACHABLE, 10);
    assert_non_null(strstr(p.why, "127.0.0.1:1"));
    peer_stop(&p);
    config.host = "no-such-name.invalid";
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNREACHABLE, 30);
    assert_non_null(strstr(p.why, "no-such-name.invalid"));
}

static uint16_t listen_and_say_nothing(int *ret_fd)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*ret_fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(*ret_fd, 16), 0);
    assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

static void a_listener_that_says_nothing_is_silent(void **state)
{
    (void)state;
    struct broker_config config = peer_config();
    int fd;
    config.port = listen_and_say_nothing(&fd);
    config.rpc_timeout_ms = config.connect_timeout_ms = 500;
    peer_start(&p, &config);
    run_until_state(&p, BROKER_SILENT, 10);
    peer_stop(&p);
    config.tls = true;
    config.ca = "/etc/ssl/certs/ca-certificates.crt";
    if (access(config.ca, R_OK) == 0) {
        peer_start(&p, &config);
        run_until_state(&p, BROKER_SILENT, 10);
    } else {
        peer_start(&p, &(struct broker_config){.host = "127.0.0.1", .port = 1});
    }
    close(fd);
}

static void heartbeats_keep_an_idle_link(void **state)
{
    (void)state;
    struct broker_config config = peer_config();
    config.heartbeat_s = 1;
    peer_start(&p, &config);
    run_until_state(&p, BROKER_READY, 30);
    run_for(7000);
    peer_publish(&p, "env", "acme.nobody", "after-idling", "x");
    run_until_at_least(&p.n_done, 1, 10);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
    assert_int_equal(peer_stats(&p).reconnects, 0);
}

// Both alarms alike: publications wait, deliveries go on, and all of it goes out afterwards.
static void alarm_blocks_and_heals(const char *on, const char *off, const char *word)
{
    peer_want_plain_queue(&p, "mailbox.acme.alarm");
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.alarm", 10, 1);
    rig_broker_meanwhile("ctl", on);
    for (int i = 0; i < 20; i++)
        peer_publish(&p, "", "mailbox.acme.alarm", NULL, "x");
    run_until_state(&p, BROKER_BLOCKED, 20);
    assert_non_null(strstr(p.why, word));
    run_for(1000);
    assert_int_equal(p.state, BROKER_BLOCKED);
    assert_true(peer_stats(&p).blocked_ms > 0);
    struct broker_publication hasty = publication("", "mailbox.acme.alarm", NULL, "hasty");
    hasty.patience_ms = 200;
    assert_int_equal(peer_try_publish(&p, &hasty), 0);
    run_for(1000);
    assert_int_equal(p.n_by_outcome[BROKER_NOT_SENT], 1);
    rig_broker_meanwhile("ctl", off);
    run_until_state(&p, BROKER_READY, 30);
    run_until_at_least(&p.n_by_outcome[BROKER_CONFIRMED], 20, 20);
    run_until_at_least(&p.n_received, 20, 20);
    assert_int_equal(peer_stats(&p).reconnects, 0);
}

static void a_disk_alarm_blocks_and_heals(void **state)
{
    (void)state;
    alarm_blocks_and_heals("set_disk_free_limit 900000GB", "set_disk_free_limit 1MB", "disk");
}

static void a_memory_alarm_blocks_and_heals(void **state)
{
    (void)state;
    alarm_blocks_and_heals("set_vm_memory_high_watermark absolute 1MB", "set_vm_memory_high_watermark 0.6",
                           "memory");
}

#define T(name, setup_) cmocka_unit_test_setup_teardown(name, setup_, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_wrong_password_is_refused_with_the_brokers_words, NULL),
        T(a_password_that_becomes_right_heals, NULL),
        T(what_a_user_may_not_declare_is_named, setup),
        T(nobody_there_is_unreachable, NULL),
        T(a_listener_that_says_nothing_is_silent, NULL),
        T(heartbeats_keep_an_idle_link, NULL),
        T(a_disk_alarm_blocks_and_heals, setup),
        T(a_memory_alarm_blocks_and_heals, setup),
    };
    int rc = rig_start("");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/states", tests, NULL, NULL);
    rig_stop();
    return rc;
}
