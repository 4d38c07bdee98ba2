// Tests of the link between router and broker: what is wanted, how much is unsettled at once, and what leaves
// (topology.c, intake.c, outgoing.c, epoch.c).
#include "linked.h"

#include <stdlib.h>
#include <unistd.h>

static void queues_and_bindings_follow_the_class(void **state)
{
    (void)state;
    assert_wanted("exchange:env:direct ");
    assert_wanted("exchange:env.event:direct ");
    assert_wanted("exchange:env.dead:fanout ");
    assert_wanted("queue:inbox.h1<env:host.h1! consume:inbox.h1 ");
    assert_wanted("bind:inbox.h1<env:acme.web ");
    assert_wanted("queue:mailbox.acme.db<env:acme.db ");
}

static void a_queue_is_consumed_while_its_environment_runs(void **state)
{
    (void)state;
    assert_wanted("consume:mailbox.acme.db ");
    assert_int_equal(b.n_consumers, 3);
    endpoint_detach(db);
    db = NULL;
    assert_wanted("leave:mailbox ");
    assert_int_equal(b.n_consumers, 2);
    arrives(1, 1); // was on its way
    assert_int_equal(b.settled[1], REQUEUE);
}

static void a_deleted_environments_queue_is_deleted(void **state)
{
    (void)state;
    endpoint_detach(db);
    db = NULL;
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_removed(f.router, "acme", "web"), 0);
    assert_wanted("delete:mailbox.acme.db ");
    assert_wanted("unbind:inbox.h1<env:acme.web ");
}

static void delete_db(void)
{
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    db = NULL;
}

static void a_queue_whose_end_the_broker_did_not_hear_of_is_deleted_after_a_restart(void **state)
{
    (void)state;
    delete_db();
    restart_with(false);
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
    restart_with(false); // the broker did not answer
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db");
    restart_with(false);
    assert_null(strstr(b.wanted, "delete:"));
}

static void the_queue_of_an_environment_that_was_made_again_is_not_deleted(void **state)
{
    (void)state;
    delete_db();
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    announce();
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db"); // of the one before
    restart();
    assert_null(strstr(b.wanted, "delete:"));
    restart_with(false); // its end is remembered, too
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
}

static void the_queue_of_an_environment_whose_mail_now_comes_by_its_host_is_deleted(void **state)
{
    (void)state;
    delete_db();
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_HOST), 0);
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db");
    restart_with(false);
    assert_null(strstr(b.wanted, "delete:"));
}

static void a_service_is_consumed_while_it_is_served_and_its_queue_stays(void **state)
{
    (void)state;
    endpoint_register(db, "s");
    assert_wanted("queue:service.acme.s<env:acme.:s bind:inbox.h1<env.event:acme.:s consume:service.acme.s ");
    endpoint_unregister(db, "s");
    assert_wanted("leave:service forget:service.acme.s unbind:inbox.h1<env.event:acme.:s ");
}

static void above_the_window_acknowledgements_wait_for_room_in_order(void **state)
{
    (void)state;
    struct remote_stats stats;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    assert_int_equal(b.settled[255], ACK);
    assert_int_equal(b.settled[256], NOT_YET);
    assert_int_equal(b.settled[300], NOT_YET);
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.held, 45);
    for (unsigned i = 0; i < 45; i++)
        process_one();
    assert_int_equal(b.settled[256], ACK);
    assert_int_equal(b.settled[257], NOT_YET);
    for (unsigned i = 0; i < 100; i++)
        process_one();
    assert_int_equal(b.settled[300], ACK);
}

static void what_is_held_too_long_is_acknowledged_and_the_queue_left_alone(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    uint64_t later_ms = 1000ull * 3600 * 24 * 365 * 100; // whatever the clock says
    intake_tick(remote, later_ms);
    assert_int_equal(b.settled[300], ACK);
    assert_wanted("leave:mailbox ");
    for (unsigned i = 0; i < 60; i++)
        process_one();
    intake_tick(remote, later_ms);
    assert_int_equal(b.n_consumers, 3);
}

static void handles_of_a_lost_connection_are_forgotten(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    b.cb.on_state(b.arg, BROKER_UNREACHABLE, "gone");
    for (unsigned i = 0; i < 300; i++)
        process_one();
    assert_int_equal(b.settled[300], NOT_YET);
}

static void a_full_mailbox_puts_back_what_follows_until_there_is_room(void **state)
{
    (void)state;
    arrives(1, 1);
    uint64_t consumer = b.mailbox_consumer;
    arrives_at(consumer, 2, 2, false);
    assert_int_equal(b.settled[2], REQUEUE);
    arrives_at(consumer, 3, 3, false); // was on its way: order holds
    assert_int_equal(b.settled[3], REQUEUE);
    assert_wanted("leave:mailbox ");
    process_one();
    intake_tick(remote, UINT64_MAX);
    assert_int_equal(b.n_consumers, 3);
    arrives(4, 2);
    assert_int_equal(b.settled[4], ACK);
}

static void a_full_mailbox_without_a_queue_is_nobody_elses_problem(void **state)
{
    (void)state;
    to = "acme/web";
    key = "acme.web";
    arrives_at(b.inbox_consumer, 1, 1, false);
    arrives_at(b.inbox_consumer, 2, 2, false);
    to = "acme/db";
    key = "acme.db";
    assert_int_equal(b.settled[1], ACK);
    assert_true(header_is("env-refused", "mailbox-full"));
    assert_int_equal(b.n_consumers, 3);
}

static void note_receipt(void *arg, const struct router_receipt *receipt)
{
    *(enum receipt_code *)arg = receipt->code;
}

static void what_leaves_says_who_and_since_when(void **state)
{
    (void)state;
    enum receipt_code code = RECEIPT_INVALID;
    struct envelope e = {.id = numbered_id(1), .to = text_view("far"), .subject = text_view("q")};
    assert_int_equal(endpoint_submit(db, &e, note_receipt, &code), 0);
    assert_memory_equal(b.last.routing_key.data, "acme.far", 8);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-host", "h1"));
    assert_true(header_is("env-epoch", "7"));
    assert_true(b.last.mandatory);
    outcome(BROKER_FORBIDDEN);
    assert_int_equal(code, RECEIPT_HOST_UNREACHABLE);
}

static void each_start_has_a_later_epoch(void **state)
{
    (void)state;
    char folder[] = "/tmp/envd-epoch-XXXXXX", path[64];
    struct err err;
    uint64_t first = 0, second = 0, lost = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/epoch", folder);
    assert_int_equal(remote_epoch(folder, 1000, &first, &err), 0);
    assert_int_equal(remote_epoch(folder, 500, &second, &err), 0);
    assert_int_equal(first, 1000);
    assert_int_equal(second, 1001);
    unlink(path);
    assert_int_equal(remote_epoch(folder, 5000, &lost, &err), 0);
    assert_int_equal(lost, 5000);
    unlink(path);
    rmdir(folder);
    assert_true(remote_epoch(folder, 1, &lost, &err) < 0);
}

static void on_count(void *arg, uint64_t tag, uint32_t messages, const char *why)
{
    assert_int_equal(tag, 3);
    assert_null(why);
    *(uint32_t *)arg = messages;
}

static void what_waits_at_the_broker_is_counted_in_the_environments_own_queue(void **state)
{
    (void)state;
    uint32_t n = 0;
    assert_int_equal(remote_queue_count(remote, "acme", "db", on_count, &n, 3), 0);
    assert_wanted("count:mailbox.acme.db ");
    assert_int_equal(n, 42);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(queues_and_bindings_follow_the_class),
        TEST(a_queue_is_consumed_while_its_environment_runs),
        TEST(a_deleted_environments_queue_is_deleted),
        TEST(a_queue_whose_end_the_broker_did_not_hear_of_is_deleted_after_a_restart),
        TEST(the_queue_of_an_environment_that_was_made_again_is_not_deleted),
        TEST(the_queue_of_an_environment_whose_mail_now_comes_by_its_host_is_deleted),
        TEST(a_service_is_consumed_while_it_is_served_and_its_queue_stays),
        TEST(above_the_window_acknowledgements_wait_for_room_in_order),
        TEST(what_is_held_too_long_is_acknowledged_and_the_queue_left_alone),
        TEST(handles_of_a_lost_connection_are_forgotten),
        TEST_SMALL(a_full_mailbox_puts_back_what_follows_until_there_is_room),
        TEST_SMALL(a_full_mailbox_without_a_queue_is_nobody_elses_problem),
        TEST(what_leaves_says_who_and_since_when),
        TEST(what_waits_at_the_broker_is_counted_in_the_environments_own_queue),
        cmocka_unit_test(each_start_has_a_later_epoch),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
