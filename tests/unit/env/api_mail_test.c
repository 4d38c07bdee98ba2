// Tests of the operators' view of mailboxes and messages (api/mailbox.c): the API over the whole daemon but
// for main.
#include "api_fixture.h"

#include <stdio.h>
#include <string.h>

#include "mediate/policy.h"
#include "route/endpoint.h"

#define DB       "/v1/tenants/acme/environments/db"
#define MESSAGES DB "/mailbox/messages"

static void allow_all(struct daemon *d)
{
    static uint64_t revisions;
    const struct policy_source source = {"main", "* * * allow", 11};
    struct policy *p = NULL;
    struct err err = {""};
    assert_int_equal(policy_new(&source, 1, ++revisions, &p, NULL, &err), 0);
    mediator_set_policy(d->mediator, p);
    policy_unref(p);
}

static int setup(void **state)
{
    daemon_setup(state);
    make_tenant(*state, "acme");
    make_environment(*state, "acme", "db");
    allow_all(*state);
    return 0;
}

// The id of the number'th message, which is sent to acme/db.
static const char *send_one(struct daemon *d, unsigned number)
{
    static char id[64];
    char body[256];
    snprintf(id, sizeof id, "01a1fd98-3a32-7f52-8dfa-%012x", number);
    snprintf(body, sizeof body,
             "{\"to\":\"acme/db\",\"subject\":\"q\",\"body\":\"secret\",\"priority\":4,\"id\":\"%s\"}", id);
    call_ok(d, 200, "POST", "/v1/messages", body);
    assert_string_equal(text_at("code"), "accepted");
    return id;
}

static void nothing(void *arg)
{
    (void)arg;
}

// Plays the environment, which gives every message back until none is left.
static void give_back_all(struct daemon *d)
{
    static const struct endpoint_cb callbacks = {.on_mail = nothing, .on_removed = nothing};
    struct endpoint *ep;
    struct message *m;
    assert_int_equal(endpoint_attach(d->router, "acme", "db", &callbacks, NULL, &ep), 0);
    while ((m = endpoint_next(ep, false))) {
        endpoint_release(ep, &m->id, true);
        message_unref(m);
    }
    endpoint_detach(ep);
}

static void a_mailbox_shows_its_figures(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 200, "GET", DB "/mailbox", NULL);
    assert_string_equal(text_at("class"), "host");
    assert_int_equal(number_in("messages"), 0);
    assert_int_equal(number_in("oldest_ms"), -1);
    send_one(d, 1);
    call_ok(d, 200, "GET", DB "/mailbox", NULL);
    assert_int_equal(number_in("messages"), 1);
    assert_int_equal(number_in("out"), 0);
    assert_true(number_in("bytes") > 6);
    assert_true(number_in("oldest_ms") >= 0);
}

static void messages_are_listed_without_their_bodies(void **state)
{
    struct daemon *d = *state;
    const char *id = send_one(d, 1);
    const struct reply *r = call_ok(d, 200, "GET", MESSAGES, NULL);
    assert_int_equal(n_items(), 1);
    assert_string_equal(text_at("items.0.id"), id);
    assert_string_equal(text_at("items.0.from"), "host/operator");
    assert_string_equal(text_at("items.0.subject"), "q");
    assert_string_equal(text_at("items.0.kind"), "send");
    assert_string_equal(text_at("items.0.state"), "queued");
    assert_int_equal(number_in("items.0.priority"), 4);
    assert_int_equal(number_in("items.0.size"), 6);
    assert_true(number_in("items.0.arrived") > 0);
    assert_null(strstr(r->body, "secret"));
}

static void a_list_of_messages_comes_in_pages(void **state)
{
    struct daemon *d = *state;
    for (unsigned i = 1; i <= 5; i++)
        send_one(d, i);
    call_ok(d, 200, "GET", MESSAGES "?limit=2", NULL);
    assert_int_equal(n_items(), 2);
    assert_string_equal(text_at("cursor"), "2");
    call_ok(d, 200, "GET", MESSAGES "?limit=3&cursor=2", NULL);
    assert_int_equal(n_items(), 3);
    assert_string_equal(text_at("items.0.id"), "01a1fd98-3a32-7f52-8dfa-000000000003");
    assert_string_equal(text_at("cursor"), "");
    call_ok(d, 400, "GET", MESSAGES "?cursor=x", NULL);
}

static void purging_empties_the_mailbox_and_says_how_many(void **state)
{
    struct daemon *d = *state;
    send_one(d, 1);
    send_one(d, 2);
    call_ok(d, 200, "DELETE", MESSAGES "?dead=true", NULL);
    assert_int_equal(number_in("messages"), 0);
    call_ok(d, 200, "DELETE", MESSAGES, NULL);
    assert_string_equal(text_at("kind"), "purged");
    assert_int_equal(number_in("messages"), 2);
    call_ok(d, 200, "GET", MESSAGES, NULL);
    assert_int_equal(n_items(), 0);
}

static void dead_letters_say_why_and_are_replayed(void **state)
{
    struct daemon *d = *state;
    char path[160];
    send_one(d, 1);
    send_one(d, 2);
    give_back_all(d);
    call_ok(d, 200, "GET", DB "/mailbox", NULL);
    assert_int_equal(number_in("messages"), 0);
    assert_int_equal(number_in("dead"), 2);
    call_ok(d, 200, "GET", MESSAGES "?dead=true", NULL);
    assert_int_equal(n_items(), 2);
    assert_string_equal(text_at("items.0.state"), "dead");
    assert_string_equal(text_at("items.0.reason.code"), "released-too-often");
    assert_int_equal(number_in("items.0.releases"), 16);
    assert_true(number_in("items.0.since") > 0);
    snprintf(path, sizeof path, DB "/mailbox/dead/%s/replay", text_at("items.1.id"));
    call_ok(d, 200, "POST", path, NULL);
    assert_int_equal(number_in("messages"), 1);
    call_ok(d, 404, "POST", path, NULL); // it is none any more
    assert_string_equal(text_at("code"), "no-such-message");
    call_ok(d, 200, "POST", DB "/mailbox/dead/replay", NULL);
    assert_string_equal(text_at("kind"), "replayed");
    assert_int_equal(number_in("messages"), 1);
    call_ok(d, 200, "GET", MESSAGES, NULL);
    assert_int_equal(n_items(), 2);
}

static void dead_letters_are_purged_apart(void **state)
{
    struct daemon *d = *state;
    send_one(d, 1);
    give_back_all(d);
    send_one(d, 2);
    call_ok(d, 200, "DELETE", MESSAGES "?dead=true", NULL);
    assert_int_equal(number_in("messages"), 1);
    call_ok(d, 200, "GET", DB "/mailbox", NULL);
    assert_int_equal(number_in("dead"), 0);
    assert_int_equal(number_in("messages"), 1);
}

static void mailboxes_of_nobody_are_not_found(void **state)
{
    struct daemon *d = *state;
    static const struct {
        const char *method, *path;
    } cases[] = {{"GET", "/mailbox"},
                 {"GET", "/mailbox/messages"},
                 {"DELETE", "/mailbox/messages"},
                 {"POST", "/mailbox/dead/replay"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "/v1/tenants/acme/environments/none%s", cases[i].path);
        call_ok(d, 404, cases[i].method, path, NULL);
        assert_string_equal(text_at("code"), "no-such-environment");
    }
    call_ok(d, 404, "POST", DB "/mailbox/dead/nonsense/replay", NULL);
    assert_string_equal(text_at("code"), "no-such-message");
}

static void a_trace_names_the_stages_of_a_message(void **state)
{
    struct daemon *d = *state;
    char path[160];
    snprintf(path, sizeof path, "/v1/messages/%s/trace", send_one(d, 7));
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("stages.0.stage"), "submitted");
    assert_string_equal(text_at("stages.1.stage"), "allowed");
    assert_string_equal(text_at("stages.2.stage"), "stored");
    assert_string_equal(text_at("stages.2.environment"), "acme/db");
    assert_string_equal(text_at("stages.3.stage"), "accepted");
    assert_string_equal(text_at("stages.4.stage"), "");
    assert_true(number_in("stages.0.at") > 0);
    assert_true(number_in("stages.2.after_us") > 0); // it was written to disk
    assert_string_equal(text_at("hosts.0.state"), "here");
    assert_string_equal(text_at("message.from"), "host/operator");
    call_ok(d, 404, "GET", "/v1/messages/01a1fd98-3a32-7f52-8dfa-96b3de557c65/trace", NULL);
    assert_string_equal(text_at("code"), "no-such-message");
    call_ok(d, 404, "GET", "/v1/messages/nonsense/trace", NULL);
}

static void without_a_broker_there_are_no_refused_deliveries(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 503, "GET", "/v1/broker/dead", NULL);
    assert_string_equal(text_at("code"), "no-broker");
    call_ok(d, 400, "GET", "/v1/broker/dead?limit=1000", NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, daemon_teardown)
    const struct CMUnitTest tests[] = {
        T(a_mailbox_shows_its_figures),           T(messages_are_listed_without_their_bodies),
        T(a_list_of_messages_comes_in_pages),     T(purging_empties_the_mailbox_and_says_how_many),
        T(dead_letters_say_why_and_are_replayed), T(dead_letters_are_purged_apart),
        T(a_trace_names_the_stages_of_a_message), T(without_a_broker_there_are_no_refused_deliveries),
        T(mailboxes_of_nobody_are_not_found),
    };
    return cmocka_run_group_tests_name("api/mail", tests, NULL, NULL);
}
