// Tests of what a mailbox of class host makes a dead letter of, and of listing, replaying and purging
// (mailbox_host.c, mailbox_dead.c).
#include "box.h"

#include <string.h>

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("route/mailbox_letters", tests, NULL, NULL);
}
