// Tests of the mailbox that lives in memory (mailbox_memory.c, seen.c), through the interface alone.
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "route/mailbox.h"
#include "route/seen.h"

#define NOW_MS 1000000u

static struct mailbox_budget budget;
static struct mailbox *mb;

static int setup(void **state)
{
    (void)state;
    budget = (struct mailbox_budget){.bytes_max = 1u << 20};
    mb = mailbox_memory_new(
        &(struct mailbox_limits){.messages_max = 8, .bytes_max = 4096, .window = 16, .budget = &budget});
    return mb ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    mb->ops->close(mb);
    assert_int_equal(budget.bytes, 0);
    return 0;
}

static struct id id_of(unsigned n)
{
    struct id id = {{1}};
    memcpy(id.bytes + 1, &n, sizeof n);
    return id;
}

struct what {
    unsigned n;
    uint64_t sender;
    enum message_kind kind;
    uint8_t priority;
    uint64_t expires_ms;
    size_t body_len;
};

static struct message *make(struct what what)
{
    static const uint8_t body[4096];
    const struct envelope e = {
        .kind = what.kind,
        .priority = what.priority,
        .id = id_of(what.n),
        .expires_ms = what.expires_ms,
        .from = {(const uint8_t *)"acme/web", 8},
        .to = {(const uint8_t *)"acme/db", 7},
        .subject = {(const uint8_t *)"s", 1},
        .body = {body, what.body_len},
    };
    struct message *m = message_new(&e, what.sender * 1000003u + what.n);
    assert_non_null(m);
    return m;
}

static void note_outcome(void *arg, enum mailbox_outcome outcome)
{
    *(enum mailbox_outcome *)arg = outcome;
}

static enum mailbox_outcome put(struct what what)
{
    struct message *m = make(what);
    enum mailbox_outcome outcome = (enum mailbox_outcome) - 1;
    mb->ops->put(mb, m, NOW_MS, note_outcome, &outcome);
    message_unref(m);
    return outcome;
}

// The number of the next message, or 0.
static unsigned next_at(uint64_t now_ms, bool replies_only)
{
    struct message *m = mb->ops->next(mb, now_ms, replies_only);
    unsigned n = 0;
    if (m)
        memcpy(&n, m->id.bytes + 1, sizeof n);
    message_unref(m);
    return n;
}

static unsigned next(void)
{
    return next_at(NOW_MS, false);
}

static bool ack(unsigned n)
{
    const struct id id = id_of(n);
    return mb->ops->ack(mb, &id);
}

static bool release(unsigned n)
{
    const struct id id = id_of(n);
    return mb->ops->release(mb, &id);
}

static struct mailbox_stats stats(void)
{
    struct mailbox_stats s;
    mb->ops->get_stats(mb, &s);
    return s;
}

static void messages_come_in_the_order_of_their_arrival(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(put((struct what){.n = i}), MAILBOX_STORED);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(next(), i);
    assert_int_equal(next(), 0);
}

static void higher_priority_comes_first_and_replies_before_all(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    put((struct what){.n = 2, .priority = 9});
    put((struct what){.n = 3, .priority = 4});
    put((struct what){.n = 4, .kind = MESSAGE_REPLY});
    assert_int_equal(next(), 4);
    assert_int_equal(next(), 2);
    assert_int_equal(next(), 3);
    assert_int_equal(next(), 1);
}

static void without_credit_only_replies_can_be_taken(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    assert_false(mb->ops->has_next(mb, true));
    assert_int_equal(next_at(NOW_MS, true), 0);
    put((struct what){.n = 2, .kind = MESSAGE_REPLY});
    assert_true(mb->ops->has_next(mb, true));
    assert_int_equal(next_at(NOW_MS, true), 2);
    assert_int_equal(next_at(NOW_MS, true), 0);
}

static void what_is_acknowledged_is_gone_and_what_is_out_is_not(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    put((struct what){.n = 2});
    assert_false(ack(1)); // not out yet
    assert_int_equal(next(), 1);
    assert_int_equal(stats().messages, 2);
    assert_int_equal(stats().out, 1);
    assert_true(ack(1));
    assert_false(ack(1));
    assert_int_equal(stats().messages, 1);
    assert_int_equal(stats().out, 0);
}

static void what_is_released_comes_again_at_its_place(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 4; i++)
        put((struct what){.n = i});
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(next(), i);
    assert_false(release(4));
    assert_true(release(3));
    assert_true(release(1));
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 3);
    assert_int_equal(next(), 4);
}

static void when_the_receiver_goes_away_all_comes_again_in_order(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 4; i++)
        put((struct what){.n = i});
    for (unsigned i = 1; i <= 3; i++)
        next();
    ack(2);
    mb->ops->release_all(mb);
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 3);
    assert_int_equal(next(), 4);
}

static void an_acknowledgement_after_a_reconnect_is_honoured(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    next();
    mb->ops->release_all(mb);
    assert_true(ack(1));
    assert_int_equal(next(), 0);
}

static void the_same_message_is_stored_once(void **state)
{
    (void)state;
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_STORED);
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_DUPLICATE);
    next();
    ack(1);
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_DUPLICATE); // processed, and still known
    assert_int_equal(put((struct what){.n = 1, .sender = 2}), MAILBOX_STORED);
    next();
    ack(1);
    for (unsigned i = 100; i < 116; i++) {
        put((struct what){.n = i});
        next();
        ack(i);
    }
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_STORED); // the window has moved on
}

static void what_still_waits_is_a_duplicate_beyond_the_window(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    for (unsigned i = 100; i < 130; i++) {
        put((struct what){.n = i, .priority = 5});
        next();
        ack(i);
    }
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_DUPLICATE);
}

static void two_senders_may_use_one_id_and_each_is_acknowledged(void **state)
{
    (void)state;
    put((struct what){.n = 1, .sender = 1});
    put((struct what){.n = 1, .sender = 2});
    assert_int_equal(next(), 1);
    assert_true(ack(1));
    assert_int_equal(next(), 1);
    assert_true(ack(1));
    assert_int_equal(stats().messages, 0);
}

static void a_full_mailbox_refuses_by_number(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 8; i++)
        assert_int_equal(put((struct what){.n = i}), MAILBOX_STORED);
    assert_false(mb->ops->has_room(mb, 1));
    assert_int_equal(put((struct what){.n = 9}), MAILBOX_FULL);
    next();
    assert_int_equal(put((struct what){.n = 9}), MAILBOX_FULL); // out is not gone
    ack(1);
    assert_int_equal(put((struct what){.n = 9}), MAILBOX_STORED);
}

static void a_full_mailbox_refuses_by_bytes(void **state)
{
    (void)state;
    assert_int_equal(put((struct what){.n = 1, .body_len = 2500}), MAILBOX_STORED);
    assert_int_equal(put((struct what){.n = 2, .body_len = 2500}), MAILBOX_FULL);
    assert_int_equal(put((struct what){.n = 3, .body_len = 100}), MAILBOX_STORED);
}

static void all_mailboxes_share_one_budget(void **state)
{
    (void)state;
    budget.bytes_max = 3000;
    struct mailbox *other = mailbox_memory_new(
        &(struct mailbox_limits){.messages_max = 8, .bytes_max = 4096, .window = 16, .budget = &budget});
    assert_int_equal(put((struct what){.n = 1, .body_len = 2000}), MAILBOX_STORED);
    struct message *m = make((struct what){.n = 2, .body_len = 2000});
    enum mailbox_outcome outcome;
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    assert_int_equal(outcome, MAILBOX_FULL);
    next();
    ack(1);
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    assert_int_equal(outcome, MAILBOX_STORED);
    message_unref(m);
    other->ops->close(other);
}

static void a_full_mailbox_still_takes_replies(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 8; i++)
        put((struct what){.n = i});
    for (unsigned i = 11; i <= 18; i++)
        assert_int_equal(put((struct what){.n = i, .kind = MESSAGE_REPLY}), MAILBOX_STORED);
    assert_int_equal(put((struct what){.n = 19, .kind = MESSAGE_REPLY}), MAILBOX_FULL);
}

static void what_expired_is_not_delivered(void **state)
{
    (void)state;
    put((struct what){.n = 1, .expires_ms = NOW_MS + 10});
    put((struct what){.n = 2});
    assert_int_equal(next_at(NOW_MS + 10, false), 2);
    assert_int_equal(stats().expired, 1);
}

static void what_expired_makes_room(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 8; i++)
        put((struct what){.n = i, .expires_ms = NOW_MS + i});
    mb->ops->expire(mb, NOW_MS + 4);
    assert_int_equal(stats().messages, 4);
    assert_int_equal(stats().expired, 4);
    mb->ops->expire(mb, NOW_MS + 8);
    assert_int_equal(stats().messages, 0);
}

static void what_is_out_does_not_expire_but_does_once_released(void **state)
{
    (void)state;
    put((struct what){.n = 1, .expires_ms = NOW_MS + 5});
    next();
    mb->ops->expire(mb, NOW_MS + 9);
    assert_int_equal(stats().messages, 1);
    release(1);
    mb->ops->expire(mb, NOW_MS + 9);
    assert_int_equal(stats().messages, 0);
}

static void the_window_forgets_the_oldest(void **state)
{
    (void)state;
    struct seen *seen = seen_new(3);
    for (uint64_t key = 1; key <= 4; key++)
        seen_add(seen, key);
    assert_false(seen_has(seen, 1));
    for (uint64_t key = 2; key <= 4; key++)
        assert_true(seen_has(seen, key));
    seen_free(seen);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_come_in_the_order_of_their_arrival),
        TEST(higher_priority_comes_first_and_replies_before_all),
        TEST(without_credit_only_replies_can_be_taken),
        TEST(what_is_acknowledged_is_gone_and_what_is_out_is_not),
        TEST(what_is_released_comes_again_at_its_place),
        TEST(when_the_receiver_goes_away_all_comes_again_in_order),
        TEST(an_acknowledgement_after_a_reconnect_is_honoured),
        TEST(the_same_message_is_stored_once),
        TEST(what_still_waits_is_a_duplicate_beyond_the_window),
        TEST(two_senders_may_use_one_id_and_each_is_acknowledged),
        TEST(a_full_mailbox_refuses_by_number),
        TEST(a_full_mailbox_refuses_by_bytes),
        TEST(all_mailboxes_share_one_budget),
        TEST(a_full_mailbox_still_takes_replies),
        TEST(what_expired_is_not_delivered),
        TEST(what_expired_makes_room),
        TEST(what_is_out_does_not_expire_but_does_once_released),
        cmocka_unit_test(the_window_forgets_the_oldest),
    };
    return cmocka_run_group_tests_name("route/mailbox", tests, NULL, NULL);
}
