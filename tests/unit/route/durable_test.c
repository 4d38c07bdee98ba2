// Tests of what a router finds again after a restart (durable.c, durable_calls.c, mailbox_host.c): the router
// is freed and made again on the same journal, as envd is when it starts.
#include "fixture.h"

#include <errno.h>

#include "../journal/failing_writes.h"
#include "journal/internal.h"
#include "route/kept.h"
#include "route/mailbox.h"

static struct fixture f;

// A journal that takes no keys.
static bool keys_refused;
int __real_journal_append(struct journal *j, uint8_t type, const struct iovec *parts, int n_parts,
                          journal_done_cb *done, void *arg, uint64_t *ret_seq);
int __wrap_journal_append(struct journal *j, uint8_t type, const struct iovec *parts, int n_parts,
                          journal_done_cb *done, void *arg, uint64_t *ret_seq);
int __wrap_journal_append(struct journal *j, uint8_t type, const struct iovec *parts, int n_parts,
                          journal_done_cb *done, void *arg, uint64_t *ret_seq)
{
    return type == KEPT_KEYS && keys_refused
               ? -ENOMEM
               : __real_journal_append(j, type, parts, n_parts, done, arg, ret_seq);
}

// Cleaning whose writes fail, twice each: then it is given up for a while.
static unsigned n_cleanings_failing;
struct group *__real_clean_group(struct journal *j);
struct group *__wrap_clean_group(struct journal *j);
struct group *__wrap_clean_group(struct journal *j)
{
    struct group *g = __real_clean_group(j);
    if (g && n_cleanings_failing > 0) {
        n_cleanings_failing--;
        n_failing_writes = 2;
    }
    return g;
}

static struct endpoint *web, *db;

static void on_mail(void *arg)
{
    (void)arg;
}

static const struct endpoint_cb callbacks = {.on_mail = on_mail, .on_removed = on_mail};

static void attach(void)
{
    assert_int_equal(endpoint_attach(f.router, "acme", "web", &callbacks, NULL, &web), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
}

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    attach();
    return 0;
}

static void detach(void)
{
    endpoint_detach(web);
    endpoint_detach(db);
    web = db = NULL;
}

static int teardown(void **state)
{
    (void)state;
    detach();
    fixture_done(&f);
    return 0;
}

static void open_again(void)
{
    static const struct router_ops ops = {.describe = fixture_describe,
                                          .realtime_ms = fixture_realtime_ms,
                                          .monotonic_ns = fixture_monotonic_ns};
    struct router_config config;
    struct err err = {""};
    router_config_default(&config);
    config.attempts_max = 2;
    f.router = router_new(f.base, &config, &ops, &f, f.mediator);
    const struct journal_config journal = {.folder = f.folder, .segment_bytes = 2u << 20};
    if (router_open_journal(f.router, &journal, &err) < 0)
        fail_msg("%s", err.text);
}

// db_there: whether acme/db is still defined.
static void restart(bool db_there)
{
    detach();
    router_free(f.router);
    open_again();
    assert_int_equal(router_environment_added(f.router, "acme", "web"), 0);
    if (db_there)
        assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    router_settle(f.router);
    if (!db_there)
        assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    attach();
}

static struct router_receipt last;

static void note_receipt(void *arg, const struct router_receipt *receipt)
{
    (void)arg;
    last = *receipt;
}

static struct envelope envelope(unsigned n, const char *to, enum message_kind kind)
{
    return (struct envelope){.kind = kind,
                             .id = numbered_id(n),
                             .to = text_view(to),
                             .subject = text_view(kind == MESSAGE_REPLY ? "" : "q"),
                             .body = text_view("hello")};
}

static enum receipt_code submit(struct endpoint *ep, const struct envelope *e)
{
    last.code = RECEIPT_CODE_COUNT;
    assert_int_equal(endpoint_submit(ep, e, note_receipt, NULL), 0);
    router_flush(f.router);
    return last.code;
}

static enum receipt_code send_one(unsigned n, uint8_t priority)
{
    struct envelope e = envelope(n, "db", MESSAGE_SEND);
    e.priority = priority;
    return submit(web, &e);
}

static enum receipt_code reply_one(unsigned n, unsigned call)
{
    struct envelope e = envelope(n, "web", MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    return submit(db, &e);
}

static unsigned take(struct endpoint *ep, bool ack)
{
    struct message *m = endpoint_next(ep, false);
    unsigned n = 0;
    if (!m)
        return 0;
    memcpy(&n, m->id.bytes + 1, sizeof n);
    if (ack)
        endpoint_ack(ep, &m->id);
    message_unref(m);
    return n;
}

static uint64_t duplicates(void)
{
    struct router_stats s;
    router_get_stats(f.router, &s);
    return s.duplicates;
}

static void accepted_messages_come_after_a_restart_in_order(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(send_one(i, i == 4 ? 9 : 0), RECEIPT_ACCEPTED);
    assert_int_equal(take(db, true), 4);
    assert_int_equal(take(db, false), 1); // out, and not acknowledged
    send_one(6, 9);
    restart(true);
    const unsigned order[] = {6, 1, 2, 3, 5, 0};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(take(db, true), order[i]);
    restart(true);
    assert_int_equal(take(db, true), 0);
}

static void the_sender_and_the_body_are_as_they_were(void **state)
{
    (void)state;
    send_one(1, 0);
    restart(true);
    struct message *m = endpoint_next(db, false);
    struct envelope e;
    assert_non_null(m);
    assert_true(message_envelope(m, &e));
    assert_true(wire_view_equals(e.from, "acme/web"));
    assert_true(wire_view_equals(e.body, "hello"));
    message_unref(m);
}

static void what_is_sent_again_after_a_restart_is_a_duplicate(void **state)
{
    (void)state;
    send_one(1, 0);
    send_one(2, 0);
    assert_int_equal(take(db, true), 1);
    restart(true);
    assert_int_equal(send_one(1, 0), RECEIPT_ACCEPTED); // processed before
    assert_int_equal(send_one(2, 0), RECEIPT_ACCEPTED); // waiting
    assert_int_equal(duplicates(), 2);
    assert_int_equal(take(db, true), 2);
    assert_int_equal(take(db, true), 0);
}

static void run_ms(unsigned ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_base_loopexit(f.base, &tv);
    event_base_dispatch(f.base);
}

// Messages that are processed, until the records of the first are long gone. The number after the last.
static unsigned use_segments_again(void)
{
    static uint8_t body[100000];
    struct journal_stats s;
    unsigned n = 1;
    do {
        for (unsigned i = 0; i < 20; i++, n++) {
            struct envelope e = envelope(n, "db", MESSAGE_SEND);
            e.body = (struct wire_view){body, sizeof body};
            while (submit(web, &e) != RECEIPT_ACCEPTED)
                run_ms(50); // its writes fail now
            assert_int_equal(take(db, true), n);
        }
        assert_true(router_journal_stats(f.router, &s));
        run_ms(n_cleanings_failing > 0 ? 100 : 1); // time to try again
    } while (s.cleaned < 4 && n < 900);
    for (unsigned i = 0; s.cleaned < 4 && i < 1000; i++) {
        run_ms(10);
        router_journal_stats(f.router, &s);
    }
    assert_true(s.cleaned >= 4);
    return n;
}

static void assert_all_are_duplicates(unsigned end)
{
    for (unsigned round = 0; round < 2; round++) {
        restart(true);
        for (unsigned i = 1; i < end; i += 7)
            assert_int_equal(send_one(i, 0), RECEIPT_ACCEPTED);
        assert_int_equal(take(db, true), 0);
    }
}

static void duplicates_are_found_after_segments_were_used_again(void **state)
{
    (void)state;
    assert_all_are_duplicates(use_segments_again());
}

static void duplicates_are_found_after_the_writes_of_cleaning_failed(void **state)
{
    (void)state;
    n_cleanings_failing = 3;
    unsigned end = use_segments_again();
    assert_int_equal(n_cleanings_failing, 0);
    assert_int_equal(n_failing_writes, 0);
    assert_all_are_duplicates(end);
}

static void keys_that_could_not_be_kept_when_their_segment_went_are_kept_later(void **state)
{
    (void)state;
    keys_refused = true;
    unsigned end = use_segments_again();
    keys_refused = false;
    run_ms(1500); // the router looks every second
    assert_all_are_duplicates(end);
}

static void a_call_is_answered_after_a_restart_once(void **state)
{
    (void)state;
    struct envelope call = envelope(1, "db", MESSAGE_CALL);
    assert_int_equal(submit(web, &call), RECEIPT_ACCEPTED);
    assert_int_equal(take(db, true), 1);
    restart(true);
    assert_int_equal(reply_one(50, 1), RECEIPT_ACCEPTED);
    assert_int_equal(reply_one(51, 1), RECEIPT_EXPIRED);
    restart(true);
    assert_int_equal(reply_one(50, 1), RECEIPT_ACCEPTED); // the same one again
    assert_int_equal(duplicates(), 1);
    assert_int_equal(reply_one(51, 1), RECEIPT_EXPIRED);
    assert_int_equal(take(web, true), 50);
    assert_int_equal(take(web, true), 0);
}

static void a_replys_key_that_could_not_be_kept_is_kept_later(void **state)
{
    (void)state;
    struct envelope call = envelope(1, "db", MESSAGE_CALL);
    assert_int_equal(submit(web, &call), RECEIPT_ACCEPTED);
    keys_refused = true;
    assert_int_equal(reply_one(50, 1), RECEIPT_ACCEPTED);
    keys_refused = false;
    run_ms(1500);
    restart(true);
    assert_int_equal(reply_one(50, 1), RECEIPT_ACCEPTED);
    assert_int_equal(duplicates(), 1);
}

static unsigned n_told;
static char told[16];

static void note_told(void *arg, const struct envelope *reply)
{
    (void)arg;
    n_told++;
    if (!reply || !wire_view_to_cstr(reply->body, told, sizeof told))
        snprintf(told, sizeof told, "nothing");
}

static void operator_calls(unsigned n)
{
    static const struct router_operator_cb cb = {.on_receipt = note_receipt, .on_reply = note_told};
    static uint64_t handle;
    struct envelope e = envelope(n, "acme/db", MESSAGE_CALL);
    last.code = RECEIPT_CODE_COUNT;
    assert_int_equal(router_submit_operator(f.router, &e, &cb, NULL, &handle), 0);
    router_flush(f.router);
    assert_int_equal(last.code, RECEIPT_ACCEPTED);
}

static enum receipt_code answer_operator(unsigned n, unsigned call)
{
    struct envelope e = envelope(n, "host/operator", MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    return submit(db, &e);
}

static void an_operators_call_is_answered_after_a_restart(void **state)
{
    (void)state;
    n_told = 0;
    operator_calls(1);
    restart(true);
    operator_calls(1); // its client sends it again
    assert_int_equal(take(db, true), 1);
    assert_int_equal(take(db, true), 0);
    assert_int_equal(n_told, 0);
    assert_int_equal(answer_operator(50, 1), RECEIPT_ACCEPTED);
    assert_int_equal(n_told, 1);
    assert_string_equal(told, "hello");
}

static void a_reply_that_an_operator_did_not_get_waits_for_its_next_try(void **state)
{
    (void)state;
    operator_calls(1);
    operator_calls(2);
    assert_int_equal(take(db, true), 1);
    assert_int_equal(take(db, true), 2);
    assert_int_equal(answer_operator(50, 1), RECEIPT_ACCEPTED); // envd ends before its client has it
    restart(true);
    assert_int_equal(answer_operator(51, 2), RECEIPT_ACCEPTED); // nobody is there
    assert_int_equal(answer_operator(52, 2), RECEIPT_EXPIRED);
    restart(true);
    n_told = 0;
    for (unsigned n = 1; n <= 2; n++) {
        operator_calls(n);
        assert_int_equal(n_told, n);
        assert_string_equal(told, "hello");
    }
    assert_int_equal(take(db, true), 0);
}

static void a_call_whose_deadline_passed_meanwhile_is_not_answered(void **state)
{
    (void)state;
    struct envelope call = envelope(1, "db", MESSAGE_CALL);
    call.expires_ms = f.now_ms + 1000;
    assert_int_equal(submit(web, &call), RECEIPT_ACCEPTED);
    f.now_ms += 1000;
    restart(true);
    assert_int_equal(reply_one(50, 1), RECEIPT_EXPIRED);
    assert_int_equal(take(db, true), 0);
}

static void what_was_for_an_environment_that_is_gone_is_forgotten(void **state)
{
    (void)state;
    send_one(1, 0);
    restart(false); // defined again later: another one
    assert_int_equal(take(db, true), 0);
    struct journal_stats s;
    router_journal_stats(f.router, &s);
    assert_int_equal(s.live, 1); // the key of the hashes
}

static void removing_an_environment_forgets_its_mail(void **state)
{
    (void)state;
    send_one(1, 0);
    endpoint_detach(db);
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    restart(true);
    assert_int_equal(take(db, true), 0);
}

static void note_item(void *arg, const struct mailbox_item *item)
{
    (void)item;
    ++*(unsigned *)arg;
}

static unsigned dead_letters(void)
{
    unsigned n = 0;
    assert_int_equal(router_mailbox_list(f.router, "acme", "db", true, 10, note_item, &n), 0);
    return n;
}

static void dead_letters_survive_and_can_be_replayed(void **state)
{
    (void)state;
    restart(true); // with a limit of two
    send_one(1, 0);
    const struct id id = numbered_id(1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(take(db, false), 1);
        endpoint_release(db, &id, true);
    }
    assert_int_equal(dead_letters(), 1);
    restart(true);
    assert_int_equal(dead_letters(), 1);
    assert_int_equal(take(db, true), 0);
    size_t n = 0;
    assert_int_equal(router_mailbox_replay(f.router, "acme", "db", NULL, &n), 0);
    assert_int_equal(n, 1);
    restart(true);
    assert_int_equal(dead_letters(), 0);
    assert_int_equal(take(db, true), 1);
}

static struct mailbox_item listed;

static void copy_item(void *arg, const struct mailbox_item *item)
{
    (void)arg;
    listed = *item;
}

static void list_one(bool dead)
{
    listed = (struct mailbox_item){0};
    assert_int_equal(router_mailbox_list(f.router, "acme", "db", dead, 1, copy_item, NULL), 0);
}

static void fail_once(void)
{
    assert_int_equal(take(db, false), 1);
    endpoint_lost(db);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
}

static void attempts_and_times_of_arrival_survive(void **state)
{
    (void)state;
    uint64_t arrived_ms = f.now_ms;
    send_one(1, 0);
    fail_once();
    fail_once();
    restart(true); // with a limit of two: both had failed before
    f.now_ms += 5000;
    list_one(false);
    assert_int_equal(listed.attempts, 2);
    assert_int_equal(listed.arrived_ms, arrived_ms);
    fail_once();
    assert_int_equal(dead_letters(), 1);
    restart(true);
    list_one(true);
    assert_int_equal(listed.attempts, 3);
    assert_int_equal(listed.reason, MAILBOX_RECEIVER_DIED);
    assert_int_equal(listed.arrived_ms, arrived_ms);
    size_t n = 0;
    assert_int_equal(router_mailbox_replay(f.router, "acme", "db", NULL, &n), 0);
    restart(true);
    list_one(false);
    assert_int_equal(listed.attempts, 0);
    assert_int_equal(take(db, true), 1);
    struct journal_stats s;
    restart(true);
    router_journal_stats(f.router, &s);
    assert_int_equal(s.live, 1); // the key of the hashes: nothing is left of counts
}

static void an_event_waits_at_every_server_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(endpoint_register(db, "s"), RECEIPT_ACCEPTED);
    assert_int_equal(endpoint_register(web, "s"), RECEIPT_ACCEPTED);
    struct envelope e = envelope(7, ":s", MESSAGE_EVENT);
    assert_int_equal(submit(web, &e), RECEIPT_ACCEPTED);
    restart(true);
    assert_int_equal(take(db, true), 7);
    assert_int_equal(take(web, true), 7);
}

static void a_journal_that_cannot_store_is_named_to_operators_only(void **state)
{
    (void)state;
    detach();
    router_free(f.router);
    static const struct router_ops ops = {.realtime_ms = fixture_realtime_ms,
                                          .monotonic_ns = fixture_monotonic_ns};
    struct router_config config;
    router_config_default(&config);
    f.router = router_new(f.base, &config, &ops, &f, f.mediator); // no journal
    assert_int_equal(router_environment_added(f.router, "acme", "web"), 0);
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    attach();
    assert_int_equal(send_one(1, 0), RECEIPT_MAILBOX_FULL);
    assert_null(strstr(last.detail, "journal"));
    static const struct router_operator_cb cb = {.on_receipt = note_receipt};
    struct envelope e = envelope(2, "acme/db", MESSAGE_SEND);
    uint64_t handle;
    assert_int_equal(router_submit_operator(f.router, &e, &cb, NULL, &handle), 0);
    assert_int_equal(last.code, RECEIPT_MAILBOX_FULL);
    assert_non_null(strstr(last.detail, "journal"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepted_messages_come_after_a_restart_in_order),
        TEST(the_sender_and_the_body_are_as_they_were),
        TEST(what_is_sent_again_after_a_restart_is_a_duplicate),
        TEST(duplicates_are_found_after_segments_were_used_again),
        TEST(duplicates_are_found_after_the_writes_of_cleaning_failed),
        TEST(keys_that_could_not_be_kept_when_their_segment_went_are_kept_later),
        TEST(a_replys_key_that_could_not_be_kept_is_kept_later),
        TEST(an_operators_call_is_answered_after_a_restart),
        TEST(a_reply_that_an_operator_did_not_get_waits_for_its_next_try),
        TEST(a_call_is_answered_after_a_restart_once),
        TEST(a_call_whose_deadline_passed_meanwhile_is_not_answered),
        TEST(what_was_for_an_environment_that_is_gone_is_forgotten),
        TEST(removing_an_environment_forgets_its_mail),
        TEST(dead_letters_survive_and_can_be_replayed),
        TEST(attempts_and_times_of_arrival_survive),
        TEST(an_event_waits_at_every_server_after_a_restart),
        TEST(a_journal_that_cannot_store_is_named_to_operators_only),
    };
    return cmocka_run_group_tests_name("route/durable", tests, NULL, NULL);
}
