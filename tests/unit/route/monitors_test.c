// Tests of monitors at the router (route/monitors.c): who may, who is told, and what a lost connection
// changes.
#include "fixture.h"

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

static enum receipt_code refused(struct told *t, const char *address)
{
    struct monitors_answer answer;
    return endpoint_monitor(t->endpoint, address, &answer);
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

static void only_who_may_send_it_something_may_monitor_it(void **state)
{
    (void)state;
    fixture_policy(&f, "* acme/* acme/* allow\nmonitor beta/eve acme/db allow");
    assert_int_equal(refused(&web, "db"), RECEIPT_ACCEPTED);
    assert_int_equal(refused(&web, "nobody"), RECEIPT_NO_SUCH_ENVIRONMENT);
    assert_int_equal(refused(&web, "beta/eve"), RECEIPT_DENIED);
    assert_int_equal(refused(&web, ":db"), RECEIPT_INVALID);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_monitors_is_told_each_time),
        T(after_unmonitor_nobody_is_told),
        T(what_is_deleted_has_gone),
        T(only_who_may_send_it_something_may_monitor_it),
        T(a_new_policy_counts_for_monitors_that_stand),
        T(what_went_without_a_connection_is_told_when_it_is_asked_for_again),
        T(the_end_of_who_monitors_ends_its_monitors),
        T(an_environment_has_at_most_64),
    };
    return cmocka_run_group_tests_name("route/monitors", tests, NULL, NULL);
}
