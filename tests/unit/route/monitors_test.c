// Tests of monitors at the router (route/monitors.c): who may, who is told, and what a lost connection
// changes.
#include "fixture.h"
#include "route/remote.h"

static struct fixture f;

struct told {
    struct endpoint *endpoint;
    unsigned n;
    char address[ADDRESS_CAP], reason[256];
    enum agent_certainty certainty;
};

static struct told web, db, eve;

static void on_mail(void *arg)
{
    (void)arg;
}

static void on_removed(void *arg)
{
    ((struct told *)arg)->endpoint = NULL;
}

static void on_gone(void *arg, const char *address, enum agent_certainty certainty, const char *reason)
{
    struct told *t = arg;
    t->n++;
    t->certainty = certainty;
    snprintf(t->address, sizeof t->address, "%s", address);
    snprintf(t->reason, sizeof t->reason, "%s", reason);
}

static const struct endpoint_cb callbacks = {
    .on_mail = on_mail, .on_removed = on_removed, .on_gone = on_gone};

static void attach(struct told *t, const char *tenant, const char *name)
{
    assert_int_equal(endpoint_attach(f.router, tenant, name, &callbacks, t, &t->endpoint), 0);
}

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    web = db = eve = (struct told){0};
    attach(&web, "acme", "web");
    attach(&db, "acme", "db");
    attach(&eve, "beta", "eve");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint_detach(web.endpoint);
    endpoint_detach(db.endpoint);
    endpoint_detach(eve.endpoint);
    fixture_done(&f);
    return 0;
}

// Returns whether it was away.
static bool monitor(struct told *t, const char *address)
{
    struct monitors_answer answer;
    assert_int_equal(endpoint_monitor(t->endpoint, address, &answer), RECEIPT_ACCEPTED);
    if (answer.away)
        on_gone(t, address, answer.certainty, answer.reason);
    return answer.away;
}

static struct id last_refusal;

static enum receipt_code refused(struct told *t, const char *address)
{
    struct monitors_answer answer;
    enum receipt_code code = endpoint_monitor(t->endpoint, address, &answer);
    last_refusal = answer.refusal;
    return code;
}

static void stop(const char *tenant, const char *name)
{
    router_environment_went(f.router, tenant, name, AGENT_GONE_CERTAIN, "stopped");
}

static void assert_told(const struct told *t, unsigned n, const char *address)
{
    assert_int_equal(t->n, n);
    assert_string_equal(t->address, address);
}

static void who_monitors_is_told_each_time(void **state)
{
    (void)state;
    assert_false(monitor(&web, "db"));
    monitor(&eve, "acme/db");
    stop("acme", "db");
    assert_told(&web, 1, "db"); // as it asked
    assert_string_equal(web.reason, "stopped");
    assert_told(&eve, 1, "acme/db");
    router_environment_went(f.router, "acme", "db", AGENT_GONE_UNKNOWN, "silence");
    assert_int_equal(web.n, 2);
    assert_int_equal(web.certainty, AGENT_GONE_UNKNOWN);
    stop("acme", "db2");
    stop("beta", "db");
    assert_int_equal(web.n, 2);
}

static void after_unmonitor_nobody_is_told(void **state)
{
    (void)state;
    monitor(&web, "db");
    assert_int_equal(endpoint_unmonitor(web.endpoint, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(endpoint_unmonitor(web.endpoint, "db"), RECEIPT_NO_SUCH_ENVIRONMENT);
    stop("acme", "db");
    assert_int_equal(web.n, 0);
}

static void what_is_deleted_has_gone(void **state)
{
    (void)state;
    monitor(&web, "db");
    router_environment_removed(f.router, "acme", "db");
    assert_told(&web, 1, "db");
    assert_string_equal(web.reason, "it was deleted");
}

static void a_refusal_can_be_explained_to_operators(void **state)
{
    (void)state;
    fixture_policy(&f, "* beta/* beta/* allow");
    assert_int_equal(refused(&eve, "acme/web"), RECEIPT_DENIED);
    const struct mediate_record *record = mediator_find(f.mediator, &last_refusal, 0);
    assert_non_null(record);
    assert_string_equal(record->question.subject, MONITORS_SUBJECT);
    assert_string_equal(record->question.target.name, "web");
    assert_int_equal(record->decision.reason, MEDIATE_REASON_NO_MATCH);
    assert_int_equal(record->told, RECEIPT_DENIED);
    assert_int_equal(refused(&eve, "beta/secret"), RECEIPT_ACCEPTED);
    assert_true(id_is_zero(&last_refusal));
}

static void only_who_may_send_it_something_may_monitor_it(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/* acme/* allow\nmonitor beta/eve acme/db allow");
    assert_int_equal(refused(&web, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(refused(&web, "nobody"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(refused(&web, "beta/eve"), RECEIPT_DENIED);
    assert_int_equal(refused(&web, ":db"), RECEIPT_INVALID);
    assert_true(id_is_zero(&last_refusal));
    assert_int_equal(refused(&eve, "acme/db"), RECEIPT_ACCEPTED);
    assert_int_equal(refused(&eve, "acme/web"), RECEIPT_DENIED);
    assert_int_equal(refused(&eve, "acme/nobody"), RECEIPT_DENIED); // which tells not what exists
}

static void a_new_policy_counts_for_monitors_that_stand(void **state)
{
    (void)state;
    monitor(&eve, "acme/db");
    fixture_policy(&f, "* acme/* acme/* allow");
    stop("acme", "db");
    assert_int_equal(eve.n, 0);
}

static void what_went_without_a_connection_is_told_when_it_is_asked_for_again(void **state)
{
    (void)state;
    monitor(&web, "db");
    endpoint_detach(web.endpoint);
    stop("acme", "db");
    assert_int_equal(web.n, 0);
    attach(&web, "acme", "web");
    assert_true(monitor(&web, "db"));
    endpoint_detach(web.endpoint);
    attach(&web, "acme", "web");
    assert_false(monitor(&web, "db")); // once
    stop("acme", "db");
    assert_int_equal(web.n, 2);
}

static void the_end_of_who_monitors_ends_its_monitors(void **state)
{
    (void)state;
    monitor(&web, "db");
    endpoint_detach(web.endpoint);
    stop("acme", "web");
    stop("acme", "db");
    attach(&web, "acme", "web");
    assert_false(monitor(&web, "db"));
}

static void an_environment_has_at_most_64(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < 65; i++) {
        snprintf(name, sizeof name, "e%d", i);
        assert_int_equal(router_environment_added(f.router, "acme", name), 0);
        assert_int_equal(refused(&web, name), i < 64 ? RECEIPT_ACCEPTED : RECEIPT_RATE_LIMITED);
    }
    endpoint_detach(web.endpoint); // then those that are not asked for again make room
    attach(&web, "acme", "web");
    monitor(&web, "e0");
    monitor(&web, "e64");
    stop("acme", "e64");
    assert_told(&web, 1, "e64");
}

// ---- environments of other hosts ----

static unsigned n_asked, n_went;
static char about[ADDRESS_CAP];

static void note_asked(void *arg, const char *tenant, const char *name)
{
    (void)arg;
    n_asked++;
    snprintf(about, sizeof about, "%s/%s", tenant, name);
}

static void note_went(void *arg, const char *tenant, const char *name, const char *reason)
{
    (void)arg;
    n_went++;
    snprintf(about, sizeof about, "%s/%s %s", tenant, name, reason);
}

static void note_environment(void *arg, const char *tenant, const char *name, bool what)
{
    (void)arg;
    (void)tenant;
    (void)name;
    (void)what;
}

static void note_processed(void *arg, const char *tenant, const char *name)
{
    (void)arg;
    (void)tenant;
    (void)name;
}

static int setup_linked(void **state)
{
    static const struct remote_ops ops = {.environment_added = note_environment,
                                          .environment_removed = note_environment,
                                          .environment_running = note_environment,
                                          .service_served = note_environment,
                                          .mail_processed = note_processed,
                                          .environment_asked = note_asked,
                                          .environment_went = note_went};
    setup(state);
    n_asked = n_went = 0;
    router_set_remote(f.router, &ops, NULL);
    return 0;
}

static void another_hosts_environment_is_asked_for_and_told_of(void **state)
{
    (void)state;
    assert_false(monitor(&web, "far"));
    assert_int_equal(n_asked, 1);
    assert_string_equal(about, "acme/far");
    router_presence_told(f.router, "h2", "acme", "far", "");
    assert_int_equal(web.n, 0);
    router_presence_went(f.router, "h2", "acme", "far", "stopped");
    assert_told(&web, 1, "far");
    assert_int_equal(web.certainty, AGENT_GONE_CERTAIN);
    router_presence_went(f.router, "h2", "acme", "other", "stopped");
    assert_int_equal(web.n, 1);
}

static void another_hosts_environment_that_is_away_is_told_to_who_waits(void **state)
{
    (void)state;
    monitor(&web, "far");
    router_presence_told(f.router, "h2", "acme", "far", "stopped");
    assert_told(&web, 1, "far");
    monitor(&eve, "acme/far");
    router_presence_told(f.router, "h2", "acme", "far", "stopped");
    assert_told(&eve, 1, "acme/far");
    assert_int_equal(web.n, 1);
}

static void what_nobody_has_is_unknown_and_asked_for_again(void **state)
{
    (void)state;
    monitor(&web, "far");
    router_presence_tick(f.router, f.now_ms + 1999);
    assert_int_equal(n_asked, 1);
    f.now_ms += 2000;
    router_presence_tick(f.router, f.now_ms);
    assert_int_equal(n_asked, 2);
    assert_int_equal(web.n, 0);
    f.now_ms += 3000;
    router_presence_tick(f.router, f.now_ms);
    assert_told(&web, 1, "far");
    assert_int_equal(web.certainty, AGENT_GONE_UNKNOWN);
    router_presence_told(f.router, "h2", "acme", "far", "failed"); // it comes to be known
    assert_int_equal(web.n, 2);
    assert_int_equal(web.certainty, AGENT_GONE_CERTAIN);
}

static void a_silent_host_makes_its_environments_unknown(void **state)
{
    (void)state;
    monitor(&web, "far");
    router_presence_told(f.router, "h2", "acme", "far", "");
    router_host_silent(f.router, "h3");
    assert_int_equal(web.n, 0);
    router_host_silent(f.router, "h2");
    assert_told(&web, 1, "far");
    assert_int_equal(web.certainty, AGENT_GONE_UNKNOWN);
    router_presence_told(f.router, "h2", "acme", "far", "");
    assert_int_equal(web.n, 1); // it is back, and was there all the time
}

static void other_hosts_hear_of_ours_and_tell_nothing_of_them(void **state)
{
    (void)state;
    char reason[64];
    monitor(&web, "db");
    router_presence_went(f.router, "h2", "acme", "db", "stopped");
    assert_int_equal(web.n, 0);
    stop("acme", "db");
    assert_int_equal(n_went, 1);
    assert_string_equal(about, "acme/db stopped");
    assert_true(router_presence_here(f.router, "acme", "db", reason, sizeof reason));
    assert_string_equal(reason, "");
    assert_false(router_presence_here(f.router, "acme", "far", reason, sizeof reason));
}

#define T(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LINKED(name) cmocka_unit_test_setup_teardown(name, setup_linked, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_monitors_is_told_each_time),
        T(after_unmonitor_nobody_is_told),
        T(what_is_deleted_has_gone),
        T(a_refusal_can_be_explained_to_operators),
        T(only_who_may_send_it_something_may_monitor_it),
        T(a_new_policy_counts_for_monitors_that_stand),
        T(what_went_without_a_connection_is_told_when_it_is_asked_for_again),
        T(the_end_of_who_monitors_ends_its_monitors),
        T(an_environment_has_at_most_64),
        LINKED(another_hosts_environment_is_asked_for_and_told_of),
        LINKED(another_hosts_environment_that_is_away_is_told_to_who_waits),
        LINKED(what_nobody_has_is_unknown_and_asked_for_again),
        LINKED(a_silent_host_makes_its_environments_unknown),
        LINKED(other_hosts_hear_of_ours_and_tell_nothing_of_them),
    };
    return cmocka_run_group_tests_name("route/monitors", tests, NULL, NULL);
}
