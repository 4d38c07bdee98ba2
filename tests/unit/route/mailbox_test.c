// Tests of the mailbox of class host (mailbox_host.c, mailbox_dead.c, seen.c), through the interface alone,
// with a journal of its own.
#include "testing.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal/journal.h"
#include "route/kept_box.h"
#include "route/mailbox.h"
#include "route/seen.h"

#define NOW_MS 1000000u

static struct mailbox_budget budget;
static struct mailbox *mb;
static struct event_base *base;
static struct journal *journal;
static char folder[64];
static const struct mailbox_limits limits = {
    .messages_max = 8, .bytes_max = 4096, .window = 16, .attempts_max = 3, .dead_max = 2, .budget = &budget};

static int setup(void **state)
{
    (void)state;
    static const struct journal_cb cb = {0};
    struct err err;
    snprintf(folder, sizeof folder, "/tmp/mailbox-XXXXXX");
    const struct journal_config config = {.folder = folder, .segment_bytes = 64u << 10, .bytes_max = 1};
    base = event_base_new();
    budget = (struct mailbox_budget){.bytes_max = 1u << 20};
    if (!mkdtemp(folder) || journal_open(base, &config, &cb, NULL, &journal, &err) < 0)
        return -1;
    mb = mailbox_host_new(&limits, &journal, "acme", "db", NULL);
    return mb ? 0 : -1;
}

static void remove_folder(void)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}

static int teardown(void **state)
{
    (void)state;
    mb->ops->close(mb, true);
    assert_int_equal(budget.bytes, 0);
    journal_close(journal);
    event_base_free(base);
    remove_folder();
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
    journal_flush(journal);
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
    return mb->ops->release(mb, &id, false, NOW_MS);
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

static void fail_times(unsigned n, unsigned times)
{
    const struct id id = id_of(n);
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(next(), n);
        assert_true(mb->ops->release(mb, &id, true, NOW_MS + i));
    }
}

static void what_is_given_back_too_often_is_a_dead_letter(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    fail_times(1, 2);
    assert_int_equal(stats().dead, 0);
    fail_times(1, 1);
    assert_int_equal(stats().dead, 1);
    assert_int_equal(stats().messages, 0);
    assert_int_equal(next(), 0);
    assert_int_equal(put((struct what){.n = 1}), MAILBOX_DUPLICATE);
}

static void giving_back_without_having_tried_does_not_count(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(next(), 1);
        assert_true(release(1));
    }
    assert_int_equal(stats().dead, 0);
}

static void die(uint64_t now_ms)
{
    mb->ops->release_all(mb, true, now_ms);
}

static enum mailbox_reason death;
static uint32_t death_attempts;

static void note_death(void *arg, const struct mailbox_item *item)
{
    (void)arg;
    death = item->reason;
    death_attempts = item->attempts;
}

static void what_its_receiver_dies_of_is_a_dead_letter_and_what_is_behind_it_comes(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++)
        put((struct what){.n = i});
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(next(), 1);
        next(); // in the window behind it, when it is given out at all
        die(NOW_MS);
    }
    assert_int_equal(stats().dead, 1);
    mb->ops->list(mb, true, 1, note_death, NULL);
    assert_int_equal(death, MAILBOX_RECEIVER_DIED);
    assert_int_equal(death_attempts, 3);
    assert_int_equal(next(), 2);
    assert_int_equal(next(), 3);
}

static void an_end_that_is_nobodys_fault_does_not_count(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(next(), 1);
        mb->ops->release_all(mb, false, NOW_MS);
    }
    assert_int_equal(stats().dead, 0);
}

static void what_only_waits_in_the_window_of_who_dies_does_not_count(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    for (unsigned i = 10; i < 15; i++) { // each time another one is the oldest, and is processed at last
        put((struct what){.n = i, .priority = 5});
        assert_int_equal(next(), i);
        assert_int_equal(next(), 1);
        die(NOW_MS);
        assert_int_equal(next(), i);
        assert_true(ack(i));
    }
    assert_int_equal(stats().dead, 0);
    assert_int_equal(next(), 1);
}

// 1 is slow, and 2 is what its receiver dies of, which works on both at once.
static void what_was_in_hand_at_deaths_is_tried_alone_so_that_the_innocent_is_acknowledged(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    put((struct what){.n = 2});
    put((struct what){.n = 3, .kind = MESSAGE_REPLY});
    assert_int_equal(next(), 3);
    assert_true(ack(3));
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 2);
    die(NOW_MS);
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 0);
    assert_false(mb->ops->has_next(mb, false));
    put((struct what){.n = 4, .kind = MESSAGE_REPLY});
    assert_int_equal(next(), 4); // answers to its calls it may need for it
    assert_true(ack(1));
    assert_int_equal(next(), 2);
    assert_true(ack(4));
}

static void nothing_waits_for_ever_for_what_is_tried_alone(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    put((struct what){.n = 2});
    next();
    die(NOW_MS);
    assert_int_equal(next(), 1);
    assert_false(mb->ops->expire(mb, NOW_MS + MAILBOX_ALONE_MS - 1));
    assert_int_equal(next(), 0);
    assert_true(mb->ops->expire(mb, NOW_MS + MAILBOX_ALONE_MS));
    assert_int_equal(next(), 2);
}

static void what_is_put_off_counts_when_it_was_tried_and_is_not_in_hand(void **state)
{
    (void)state;
    const struct id id = id_of(1);
    put((struct what){.n = 1});
    put((struct what){.n = 2});
    assert_false(mb->ops->put_off(mb, &id, true, NOW_MS)); // it is not out
    assert_int_equal(next(), 1);
    assert_true(mb->ops->put_off(mb, &id, true, NOW_MS)); // 1
    assert_int_equal(next(), 2);
    die(NOW_MS); // of 2
    assert_int_equal(next(), 1);
    assert_true(mb->ops->put_off(mb, &id, false, NOW_MS));
    assert_true(release(1));
    assert_int_equal(next(), 1);
    assert_true(mb->ops->put_off(mb, &id, true, NOW_MS)); // 2
    assert_true(release(1));
    assert_int_equal(next(), 1);
    assert_int_equal(stats().dead, 0);
    assert_false(mb->ops->put_off(mb, &id, true, NOW_MS)); // 3
    assert_int_equal(stats().dead, 1);
    mb->ops->list(mb, true, 1, note_death, NULL);
    assert_int_equal(death, MAILBOX_RELEASED_TOO_OFTEN);
}

static void the_oldest_dead_letter_makes_room(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        put((struct what){.n = i});
        fail_times(i, 3);
    }
    assert_int_equal(stats().dead, 2);
    assert_int_equal(stats().dead_dropped, 1);
}

static unsigned listed[16];
static size_t n_listed;

static void note_listed(void *arg, const struct mailbox_item *item)
{
    (void)arg;
    memcpy(&listed[n_listed++], item->message->id.bytes + 1, sizeof listed[0]);
}

static void messages_and_dead_letters_are_listed_and_replayed(void **state)
{
    (void)state;
    put((struct what){.n = 1});
    fail_times(1, 3);
    put((struct what){.n = 2});
    put((struct what){.n = 3, .priority = 7});
    n_listed = 0;
    mb->ops->list(mb, false, 16, note_listed, NULL);
    assert_int_equal(n_listed, 2);
    assert_int_equal(listed[0], 3);
    assert_int_equal(listed[1], 2);
    n_listed = 0;
    mb->ops->list(mb, true, 16, note_listed, NULL);
    assert_int_equal(n_listed, 1);
    assert_int_equal(listed[0], 1);
    const struct id other = id_of(9), id = id_of(1);
    assert_int_equal(mb->ops->replay(mb, &other), 0);
    assert_int_equal(mb->ops->replay(mb, &id), 1);
    assert_int_equal(next(), 3);
    assert_int_equal(next(), 2);
    assert_int_equal(next(), 1);
}

static void purging_leaves_what_is_out(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++)
        put((struct what){.n = i});
    assert_int_equal(next(), 1);
    assert_int_equal(mb->ops->purge(mb, false, NULL), 2);
    assert_int_equal(stats().messages, 1);
    assert_true(ack(1));
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
        TEST(what_is_given_back_too_often_is_a_dead_letter),
        TEST(giving_back_without_having_tried_does_not_count),
        TEST(what_its_receiver_dies_of_is_a_dead_letter_and_what_is_behind_it_comes),
        TEST(an_end_that_is_nobodys_fault_does_not_count),
        TEST(what_only_waits_in_the_window_of_who_dies_does_not_count),
        TEST(what_was_in_hand_at_deaths_is_tried_alone_so_that_the_innocent_is_acknowledged),
        TEST(nothing_waits_for_ever_for_what_is_tried_alone),
        TEST(what_is_put_off_counts_when_it_was_tried_and_is_not_in_hand),
        TEST(the_oldest_dead_letter_makes_room),
        TEST(messages_and_dead_letters_are_listed_and_replayed),
        TEST(purging_leaves_what_is_out),
        cmocka_unit_test(the_window_forgets_the_oldest),
    };
    return cmocka_run_group_tests_name("route/mailbox", tests, NULL, NULL);
}
