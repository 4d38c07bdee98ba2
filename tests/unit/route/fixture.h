// A router with a policy, a clock that tests set, and environments with labels: what the tests of routing
// start from.
#pragma once

#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "../../fuzz/route/journal_folder.h"
#include "route/endpoint.h"

struct fixture {
    char folder[JOURNAL_FOLDER_CAP];
    struct event_base *base;
    struct mediator *mediator;
    struct router *router;
    uint64_t now_ms; // of both clocks
};

// beta/secret is labelled secret=yes, everything else has no labels.
static inline bool fixture_describe(void *arg, const char *tenant, const char *name,
                                    struct router_identity *ret)
{
    static const struct mediate_label secret = {"secret", "yes"};
    (void)arg;
    if (strcmp(tenant, "beta") == 0 && strcmp(name, "secret") == 0)
        *ret = (struct router_identity){.labels = &secret, .n_labels = 1};
    return true;
}

static inline uint64_t fixture_realtime_ms(void *arg)
{
    return ((struct fixture *)arg)->now_ms;
}

static inline uint64_t fixture_monotonic_ns(void *arg)
{
    return ((struct fixture *)arg)->now_ms * 1000000;
}

static inline void fixture_policy(struct fixture *f, const char *text)
{
    static uint64_t revisions;
    const struct policy_source source = {"main", text, strlen(text)};
    struct policy *p = NULL;
    struct err err = {""};
    if (policy_new(&source, 1, ++revisions, &p, NULL, &err) < 0)
        fail_msg("%s", err.text);
    mediator_set_policy(f->mediator, p);
    policy_unref(p);
}

static inline void fixture_init(struct fixture *f, const struct router_config *config)
{
    static const struct router_ops ops = {.describe = fixture_describe,
                                          .realtime_ms = fixture_realtime_ms,
                                          .monotonic_ns = fixture_monotonic_ns};
    struct router_config defaults;
    router_config_default(&defaults);
    *f = (struct fixture){.base = event_base_new(), .mediator = mediator_new(0, 0), .now_ms = 1700000000000};
    assert_non_null(f->base);
    assert_non_null(f->mediator);
    f->router = router_new(f->base, config ? config : &defaults, &ops, f, f->mediator);
    assert_non_null(f->router);
    assert_true(journal_folder_open(f->router, f->folder));
    fixture_policy(f, "* * * allow");
    assert_int_equal(router_environment_added(f->router, "acme", "web"), 0);
    assert_int_equal(router_environment_added(f->router, "acme", "db"), 0);
    assert_int_equal(router_environment_added(f->router, "acme", "db2"), 0);
    assert_int_equal(router_environment_added(f->router, "beta", "eve"), 0);
    assert_int_equal(router_environment_added(f->router, "beta", "secret"), 0);
}

static inline void fixture_done(struct fixture *f)
{
    router_free(f->router);
    mediator_free(f->mediator);
    event_base_free(f->base);
    journal_folder_remove(f->folder);
}

static inline struct wire_view text_view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static inline struct id numbered_id(unsigned n)
{
    struct id id = {{1}};
    memcpy(id.bytes + 1, &n, sizeof n);
    return id;
}
