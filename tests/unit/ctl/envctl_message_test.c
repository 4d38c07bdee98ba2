// Tests of the envctl executable: messages, policy, mailboxes, dead letters and traces.
#include "envctl_world.h"

#include <stdlib.h>
#include <string.h>

// --- messages and policy ---

static void a_refused_message_has_its_receipts_exit_code(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "denied"), 21);
    assert_string_equal(w->err, "envctl: acme/db: denied: no rule allows it\n"
                                "  try: envctl explain 01a1fd98-3a32-7f52-8dfa-96b3de557c65\n");
}

static void an_accepted_message_prints_its_id(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "x"), 0);
    assert_string_equal(w->out, "");
    assert_string_equal(w->err, "accepted 01a1fd98-3a32-7f52-8dfa-96b3de557c65\n");
}

static void a_message_says_all_that_it_was_given(void **state)
{
    struct world *w = *state;
    write_file(w->file, "\xff\n");
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--file", w->file, "--header", "a=b=c", "--header",
                         "d=", "--priority", "7", "--expires", "2m", "--id",
                         "01a1fd98-3a32-7f52-8dfa-96b3de557c65"),
                     0);
    const char *request = requests_of(w);
    assert_has(request, "\"body_base64\":\"/wo=\"");
    assert_has(request, "\"headers\":{\"a\":\"b=c\",\"d\":\"\"}");
    assert_has(request, "\"priority\":7");
    assert_has(request, "\"timeout_ms\":120000");
    assert_has(request, "\"id\":\"01a1fd98-3a32-7f52-8dfa-96b3de557c65\"");
}

static void wrong_options_of_a_message_are_not_sent(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "x", "--file", w->file), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--header", "novalue"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--priority", "10"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--expires", "11m"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--expires", "soon"), 2);
    assert_int_equal(run(w, "call", "acme/db", "db.query", "--expires", "1s"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--file", "/nonexistent"), 1);
    assert_null(strstr(requests_of(w), "messages"));
}

static void a_policy_replaces_the_revision_that_was_read(void **state)
{
    struct world *w = *state;
    write_file(w->file, "* * * alow\n");
    assert_int_equal(run(w, "policy", "set", w->file), 1);
    assert_has(w->err, "main:3:9: no such action");
    assert_has(requests_of(w), "PUT /v1/policies/main if-match \"12\"");
    assert_int_equal(run(w, "policy", "show"), 0);
    assert_string_equal(w->out, "* * * deny\n");
}

// --- mailboxes ---

static void a_mailbox_is_shown_and_peeked_into(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "show", "acme/db"), 0);
    assert_has(w->out, "class                    host\n");
    assert_int_equal(run(w, "mailbox", "peek", "acme/db"), 0);
    assert_string_equal(w->out,
                        "ID  STATE   KIND  FROM      SUBJECT  PRIORITY  SIZE  RELEASES  ARRIVED  EXPIRES\n"
                        "i1  queued  call  acme/web  q        4         5     0         7        -\n");
}

static void dead_letters_are_listed_with_their_reason(void **state)
{
    struct world *w = *state;
    static const char wanted[] = "ID  KIND  FROM      SUBJECT  SIZE  SINCE  REASON\n"
                                 "i2  send  acme/web  q        5     9      released-too-often\n";
    assert_int_equal(run(w, "dead-letter", "list", "acme/db"), 0);
    assert_string_equal(w->out, wanted);
    assert_int_equal(run(w, "mailbox", "peek", "acme/db", "--dead"), 0);
    assert_string_equal(w->out, wanted);
}

static void without_an_environment_the_brokers_dead_letters_are_listed(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "list"), 0);
    assert_string_equal(
        w->out,
        "LETTER  ID  USER        FROM      TO       SUBJECT  SIZE  HOST  REASON  TEXT\n"
        "-       x   client.app  acme/web  acme.db  -        3     h1    denied  no rule allows it\n");
}

static void purging_says_what_and_how_many(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "purge", "acme/db"), 0);
    assert_string_equal(w->err, "acme/db: 4 messages thrown away\n");
    assert_null(strstr(requests_of(w), "dead"));
    assert_int_equal(run(w, "mailbox", "purge", "acme/db", "--dead"), 0);
    assert_string_equal(w->err, "acme/db: 4 dead letters thrown away\n");
    assert_has(requests_of(w), "DELETE /v1/tenants/acme/environments/db/mailbox/messages dead=true");
}

static void one_dead_letter_is_replayed_or_all(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db"), 0);
    assert_has(requests_of(w), "POST /v1/tenants/acme/environments/db/mailbox/dead/replay");
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(requests_of(w), "/mailbox/dead/01a1fd98-3a32-7f52-8dfa-96b3de557c65/replay");
}

static void the_brokers_dead_letters_are_replayed_until_none_is_left(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "replay", "--broker"), 0);
    assert_string_equal(w->err,
                        "broker: 7 dead letters replayed\n  1 kept, the last: expired: its time is over\n");
    assert_int_equal(run(w, "dead-letter", "purge", "--broker"), 0);
    assert_has(requests_of(w), "DELETE /v1/broker/dead");
    assert_int_equal(run(w, "dead-letter", "replay", "--broker", "0a1b2c3d4e5f6071"), 0);
    assert_has(requests_of(w), "POST /v1/broker/dead/0a1b2c3d4e5f6071/replay");
    assert_int_equal(run(w, "dead-letter", "purge", "--broker", "../x"), 2);
    assert_int_equal(run(w, "dead-letter", "show", "--broker"), 2);
}

static void a_trace_shows_when_and_after_how_long(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "trace", "nonsense"), 2);
    assert_int_equal(run(w, "trace", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(w->out, "from     acme/web\nto       acme/db\nsubject  q\nkind     send\n");
    assert_has(w->out, "2023-11-14T22:13:20.007Z  one   -                  submitted     acme/web     -\n"
                       "2023-11-14T22:13:20.009Z  one   2.034 ms           sent          -            -\n"
                       "2023-11-14T22:13:20.990Z  two   ~0.310 ms +-1.200  arrived       -            -\n"
                       "2023-11-14T22:13:20.990Z  two   -                  acknowledged  acme/db      -\n");
}

static void a_trace_says_who_is_missing_and_whose_clock_is_wrong(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "trace", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(w->out, "two remembers more stages than these\n"
                       "two: its clock is 980 ms ahead, give or take 2 ms: its times are its own\n"
                       "three did not answer within a second: its stages are missing\n"
                       "four has not been heard of for a while: its stages are missing\n");
}

static void a_wrong_mailbox_command_changes_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "purge"), 2);
    assert_int_equal(run(w, "mailbox", "drop", "acme/db"), 2);
    assert_int_equal(run(w, "mailbox", "show", "acme/db", "--dead"), 2);
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db", "7"), 2);
    assert_string_equal(requests_of(w), "");
}

int main(void)
{
    unsetenv("ctl/envctl_message");
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_refused_message_has_its_receipts_exit_code),
        T(an_accepted_message_prints_its_id),
        T(a_message_says_all_that_it_was_given),
        T(wrong_options_of_a_message_are_not_sent),
        T(a_policy_replaces_the_revision_that_was_read),
        T(a_mailbox_is_shown_and_peeked_into),
        T(dead_letters_are_listed_with_their_reason),
        T(without_an_environment_the_brokers_dead_letters_are_listed),
        T(purging_says_what_and_how_many),
        T(one_dead_letter_is_replayed_or_all),
        T(the_brokers_dead_letters_are_replayed_until_none_is_left),
        T(a_trace_shows_when_and_after_how_long),
        T(a_trace_says_who_is_missing_and_whose_clock_is_wrong),
        T(a_wrong_mailbox_command_changes_nothing),
    };
    return cmocka_run_group_tests_name("ctl/envctl_message", tests, NULL, NULL);
}
