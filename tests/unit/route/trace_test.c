// Tests of the trace: which stages a message passes, when, and how long they are remembered (trace.c, and the
// places that add to it).
#include "fixture.h"
#include "route/router_internal.h"

static struct fixture f;
static struct endpoint *web, *db;

static void nothing(void *arg)
{
    (void)arg;
}

static const struct endpoint_cb callbacks = {.on_mail = nothing, .on_removed = nothing};

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    assert_int_equal(endpoint_attach(f.router, "acme", "web", &callbacks, NULL, &web), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint_detach(web);
    endpoint_detach(db);
    fixture_done(&f);
    return 0;
}

static void ignore_receipt(void *arg, const struct router_receipt *receipt)
{
    (void)arg;
    (void)receipt;
}

static void send_to(unsigned n, const char *to, uint64_t expires_ms)
{
    const struct envelope e = {.kind = MESSAGE_SEND,
                               .id = numbered_id(n),
                               .to = text_view(to),
                               .subject = text_view("q"),
                               .expires_ms = expires_ms};
    assert_int_equal(endpoint_submit(web, &e, ignore_receipt, NULL), 0);
    router_flush(f.router);
}

// What is remembered of a message, as "submitted allowed@acme/db refused=denied".
static char story[1024];
static uint64_t took_ns, last_at_ms;

static void tell(void *arg, const struct trace_view *v)
{
    size_t len = strlen(story);
    (void)arg;
    len +=
        (size_t)snprintf(story + len, sizeof story - len, "%s%s", len ? " " : "", trace_stage_name(v->stage));
    if (v->tenant)
        len += (size_t)snprintf(story + len, sizeof story - len, "@%s", v->name);
    if (v->stage == TRACE_REFUSED)
        snprintf(story + len, sizeof story - len, "=%s", receipt_code_name(v->code));
    took_ns += v->after_ns;
    last_at_ms = v->at_ms;
}

static const char *story_of(unsigned n)
{
    const struct id id = numbered_id(n);
    story[0] = '\0';
    took_ns = 0;
    router_trace(f.router, &id, tell, NULL);
    return story;
}

static void take(unsigned n)
{
    struct message *m = endpoint_next(db, false);
    const struct id id = numbered_id(n);
    assert_non_null(m);
    assert_true(id_equals(&m->id, &id));
    message_unref(m);
}

static void a_processed_message_has_all_its_stages(void **state)
{
    (void)state;
    const struct id id = numbered_id(1);
    send_to(1, "acme/db", 0);
    take(1);
    endpoint_ack(db, &id);
    assert_string_equal(story_of(1), "submitted@web allowed stored@db accepted delivered@db acknowledged@db");
}

static void times_are_between_stages_and_since_1970(void **state)
{
    (void)state;
    const struct id id = numbered_id(1);
    send_to(1, "acme/db", 0);
    f.now_ms += 250;
    take(1);
    endpoint_ack(db, &id);
    story_of(1);
    assert_int_equal(took_ns, 250000000);
    assert_int_equal(last_at_ms, f.now_ms);
}

static void a_message_that_comes_back_and_dies_says_so(void **state)
{
    (void)state;
    const struct id id = numbered_id(1);
    size_t n;
    send_to(1, "acme/db", 0);
    for (int i = 0; i < 16; i++) {
        take(1);
        endpoint_release(db, &id, true);
    }
    const char *end = " delivered@db released@db dead@db";
    assert_string_equal(story_of(1) + strlen(story) - strlen(end), end);
    assert_int_equal(router_mailbox_replay(f.router, "acme", "db", NULL, &n), 0);
    assert_int_equal(router_mailbox_purge(f.router, "acme", "db", false, NULL, &n), 0);
    end = " dead@db replayed@db purged@db";
    assert_string_equal(story_of(1) + strlen(story) - strlen(end), end);
}

static void what_a_gone_agent_had_is_released(void **state)
{
    (void)state;
    send_to(1, "acme/db", 0);
    take(1);
    endpoint_detach(db);
    assert_string_equal(story_of(1), "submitted@web allowed stored@db accepted delivered@db released@db");
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
}

static void an_expired_message_says_so(void **state)
{
    (void)state;
    send_to(1, "acme/db", f.now_ms + 100);
    f.now_ms += 101;
    assert_null(endpoint_next(db, false));
    assert_string_equal(story_of(1), "submitted@web allowed stored@db accepted expired@db");
}

static void a_refusal_says_why(void **state)
{
    (void)state;
    send_to(1, "acme/nobody", 0);
    assert_string_equal(story_of(1), "submitted@web refused=no-such-environment");
    fixture_policy(&f, "* * * deny");
    send_to(2, "acme/db", 0);
    assert_string_equal(story_of(2), "submitted@web refused=denied");
}

static void the_same_message_again_is_a_duplicate(void **state)
{
    (void)state;
    send_to(1, "acme/db", 0);
    send_to(1, "acme/db", 0);
    assert_string_equal(story_of(1),
                        "submitted@web allowed stored@db accepted submitted@web allowed duplicate");
}

static void nothing_is_known_of_other_messages(void **state)
{
    (void)state;
    send_to(1, "acme/db", 0);
    assert_string_equal(story_of(2), "");
}

static void a_deleted_environment_is_not_named(void **state)
{
    (void)state;
    assert_int_equal(router_environment_added(f.router, "acme", "brief"), 0);
    send_to(1, "acme/brief", 0);
    assert_int_equal(router_environment_removed(f.router, "acme", "brief"), 0);
    assert_string_equal(story_of(1), "submitted@web allowed stored accepted");
}

static void the_oldest_stages_make_room(void **state)
{
    (void)state;
    const struct id other = numbered_id(2);
    send_to(1, "acme/db", 0);
    for (unsigned i = 0; i < TRACE_RECORDS - 1; i++)
        trace_add(&f.router->trace, &other, TRACE_SUBMITTED, 0);
    assert_string_equal(story_of(1), "accepted");
    trace_add(&f.router->trace, &other, TRACE_SUBMITTED, 0);
    assert_string_equal(story_of(1), "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_processed_message_has_all_its_stages),
        T(times_are_between_stages_and_since_1970),
        T(a_message_that_comes_back_and_dies_says_so),
        T(what_a_gone_agent_had_is_released),
        T(an_expired_message_says_so),
        T(a_refusal_says_why),
        T(the_same_message_again_is_a_duplicate),
        T(nothing_is_known_of_other_messages),
        T(a_deleted_environment_is_not_named),
        T(the_oldest_stages_make_room),
    };
    return cmocka_run_group_tests_name("route/trace", tests, NULL, NULL);
}
