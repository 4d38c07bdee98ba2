// Tests of the broker's dead letters: looked at, thrown away and replayed (dead.c, dead_replay.c).
#include "linked.h"

#include <errno.h>

#include "remote/dead.h"

static struct remote_dead_end dead_end;

static unsigned n_looked, n_ended;
static char looked_at[REMOTE_DEAD_NAME_CAP];

static void on_dead(void *arg, uint64_t tag, const struct remote_dead *d, const struct remote_dead_end *end)
{
    (void)arg;
    assert_int_equal(tag, 9);
    if (d) {
        n_looked++;
        memcpy(looked_at, d->letter, sizeof looked_at);
        return;
    }
    n_ended++;
    dead_end = *end;
}

static void walk(enum remote_dead_what what, const char *letter, uint32_t position, uint32_t limit)
{
    const struct remote_dead_ask ask = {what, letter, position, limit};
    n_looked = n_ended = 0;
    assert_int_equal(remote_dead_walk(remote, &ask, on_dead, NULL, 9), 0);
}

// Letter n as h1 buried it: a message of acme/far by h2, or of the client ops.
static void dead_letter(uint64_t handle, unsigned n, const char *writer, const char *user,
                        const char *exchange, const char *kind)
{
    char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    struct broker_delivery d = {.handle = handle,
                                .exchange = text("env.dead"),
                                .routing_key = text("acme.db"),
                                .body = text("hello")};
    const char *headers[][2] = {
        {"env-version", "1"},      {"env-kind", kind},       {"env-to", "acme/db"},
        {"env-from", "acme/far"},  {"env-epoch", "3"},       {"env-host", "h2"},
        {"env-refused", "denied"}, {"env-refused-by", "h1"}, {"env-refused-exchange", exchange},
        {"env-refused-user", user}};
    bool client = strncmp(user, "client", 6) == 0;
    d.properties =
        (struct broker_properties){.message_id = text(id), .user_id = text(writer), .type = text("q")};
    for (size_t i = client ? 6 : 0; i < 10; i++)
        d.properties.headers[d.properties.n_headers++] =
            (struct broker_header){text(headers[i][0]), text(headers[i][1])};
    get.cb(get.arg, &d, NULL);
}

static void end_of_letters(void)
{
    get.cb(get.arg, NULL, NULL);
}

static void a_page_of_letters_is_looked_at_and_all_are_put_back(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_LOOK, NULL, 1, 2);
    assert_int_equal(get.n, 4);
    for (unsigned i = 1; i <= 4; i++)
        dead_letter(i, i, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    assert_int_equal(n_looked, 2);
    assert_true(dead_end.more);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(b.settled[i], REQUEUE);
}

static void one_letter_is_thrown_away_by_its_name_or_its_id(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_LOOK, NULL, 0, 1);
    dead_letter(1, 7, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    walk(REMOTE_DEAD_PURGE, looked_at, 0, 1);
    dead_letter(2, 6, "envd.h1", "envd.h2", "env", "send");
    dead_letter(3, 7, "envd.h1", "envd.h2", "env", "send");
    dead_letter(4, 7, "envd.h1", "envd.h2", "env", "send"); // the same again
    end_of_letters();
    assert_int_equal(b.settled[2], REQUEUE);
    assert_int_equal(b.settled[3], ACK);
    assert_int_equal(b.settled[4], REQUEUE);
    assert_int_equal(dead_end.done, 1);
    assert_false(dead_end.more);
}

static void a_replayed_letter_goes_once_the_broker_has_it(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    assert_int_equal(n_ended, 0);
    assert_memory_equal(b.last.exchange.data, "env", b.last.exchange.len);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-replayed-by", "h1"));
    assert_true(header_is("env-replayed-exchange", "env"));
    assert_true(header_is("env-host", "h2"));
    assert_false(header_is("env-refused", "denied"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(dead_end.done, 1);
}

static void a_letter_whose_receiver_is_gone_stays(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "client.ops", "client.ops", "send");
    assert_true(header_is("env-replayed-exchange", "client.ops"));
    end_of_letters();
    outcome(BROKER_RETURNED);
    assert_int_equal(b.settled[1], REQUEUE);
    assert_int_equal(dead_end.kept, 1);
    assert_string_equal(dead_end.code, "no-such-environment");
}

static void what_is_not_proven_or_lies_or_is_over_is_not_replayed(void **state)
{
    (void)state;
    unsigned before = b.n_published;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "", "envd.h2", "env", "send");        // whoever wrote that, it was no host
    dead_letter(2, 2, "envd.h1", "envd.h3", "env", "send"); // h3 said that it was h2
    dead_letter(3, 3, "envd.h1", "envd.h2", "elsewhere", "send");
    dead_letter(4, 4, "envd.h1", "envd.h2", "env", "reply");
    end_of_letters();
    assert_int_equal(b.n_published, before);
    assert_int_equal(dead_end.kept, 4);
    assert_int_equal(dead_end.done, 0);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(b.settled[i], REQUEUE);
}

static void a_walk_ends_with_the_link_whatever_is_under_way(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    const struct remote_dead_ask again = {REMOTE_DEAD_LOOK, NULL, 0, 1};
    assert_int_equal(remote_dead_walk(remote, &again, on_dead, NULL, 9), -EBUSY);
    remote_stop(remote);
    assert_int_equal(n_ended, 0);
    assert_int_equal(b.settled[1], NOT_YET);
    assert_int_equal(remote_dead_walk(remote, &again, on_dead, NULL, 9), -ENOTCONN);
}

// A replayed delivery of h2's message, published by `by`.
static void replayed_arrives(uint64_t handle, unsigned n, const char *by, const char *user)
{
    char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    const char *headers[][2] = {{"env-version", "1"},    {"env-kind", "send"},
                                {"env-to", "acme/db"},   {"env-from", "acme/far"},
                                {"env-epoch", "1"},      {"env-host", "h2"},
                                {"env-replayed-by", by}, {"env-replayed-exchange", "env"}};
    struct broker_delivery d = {.handle = handle,
                                .consumer = b.mailbox_consumer,
                                .exchange = text("env"),
                                .routing_key = text("acme.db"),
                                .body = text("hello")};
    d.properties = (struct broker_properties){
        .message_id = text(id), .user_id = text(user), .type = text("q"), .n_headers = 8};
    for (size_t i = 0; i < 8; i++)
        d.properties.headers[i] = (struct broker_header){text(headers[i][0]), text(headers[i][1])};
    b.cb.on_delivery(b.arg, &d);
    router_flush(f.router);
}

static void a_replayed_message_is_decided_on_again_whoever_replays_it(void **state)
{
    (void)state;
    arrives(1, 1);                           // epoch 3
    replayed_arrives(2, 2, "h1", "envd.h1"); // of an earlier life, by this host itself
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 2);
    replayed_arrives(3, 3, "h3", "envd.h2"); // says that another replays it
    assert_true(header_is("env-refused", "lying-sender"));
    fixture_policy(&f, "* * * deny");
    replayed_arrives(4, 4, "h1", "envd.h1");
    assert_true(header_is("env-refused", "denied"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_page_of_letters_is_looked_at_and_all_are_put_back),
        TEST(one_letter_is_thrown_away_by_its_name_or_its_id),
        TEST(a_replayed_letter_goes_once_the_broker_has_it),
        TEST(a_letter_whose_receiver_is_gone_stays),
        TEST(what_is_not_proven_or_lies_or_is_over_is_not_replayed),
        TEST(a_walk_ends_with_the_link_whatever_is_under_way),
        TEST(a_replayed_message_is_decided_on_again_whoever_replays_it),
    };
    return cmocka_run_group_tests_name("remote_dead", tests, NULL, NULL);
}
