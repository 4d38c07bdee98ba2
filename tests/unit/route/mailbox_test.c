// Tests of the mailbox of class host (mailbox_host.c, seen.c), through the interface alone: order, credit,
// limits, duplicates, and what is durable when.
#include "box.h"

#include <unistd.h>

#include "journal/journal.h"
#include "route/seen.h"

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
    mb->ops->release_all(mb, false, NOW_MS);
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 3);
    assert_int_equal(next(), 4);
}

static void an_acknowledgement_after_a_reconnect_is_honoured(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    next();
    mb->ops->release_all(mb, false, NOW_MS);
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
    struct mailbox *other = mailbox_host_new(&limits, &journal, "acme", "web", NULL);
    assert_int_equal(put((struct what){.n = 1, .body_len = 2000}), MAILBOX_STORED);
    struct message *m = make((struct what){.n = 2, .body_len = 2000});
    enum mailbox_outcome outcome;
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    assert_int_equal(outcome, MAILBOX_FULL);
    next();
    ack(1);
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    journal_flush(journal);
    assert_int_equal(outcome, MAILBOX_STORED);
    message_unref(m);
    other->ops->close(other, true);
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

static void nothing_is_given_out_before_it_is_durable(void **state)
{
    (void)state;
    struct message *m = make((struct what){.n = 1});
    enum mailbox_outcome outcome = (enum mailbox_outcome) - 1;
    mb->ops->put(mb, m, NOW_MS, note_outcome, &outcome);
    assert_int_equal(outcome, (enum mailbox_outcome) - 1);
    assert_false(mb->ops->has_next(mb, false));
    assert_int_equal(next(), 0);
    journal_flush(journal);
    assert_int_equal(outcome, MAILBOX_STORED);
    assert_int_equal(next(), 1);
    message_unref(m);
}

static void what_is_put_again_meanwhile_ends_as_the_first_does(void **state)
{
    (void)state;
    struct message *m = make((struct what){.n = 1});
    enum mailbox_outcome outcomes[2];
    for (unsigned i = 0; i < 2; i++)
        mb->ops->put(mb, m, NOW_MS, note_outcome, &outcomes[i]);
    journal_flush(journal);
    assert_int_equal(outcomes[0], MAILBOX_STORED);
    assert_int_equal(outcomes[1], MAILBOX_DUPLICATE);
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 0);
    message_unref(m);
}

static void closing_tells_who_still_waits(void **state)
{
    (void)state;
    struct message *m = make((struct what){.n = 1});
    struct mailbox *other = mailbox_host_new(&limits, &journal, "acme", "web", NULL);
    enum mailbox_outcome outcome = (enum mailbox_outcome) - 1;
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    other->ops->close(other, true);
    assert_int_equal(outcome, MAILBOX_UNKNOWN);
    message_unref(m);
}

static void without_a_journal_nothing_is_stored(void **state)
{
    (void)state;
    static struct journal *none;
    struct mailbox *other = mailbox_host_new(&limits, &none, "acme", "web", NULL);
    struct message *m = make((struct what){.n = 1});
    enum mailbox_outcome outcome = MAILBOX_STORED;
    other->ops->put(other, m, NOW_MS, note_outcome, &outcome);
    assert_int_equal(outcome, MAILBOX_FULL);
    other->ops->close(other, false);
    message_unref(m);
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
        TEST(nothing_is_given_out_before_it_is_durable),
        TEST(what_is_put_again_meanwhile_ends_as_the_first_does),
        TEST(closing_tells_who_still_waits),
        TEST(without_a_journal_nothing_is_stored),
        cmocka_unit_test(the_window_forgets_the_oldest),
    };
    return cmocka_run_group_tests_name("route/mailbox", tests, NULL, NULL);
}
