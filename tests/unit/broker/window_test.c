// The window of unconfirmed publications (server/daemon/broker/window.c), and what a publication must be.
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/window.h"

static struct window w;
static struct item_queue done, waiting;

static int setup(void **state)
{
    (void)state;
    STAILQ_INIT(&done);
    STAILQ_INIT(&waiting);
    return window_init(&w, 8);
}

static struct publication *take(struct item_queue *q)
{
    struct item *item = STAILQ_FIRST(q);
    if (item)
        STAILQ_REMOVE_HEAD(q, link);
    return (struct publication *)item;
}

static int teardown(void **state)
{
    struct publication *p;
    (void)state;
    window_reset(&w, &waiting);
    while ((p = take(&waiting)))
        free(p);
    while ((p = take(&done)))
        free(p);
    window_done(&w);
    return 0;
}

static struct broker_text text(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

static void add(const char *id, const char *key)
{
    struct broker_publication p = {.exchange = text("env"),
                                   .routing_key = text(key),
                                   .mandatory = true,
                                   .properties.message_id = text(id)};
    struct publication *pub;
    assert_int_equal(publication_new(&p, &pub), 0);
    assert_true(window_has_room(&w));
    window_add(&w, pub);
}

static void assert_next(struct item_queue *q, const char *id, enum broker_outcome outcome)
{
    struct publication *p = take(q);
    assert_non_null(p);
    assert_memory_equal(p->properties.message_id.bytes, id, strlen(id));
    assert_int_equal(p->outcome, outcome);
    free(p);
}

static void one_confirm_settles_one(void **state)
{
    (void)state;
    add("a", "k");
    add("b", "k");
    assert_true(window_confirm(&w, 2, false, true, &done));
    assert_next(&done, "b", BROKER_CONFIRMED);
    assert_null(take(&done));
    assert_int_equal(w.n, 1);
}

static void a_multiple_confirm_settles_all_up_to_it_in_order(void **state)
{
    (void)state;
    add("a", "k");
    add("b", "k");
    add("c", "k");
    assert_true(window_confirm(&w, 2, true, true, &done));
    assert_next(&done, "a", BROKER_CONFIRMED);
    assert_next(&done, "b", BROKER_CONFIRMED);
    assert_int_equal(w.n, 1);
    assert_true(window_confirm(&w, 0, true, false, &done)); // "all so far"
    assert_next(&done, "c", BROKER_NACKED);
}

static void a_tag_that_was_never_given_is_an_error(void **state)
{
    (void)state;
    add("a", "k");
    assert_false(window_confirm(&w, 2, false, true, &done));
    assert_false(window_confirm(&w, 0, false, true, &done));
    assert_false(window_confirm(&w, UINT64_MAX, true, true, &done));
    assert_int_equal(w.n, 1);
}

static void a_second_confirm_of_a_tag_is_ignored(void **state)
{
    (void)state;
    add("a", "k");
    assert_true(window_confirm(&w, 1, false, true, &done));
    assert_true(window_confirm(&w, 1, false, false, &done));
    assert_next(&done, "a", BROKER_CONFIRMED);
    assert_null(take(&done));
}

static void the_oldest_unconfirmed_one_bounds_the_window(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        add("a", "k");
    assert_false(window_has_room(&w));
    for (uint64_t tag = 2; tag <= 8; tag++)
        assert_true(window_confirm(&w, tag, false, true, &done));
    assert_false(window_has_room(&w)); // 1 is still open
    assert_true(window_confirm(&w, 1, false, true, &done));
    assert_true(window_has_room(&w));
}

static void a_return_makes_the_confirm_mean_returned(void **state)
{
    (void)state;
    add("a", "k");
    add("b", "k");
    window_return(&w, text("a"), text("k"));
    assert_true(window_confirm(&w, 2, true, true, &done));
    assert_next(&done, "a", BROKER_RETURNED);
    assert_next(&done, "b", BROKER_CONFIRMED);
}

static void returns_of_the_same_id_count_one_by_one_from_the_oldest(void **state)
{
    (void)state;
    add("a", "k");
    add("a", "k");
    add("a", "other");
    window_return(&w, text("a"), text("k"));
    assert_true(window_confirm(&w, 3, true, true, &done));
    assert_next(&done, "a", BROKER_RETURNED);
    assert_next(&done, "a", BROKER_CONFIRMED);
    assert_next(&done, "a", BROKER_CONFIRMED);
}

static void a_return_of_an_unknown_id_changes_nothing(void **state)
{
    (void)state;
    add("a", "k");
    window_return(&w, text("x"), text("k"));
    window_return(&w, text("a"), text("x"));
    window_return(&w, text(""), text(""));
    assert_true(window_confirm(&w, 1, false, true, &done));
    assert_next(&done, "a", BROKER_CONFIRMED);
}

static void what_is_unconfirmed_goes_back_to_the_front_in_order(void **state)
{
    (void)state;
    struct broker_publication p = {.properties.message_id = text("z")};
    struct publication *later;
    assert_int_equal(publication_new(&p, &later), 0);
    STAILQ_INSERT_TAIL(&waiting, &later->item, link);
    add("a", "k");
    add("b", "k");
    add("c", "k");
    assert_true(window_confirm(&w, 2, false, true, &done));
    window_reset(&w, &waiting);
    assert_int_equal(w.n, 0);
    assert_int_equal(w.next, 1);
    assert_next(&waiting, "a", 0);
    assert_next(&waiting, "c", 0);
    assert_next(&waiting, "z", 0);
}

static void what_was_returned_is_asked_anew_after_a_reset(void **state)
{
    (void)state;
    add("a", "k");
    window_return(&w, text("a"), text("k"));
    window_reset(&w, &waiting);
    window_add(&w, take(&waiting));
    assert_true(window_confirm(&w, 1, false, true, &done));
    assert_next(&done, "a", BROKER_CONFIRMED);
}

static void tags_go_round_the_slots(void **state)
{
    (void)state;
    char id[8];
    for (uint64_t tag = 1; tag <= 100; tag++) {
        snprintf(id, sizeof id, "%d", (int)tag);
        add(id, "k");
        assert_true(window_confirm(&w, tag, tag % 2, true, &done));
        assert_next(&done, id, BROKER_CONFIRMED);
    }
}

static void assert_no_publication(struct broker_publication p)
{
    struct publication *pub;
    assert_int_equal(publication_new(&p, &pub), -EINVAL);
}

static void a_publication_over_a_limit_is_refused(void **state)
{
    static char longest[BROKER_VALUE_MAX + 1];
    struct broker_text short_over = {longest, BROKER_SHORT_MAX + 1}, value_over = {longest, sizeof longest};
    (void)state;
    memset(longest, 'x', sizeof longest);
    assert_no_publication((struct broker_publication){.exchange = short_over});
    assert_no_publication((struct broker_publication){.routing_key = short_over});
    assert_no_publication((struct broker_publication){.properties.type = short_over});
    assert_no_publication((struct broker_publication){.properties.n_headers = BROKER_HEADERS_MAX + 1});
    assert_no_publication((struct broker_publication){
        .properties = {.n_headers = 1, .headers[0] = {text("name"), value_over}}});
    assert_no_publication(
        (struct broker_publication){.properties = {.n_headers = 1, .headers[0] = {text(""), text("value")}}});
    assert_no_publication((struct broker_publication){.body = {longest, BROKER_BODY_MAX + 1}});
    assert_no_publication((struct broker_publication){.mandatory = true}); // nothing to tell a return by
    struct broker_publication many = {.properties.n_headers = 32};
    for (int i = 0; i < 32; i++)
        many.properties.headers[i] = (struct broker_header){text("n"), {longest, BROKER_VALUE_MAX}};
    assert_no_publication(many); // more than a frame takes
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_confirm_settles_one),
        T(a_multiple_confirm_settles_all_up_to_it_in_order),
        T(a_tag_that_was_never_given_is_an_error),
        T(a_second_confirm_of_a_tag_is_ignored),
        T(the_oldest_unconfirmed_one_bounds_the_window),
        T(a_return_makes_the_confirm_mean_returned),
        T(returns_of_the_same_id_count_one_by_one_from_the_oldest),
        T(a_return_of_an_unknown_id_changes_nothing),
        T(what_is_unconfirmed_goes_back_to_the_front_in_order),
        T(what_was_returned_is_asked_anew_after_a_reset),
        T(tags_go_round_the_slots),
        cmocka_unit_test(a_publication_over_a_limit_is_refused),
    };
    return cmocka_run_group_tests_name("broker/window", tests, NULL, NULL);
}
