// TLS to a real broker: who is believed, who is not, and who we are to it.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct peer p;
static char ca[128], cert[128], key[128];

static struct broker_config tls_config(void)
{
    struct broker_config config = peer_config();
    config.port = rig_port(1, true);
    config.tls = true;
    config.ca = ca;
    snprintf(ca, sizeof ca, "%s/tls/ca.pem", rig_folder());
    return config;
}

static void show_certificate(struct broker_config *config, const char *name)
{
    snprintf(cert, sizeof cert, "%s/tls/%s.pem", rig_folder(), name);
    snprintf(key, sizeof key, "%s/tls/%s.key", rig_folder(), name);
    config->cert = cert;
    config->key = key;
    config->user = config->password = NULL;
}

static int teardown(void **state)
{
    (void)state;
    peer_stop(&p);
    return 0;
}

static void assert_works(void)
{
    run_until_state(&p, BROKER_READY, 30);
    peer_publish(&p, "env", "acme.nobody", "over-tls", "x");
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
}

static void a_password_over_tls_works(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    peer_start(&p, &config);
    assert_works();
    assert_true(peer_stats(&p).tls);
    assert_non_null(strstr(peer_stats(&p).product, "RabbitMQ"));
}

static void large_bodies_pass_over_tls(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    char *body = malloc(3 << 20);
    memset(body, 'b', 3 << 20);
    peer_start(&p, &config);
    run_until_state(&p, BROKER_READY, 30);
    peer_want_plain_queue(&p, "mailbox.acme.tls");
    p.ack = true;
    broker_want_consumer(p.broker, "mailbox.acme.tls", 100, 1);
    for (int i = 0; i < 20; i++) {
        struct broker_publication pub = publication("", "mailbox.acme.tls", "big", "");
        pub.body = (struct broker_text){body, i % 2 ? 3u << 20 : 200};
        assert_int_equal(peer_try_publish(&p, &pub), 0);
    }
    run_until_at_least(&p.n_received, 20, 30);
    run_until_at_least(&p.n_by_outcome[BROKER_CONFIRMED], 20, 30);
    free(body);
}

static void the_certificate_is_the_user_with_external(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    show_certificate(&config, "envd.h1");
    peer_start(&p, &config);
    run_until_state(&p, BROKER_READY, 30);
    struct broker_publication pub = publication("env", "acme.nobody", "as-h1", "x");
    pub.properties.user_id = text("envd.h1"); // validated by the broker
    assert_int_equal(peer_try_publish(&p, &pub), 0);
    run_until_at_least(&p.n_done, 1, 20);
    assert_int_equal(p.last_outcome, BROKER_RETURNED);
    pub.properties.user_id = text("envd.h2");
    assert_int_equal(peer_try_publish(&p, &pub), 0);
    run_until_at_least(&p.n_done, 2, 20);
    assert_int_equal(p.last_outcome, BROKER_FORBIDDEN);
}

static void a_certificate_that_names_no_user_is_refused(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    rig_broker("cert", "envd.stranger");
    show_certificate(&config, "envd.stranger");
    peer_start(&p, &config);
    run_until_state(&p, BROKER_REFUSED, 30);
}

static void our_expired_certificate_is_refused_by_the_broker(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    rig_broker("cert", "envd.old --expired");
    show_certificate(&config, "envd.old");
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNTRUSTED, 30);
    assert_non_null(strstr(p.why, "expired"));
}

static void another_authoritys_broker_is_untrusted(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    char line[512];
    snprintf(line, sizeof line,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=other "
             "-keyout %s/other.key -out %s/other.pem 2>/dev/null",
             rig_folder(), rig_folder());
    assert_int_equal(system(line), 0);
    snprintf(ca, sizeof ca, "%s/other.pem", rig_folder());
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNTRUSTED, 30);
    peer_stop(&p);
    snprintf(ca, sizeof ca, "/no/such/file");
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNTRUSTED, 30);
    assert_non_null(strstr(p.why, "/no/such/file"));
}

static void a_port_without_tls_is_untrusted(void **state)
{
    (void)state;
    struct broker_config config = tls_config();
    config.port = rig_port(1, false);
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNTRUSTED, 30);
}

// The broker rereads its files; a link that tries again finds the good one.
static void untrusted_until_the_certificate_is_good(const char *how, const char *word)
{
    struct broker_config config = tls_config();
    rig_broker("cert", how);
    rig_broker("ctl", "eval 'ssl:clear_pem_cache().' >/dev/null");
    peer_start(&p, &config);
    run_until_state(&p, BROKER_UNTRUSTED, 30);
    if (!strstr(p.why, word))
        fail_msg("%s", p.why);
    rig_broker("cert", "server");
    rig_broker_meanwhile("ctl", "eval 'ssl:clear_pem_cache().' >/dev/null");
    assert_works();
}

static void an_expired_broker_is_untrusted_and_heals(void **state)
{
    (void)state;
    untrusted_until_the_certificate_is_good("server --expired", "expired");
}

static void a_broker_of_another_name_is_untrusted_and_heals(void **state)
{
    (void)state;
    untrusted_until_the_certificate_is_good("server --name elsewhere.example", "IP address mismatch");
}

#define T(name) cmocka_unit_test_setup_teardown(name, NULL, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_password_over_tls_works),
        T(large_bodies_pass_over_tls),
        T(the_certificate_is_the_user_with_external),
        T(a_certificate_that_names_no_user_is_refused),
        T(our_expired_certificate_is_refused_by_the_broker),
        T(another_authoritys_broker_is_untrusted),
        T(a_port_without_tls_is_untrusted),
        T(an_expired_broker_is_untrusted_and_heals),
        T(a_broker_of_another_name_is_untrusted_and_heals),
    };
    int rc = rig_start("--tls");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/tls", tests, NULL, NULL);
    rig_stop();
    return rc;
}
