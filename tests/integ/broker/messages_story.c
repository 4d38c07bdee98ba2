// Messages through a real broker: outcomes of publications, deliveries and their settlement, what is
// declared.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct peer p;

static int setup(void **state)
{
    (void)state;
    peer_start_ready(&p);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_stop(&p);
    return 0;
}

static void a_message_to_a_bound_queue_is_confirmed_and_arrives_whole(void **state)
{
    (void)state;
    struct broker_binding binding = {"env", "acme.web"};
    struct broker_queue q = {.name = "mailbox.acme.web", .bindings = &binding, .n_bindings = 1};
    peer_want_queue(&p, &q);
    broker_want_consumer(p.broker, "mailbox.acme.web", 10, 7);
    struct broker_publication pub = publication("env", "acme.web", "id-1", "hello");
    pub.properties.user_id = text("envd.h1");
    pub.properties.n_headers = 1;
    pub.properties.headers[0] = (struct broker_header){text("env-from"), text("acme/db")};
    assert_int_equal(peer_try_publish(&p, &pub), 0);
    run_until_at_least(&p.n_received, 1, 20);
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_CONFIRMED);
    const struct received *r = &p.received[0];
    assert_string_equal(r->id, "id-1");
    assert_string_equal(r->body, "hello");
    assert_string_equal(r->exchange, "env");
    assert_string_equal(r->key, "acme.web");
    assert_string_equal(r->user, "envd.h1");
    assert_string_equal(r->header, "acme/db");
    assert_int_equal(r->consumer, 7);
    assert_false(r->redelivered);
    broker_settle(p.broker, r->handle, BROKER_ACK);
    broker_unwant_queue(p.broker, "mailbox.acme.web", true);
    run_for(300);
}

static void a_message_to_nobody_is_returned(void **state)
{
    (void)state;
    peer_publish(&p, "env", "acme.nobody", "id-2", "hello");
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
}

static void returns_are_told_apart_from_confirms_by_id_in_a_crowd(void **state)
{
    (void)state;
    char id[32];
    struct broker_binding binding = {"env", "acme.some"};
    struct broker_queue q = {.name = "mailbox.acme.some", .bindings = &binding, .n_bindings = 1};
    peer_want_queue(&p, &q);
    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "crowd-%d", i);
        peer_publish(&p, "env", i % 3 == 0 ? "acme.nobody" : "acme.some", id, "x");
    }
    run_until_at_least(&p.n_done, 3000, 30);
    assert_int_equal(p.n_by_outcome[BROKER_RETURNED], 1000);
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], 2000);
    broker_unwant_queue(p.broker, "mailbox.acme.some", true);
    run_for(300);
}

static void a_full_queue_nacks(void **state)
{
    (void)state;
    struct broker_queue q = {.name = "mailbox.acme.full", .messages_max = 5};
    peer_want_queue(&p, &q);
    for (size_t i = 0; i < 20; i++) {
        peer_publish(&p, "", "mailbox.acme.full", NULL, "x");
        run_until_at_least(&p.n_done, i + 1, 20);
    }
    assert_in_range(p.n_by_outcome[BROKER_NACKED], 10, 15); // the limit is looked at from time to time
    assert_int_equal(p.n_by_outcome[BROKER_NACKED] + p.n_by_outcome[BROKER_CONFIRMED], 20);
    broker_unwant_queue(p.broker, "mailbox.acme.full", true);
    run_for(300);
}

static void bodies_of_every_size_pass_unharmed(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 32768, 32769, 131064, 1 << 20, 5 << 20};
    size_t n = sizeof sizes / sizeof sizes[0];
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.sizes");
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.sizes", 10, 1);
    char *body = malloc(sizes[n - 1]);
    memset(body, 'b', sizes[n - 1]);
    for (size_t i = 0; i < n; i++) {
        struct broker_publication pub = publication("", "mailbox.acme.sizes", "sized", "");
        pub.body = (struct broker_text){body, sizes[i]};
        assert_int_equal(peer_try_publish(&p, &pub), 0);
    }
    run_until_at_least(&p.n_received, n, 30);
    run_until_at_least(&p.n_done, n, 30);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p.received[i].len, sizes[i]);
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], n);
    free(body);
    broker_unwant_queue(p.broker, "mailbox.acme.sizes", true);
    run_for(300);
}

static void at_most_prefetch_deliveries_are_unsettled(void **state)
{
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.slow");
    peer_want_plain_queue(&p, "mailbox.acme.quick");
    broker_want_consumer(p.broker, "mailbox.acme.slow", 3, 1);
    broker_want_consumer(p.broker, "mailbox.acme.quick", 5, 2);
    for (int i = 0; i < 10; i++) {
        peer_publish(&p, "", "mailbox.acme.slow", NULL, "s");
        peer_publish(&p, "", "mailbox.acme.quick", NULL, "q");
    }
    run_until_at_least(&p.n_received, 8, 20);
    run_for(500);
    assert_int_equal(p.n_received, 8); // 3 and 5: each consumer has its own window
    for (int i = 0; i < 8; i++)
        if (p.received[i].consumer == 2)
            broker_settle(p.broker, p.received[i].handle, BROKER_ACK);
    run_until_at_least(&p.n_received, 13, 20);
    run_for(300);
    assert_int_equal(p.n_received, 13);
    broker_unwant_queue(p.broker, "mailbox.acme.slow", true);
    broker_unwant_queue(p.broker, "mailbox.acme.quick", true);
    run_for(300);
}

// A queue that is left and consumed again at once, as when an environment is restarted: what its first
// consumer was given and gives back comes before what the broker still has.
// See link_begin_renewal(): nothing is lost, put out of order or published twice by it.
static void a_quorum_queue_that_refuses_renews_the_channel_and_the_others_go_on(void **state)
{
    (void)state;
    enum { N = 400 };
    struct broker_config config = peer_config();
    config.queue_type = BROKER_QUEUE_QUORUM;
    struct peer quorum;
    peer_start(&quorum, &config);
    run_until_state(&quorum, BROKER_READY, 30);
    struct broker_queue full = {.name = "mailbox.acme.quorum-full", .messages_max = 5};
    peer_want_queue(&quorum, &full);
    peer_want_plain_queue(&quorum, "mailbox.acme.quorum");
    quorum.ack = true;
    broker_want_consumer(quorum.broker, "mailbox.acme.quorum", 100, 1);
    char body[16];
    for (int i = 0; i < N; i++) {
        snprintf(body, sizeof body, "%d", i);
        peer_publish(&quorum, "", "mailbox.acme.quorum-full", NULL, body);
        peer_publish(&quorum, "", "mailbox.acme.quorum", NULL, body);
        if (i % 50 == 0)
            run_for(100); // refusals come among publications
    }
    run_until_at_least(&quorum.n_done, 2 * N, 60);
    run_until_at_least(&quorum.n_received, N, 60);
    run_for(300);
    assert_true(quorum.n_by_outcome[BROKER_NACKED] > 0);
    assert_int_equal(quorum.n_by_outcome[BROKER_NACKED] + quorum.n_by_outcome[BROKER_CONFIRMED], 2 * N);
    assert_int_equal(quorum.n_received, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(atoi(quorum.received[i].body), i);
    struct broker_stats s = peer_stats(&quorum);
    assert_in_range(s.renewed, 1, 10);
    assert_int_equal(s.republished, 0);
    broker_unwant_queue(quorum.broker, "mailbox.acme.quorum-full", true);
    broker_unwant_queue(quorum.broker, "mailbox.acme.quorum", true);
    run_for(300);
    peer_stop(&quorum);
}

static void a_second_consumer_waits_for_what_the_first_gives_back(void **state)
{
    (void)state;
    char body[16];
    peer_want_plain_queue(&p, "mailbox.acme.again");
    for (int i = 0; i < 20; i++) {
        snprintf(body, sizeof body, "%d", i);
        peer_publish(&p, "", "mailbox.acme.again", NULL, body);
    }
    run_until_at_least(&p.n_done, 20, 20);
    broker_want_consumer(p.broker, "mailbox.acme.again", 8, 1);
    run_until_at_least(&p.n_received, 8, 20);
    broker_unwant_consumer(p.broker, 1);
    broker_want_consumer(p.broker, "mailbox.acme.again", 100, 2);
    run_for(500);
    assert_int_equal(p.n_received, 8);
    broker_settle(p.broker, p.received[0].handle, BROKER_ACK);
    for (int i = 1; i < 8; i++)
        broker_settle(p.broker, p.received[i].handle, BROKER_REQUEUE);
    run_until_at_least(&p.n_received, 8 + 19, 20);
    for (int i = 1; i < 20; i++)
        assert_int_equal(atoi(p.received[7 + i].body), i);
    broker_unwant_queue(p.broker, "mailbox.acme.again", true);
    run_for(300);
}

static void what_is_put_back_comes_again_and_says_so(void **state)
{
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.again");
    broker_want_consumer(p.broker, "mailbox.acme.again", 1, 1);
    peer_publish(&p, "", "mailbox.acme.again", NULL, "first");
    peer_publish(&p, "", "mailbox.acme.again", NULL, "second");
    run_until_at_least(&p.n_received, 1, 20);
    broker_settle(p.broker, p.received[0].handle, BROKER_REQUEUE);
    run_until_at_least(&p.n_received, 2, 20);
    assert_string_equal(p.received[1].body, "first");
    assert_true(p.received[1].redelivered);
    broker_settle(p.broker, p.received[1].handle, BROKER_ACK);
    broker_settle(p.broker, p.received[1].handle, BROKER_ACK); // twice: ignored, and the channel lives
    broker_settle(p.broker, 12345, BROKER_REQUEUE);
    run_until_at_least(&p.n_received, 3, 20);
    assert_string_equal(p.received[2].body, "second");
    broker_settle(p.broker, p.received[2].handle, BROKER_ACK);
    broker_unwant_queue(p.broker, "mailbox.acme.again", true);
    run_for(300);
    assert_int_equal(peer_stats(&p).reconnects, 0);
}

static void acks_in_any_order_leave_nothing_behind(void **state)
{
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.order");
    broker_want_consumer(p.broker, "mailbox.acme.order", 100, 1);
    for (int i = 0; i < 300; i++)
        peer_publish(&p, "", "mailbox.acme.order", NULL, "x");
    for (size_t done = 0; done < 300; done += 100) {
        run_until_at_least(&p.n_received, done + 100, 20);
        for (size_t i = 0; i < 100; i++) // all odd ones from the back, then the even ones from the front
            broker_settle(p.broker, p.received[done + (i < 50 ? 99 - 2 * i : 2 * (i - 50))].handle,
                          BROKER_ACK);
    }
    run_for(500);
    assert_int_equal(p.n_received, 300);
    struct broker_stats s = peer_stats(&p);
    assert_int_equal(s.unsettled, 0);
    assert_int_equal(s.acked, 300);
    assert_int_equal(s.reconnects, 0);
    broker_unwant_queue(p.broker, "mailbox.acme.order", true);
    run_for(300);
}

static void on_got(void *arg, const struct broker_delivery *d, const char *why)
{
    struct peer *peer = arg;
    if (!d) {
        peer->got_end = true;
        snprintf(peer->got_why, sizeof peer->got_why, "%s", why ? why : "");
        return;
    }
    struct received *r = &peer->received[peer->n_received++];
    r->handle = d->handle;
    snprintf(r->body, sizeof r->body, "%.*s", (int)d->body.len, d->body.data);
}

static bool got_end(void *arg)
{
    return ((struct peer *)arg)->got_end;
}

// What broker_count() told: how many, or why not.
static struct {
    bool told;
    uint32_t messages;
    char why[256];
} counted;

static void on_count(void *arg, uint64_t tag, uint32_t messages, const char *why)
{
    (void)arg;
    assert_int_equal(tag, 7);
    counted.told = true;
    counted.messages = messages;
    snprintf(counted.why, sizeof counted.why, "%s", why ? why : "");
}

static bool is_counted(void *arg)
{
    (void)arg;
    return counted.told;
}

static void count_in(const char *queue)
{
    counted.told = false;
    assert_int_equal(broker_count(p.broker, queue, on_count, NULL, 7), 0);
    run_until_true(is_counted, NULL, 20, "the count");
}

static void what_waits_in_a_queue_is_counted(void **state)
{
    (void)state;
    struct broker_queue q = {.name = "mailbox.acme.count"};
    peer_want_queue(&p, &q);
    count_in("mailbox.acme.count");
    assert_int_equal(counted.messages, 0);
    for (int i = 0; i < 3; i++)
        peer_publish(&p, "", "mailbox.acme.count", NULL, "x");
    run_for(500);
    count_in("mailbox.there.isnone");
    assert_non_null(strstr(counted.why, "no queue"));
    count_in("mailbox.acme.count"); // on the next channel
    assert_int_equal(counted.messages, 3);
    assert_string_equal(counted.why, "");
    broker_unwant_queue(p.broker, "mailbox.acme.count", true);
    run_for(300);
}

static void dead_letters_can_be_looked_at_and_taken(void **state)
{
    (void)state;
    struct broker_binding binding = {"env.dead", ""};
    struct broker_queue dead = {.name = "dead", .bindings = &binding, .n_bindings = 1};
    struct broker_queue q = {.name = "mailbox.acme.bad", .dead_letter_exchange = "env.dead"};
    peer_want_queue(&p, &dead);
    peer_want_queue(&p, &q);
    broker_want_consumer(p.broker, "mailbox.acme.bad", 10, 1);
    peer_publish(&p, "", "mailbox.acme.bad", NULL, "one");
    peer_publish(&p, "", "mailbox.acme.bad", NULL, "two");
    run_until_at_least(&p.n_received, 2, 20);
    broker_settle(p.broker, p.received[0].handle, BROKER_DEAD_LETTER);
    broker_settle(p.broker, p.received[1].handle, BROKER_DEAD_LETTER);
    run_for(500);
    for (int round = 0; round < 2; round++) { // looked at, then taken: the same two, in their order
        p.n_received = 0;
        p.got_end = false;
        assert_int_equal(broker_get(p.broker, "dead", 10, on_got, &p), 0);
        run_until_true(got_end, &p, 20, "the end of get");
        assert_string_equal(p.got_why, "");
        assert_int_equal(p.n_received, 2);
        assert_string_equal(p.received[0].body, "one");
        assert_string_equal(p.received[1].body, "two");
        for (int i = 0; i < 2; i++)
            broker_settle(p.broker, p.received[i].handle, round == 0 ? BROKER_REQUEUE : BROKER_ACK);
        run_for(300);
    }
    p.got_end = false;
    assert_int_equal(broker_get(p.broker, "mailbox.there.isnone", 10, on_got, &p), 0);
    run_until_true(got_end, &p, 20, "the end of get");
    assert_non_null(strstr(p.got_why, "no queue"));
    broker_unwant_queue(p.broker, "mailbox.acme.bad", true);
    run_for(300);
}

static void a_deleted_queue_is_declared_again_and_consumed(void **state)
{
    (void)state;
    struct broker_binding binding = {"env", "acme.gone"};
    struct broker_queue q = {.name = "mailbox.acme.gone", .bindings = &binding, .n_bindings = 1};
    peer_want_queue(&p, &q);
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.gone", 10, 1);
    run_for(300);
    size_t before = p.n_ready_queues;
    rig_broker_meanwhile("ctl", "delete_queue mailbox.acme.gone");
    run_until_at_least(&p.n_ready_queues, before + 1, 30);
    peer_publish(&p, "env", "acme.gone", "id-9", "back");
    run_until_at_least(&p.n_received, 1, 20);
    assert_string_equal(p.received[0].body, "back");
    assert_int_equal(peer_stats(&p).reconnects, 0);
    broker_unwant_queue(p.broker, "mailbox.acme.gone", true);
    run_for(300);
}

static bool says_why(void *arg)
{
    return strstr(((struct peer *)arg)->why, "mailbox.acme.other") != NULL;
}

static bool says_nothing(void *arg)
{
    return ((struct peer *)arg)->why[0] == '\0';
}

static void a_queue_with_other_arguments_is_named_and_used_and_made_anew_when_deleted(void **state)
{
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.fine");
    struct broker_binding binding = {"env", "acme.other"};
    struct broker_queue q = {
        .name = "mailbox.acme.other", .messages_max = 5, .bindings = &binding, .n_bindings = 1};
    peer_want_queue(&p, &q);
    broker_unwant_queue(p.broker, "mailbox.acme.other", false);
    q.messages_max = 6; // it is there with other arguments
    assert_int_equal(broker_want_queue(p.broker, &q), 0);
    run_until_true(says_why, &p, 20, "the reason");
    assert_int_equal(p.state, BROKER_READY);
    assert_non_null(strstr(p.why, "mailbox.acme.other has other arguments"));
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.fine", 10, 1);
    broker_want_consumer(p.broker, "mailbox.acme.other", 10, 2);
    peer_publish(&p, "", "mailbox.acme.fine", NULL, "x");
    peer_publish(&p, "env", "acme.other", "o-1", "x");
    run_until_at_least(&p.n_received, 2, 20);
    assert_int_equal(peer_stats(&p).differing, 1);
    rig_broker_meanwhile("ctl", "delete_queue --if-empty mailbox.acme.other");
    run_until_true(says_nothing, &p, 20, "healing");
    assert_int_equal(peer_stats(&p).differing, 0);
    peer_publish(&p, "env", "acme.other", "o-2", "x");
    run_until_at_least(&p.n_received, 3, 20);
    assert_int_equal(peer_stats(&p).wanted_missing, 0);
    broker_unwant_queue(p.broker, "mailbox.acme.fine", true);
    broker_unwant_queue(p.broker, "mailbox.acme.other", true);
    run_for(300);
}

static void a_binding_can_be_undone(void **state)
{
    (void)state;
    peer_want_plain_queue(&p, "mailbox.acme.bound");
    size_t before = p.n_ready_queues;
    broker_want_binding(p.broker, "mailbox.acme.bound", "env", "acme.b1");
    run_until_at_least(&p.n_ready_queues, before + 1, 20);
    peer_publish(&p, "env", "acme.b1", "b-1", "x");
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_CONFIRMED);
    broker_unwant_binding(p.broker, "mailbox.acme.bound", "env", "acme.b1");
    run_until_at_least(&p.n_ready_queues, before + 2, 20);
    peer_publish(&p, "env", "acme.b1", "b-2", "x");
    run_until_at_least(&p.n_done, 2, 20);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
    broker_unwant_queue(p.broker, "mailbox.acme.bound", true);
    run_for(300);
}

static void one_forbidden_publication_harms_no_other(void **state)
{
    (void)state;
    char id[32];
    peer_want_plain_queue(&p, "mailbox.acme.calm");
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.calm", 100, 1);
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "calm-%d", i);
        struct broker_publication pub = publication("", "mailbox.acme.calm", id, "x");
        if (i == 30)
            pub.properties.user_id = text("somebody.else");
        if (i == 40)
            pub.exchange = text("client.c1");
        if (i == 50)
            pub.exchange = text("env.nonexistent");
        assert_int_equal(peer_try_publish(&p, &pub), 0);
    }
    run_until_at_least(&p.n_done, 100, 30);
    assert_int_equal(p.n_by_outcome[BROKER_CONFIRMED], 97);
    assert_int_equal(p.n_by_outcome[BROKER_FORBIDDEN] + p.n_by_outcome[BROKER_RETURNED], 3);
    assert_int_equal(p.state, BROKER_READY);
    broker_unwant_queue(p.broker, "mailbox.acme.calm", true);
    run_for(300);
}

static void the_outbox_is_bounded_and_impatient_publications_are_not_sent(void **state)
{
    (void)state;
    struct peer away;
    struct broker_config config = peer_config();
    config.port = 1; // nobody listens there
    config.outbox_bytes_max = 100000;
    peer_start(&away, &config);
    struct broker_publication pub = publication("env", "acme.web", NULL, "x");
    pub.patience_ms = 300;
    size_t n = 0;
    while (peer_try_publish(&away, &pub) == 0)
        n++;
    assert_in_range(n, 100, 1000);
    run_until_state(&away, BROKER_UNREACHABLE, 20);
    run_until_at_least(&away.n_done, n, 20);
    assert_int_equal(away.n_by_outcome[BROKER_NOT_SENT], n);
    assert_int_equal(peer_try_publish(&away, &pub), 0); // there is room again
    size_t before = away.n_by_outcome[BROKER_NOT_SENT];
    peer_stop(&away);
    assert_int_equal(before, n);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_message_to_a_bound_queue_is_confirmed_and_arrives_whole),
        T(a_message_to_nobody_is_returned),
        T(returns_are_told_apart_from_confirms_by_id_in_a_crowd),
        T(a_full_queue_nacks),
        T(bodies_of_every_size_pass_unharmed),
        T(at_most_prefetch_deliveries_are_unsettled),
        T(a_quorum_queue_that_refuses_renews_the_channel_and_the_others_go_on),
        T(a_second_consumer_waits_for_what_the_first_gives_back),
        T(what_is_put_back_comes_again_and_says_so),
        T(acks_in_any_order_leave_nothing_behind),
        T(what_waits_in_a_queue_is_counted),
        T(dead_letters_can_be_looked_at_and_taken),
        T(a_deleted_queue_is_declared_again_and_consumed),
        T(a_queue_with_other_arguments_is_named_and_used_and_made_anew_when_deleted),
        T(a_binding_can_be_undone),
        T(one_forbidden_publication_harms_no_other),
        T(the_outbox_is_bounded_and_impatient_publications_are_not_sent),
    };
    int rc = rig_start("");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/messages", tests, NULL, NULL);
    rig_stop();
    return rc;
}
