// Owns the folder, loop and store of a test.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    char path[96];
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/envd-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->base = event_base_new();
    snprintf(path, sizeof path, "%s/envd.db", f->dir);
    struct store_sqlite_config config = {.path = path};
    assert_int_equal(store_open_sqlite(f->base, &config, &f->store, &err), 0);
    f->mutator = mutator_new(f->base, f->store);
    assert_int_equal(ipam_pool_parse("10.77.0.0/16", &f->pool, &err), 0);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    mutator_stop(f->mutator);
    store_close(f->store);
    mutator_free(f->mutator);
    event_base_free(f->base);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

struct run {
    struct fixture *f;
    fixture_build *build;
    void *arg;
    bool done;
    int rc;
};

static int run_build(void *arg, const struct store *store, struct store_txn *txn)
{
    struct run *r = arg;
    return r->build(r->f, store, txn, r->arg);
}

static void run_done(void *arg, const struct store_result *result)
{
    struct run *r = arg;
    r->done = true;
    r->rc = result->rc;
    event_base_loopbreak(r->f->base);
}

int mutate(struct fixture *f, fixture_build *build, void *arg)
{
    static const struct mutation_ops ops = {run_build, run_done};
    struct run r = {.f = f, .build = build, .arg = arg};
    assert_int_equal(mutate_queued(f->mutator, &ops, &r), 0);
    while (!r.done)
        event_base_loop(f->base, EVLOOP_ONCE);
    return r.rc;
}

static int build_nothing(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    (void)f;
    (void)store;
    (void)arg;
    return store_txn_expect(txn, "nothing/there", 0);
}

void fixture_settle(struct fixture *f)
{
    assert_int_equal(mutate(f, build_nothing, NULL), 0);
}

static int build_tenant(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return tenant_create(store, txn, &f->pool, arg, &f->why);
}

int add_tenant(struct fixture *f, const char *request)
{
    json_t *doc = json_loads(request, 0, NULL);
    assert_non_null(doc);
    int rc = mutate(f, build_tenant, doc);
    json_decref(doc);
    return rc;
}

static int build_image(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    const char *const *what = arg;
    json_t *doc =
        json_pack("{s:i, s:s, s:s, s:i}", "size", 1, "type", what[1], "note", "is a script", "refs", 0);
    int rc = image_add(store, txn, what[0], doc, &f->why);
    json_decref(doc);
    return rc;
}

int add_image(struct fixture *f, const char *digest, const char *type)
{
    const char *what[] = {digest, type};
    return mutate(f, build_image, what);
}

struct creation {
    const char *tenant;
    json_t *request;
};

static int build_environment(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    struct creation *c = arg;
    static uint8_t n;
    struct id uid = {{++n, 1}}, operation = {{n, 2}};
    return environment_create(store, txn, c->tenant, c->request, &uid, &operation, &f->why);
}

int add_environment(struct fixture *f, const char *tenant, const char *request)
{
    struct creation c = {tenant, json_loads(request, 0, NULL)};
    assert_non_null(c.request);
    int rc = mutate(f, build_environment, &c);
    json_decref(c.request);
    return rc;
}

json_t *load(struct fixture *f, const char *key)
{
    json_t *doc = doc_load(f->store, key, NULL);
    if (!doc)
        fail_msg("there is no %s", key);
    return doc;
}

int64_t number_at(struct fixture *f, const char *key, const char *member)
{
    json_t *doc = load(f, key);
    int64_t n = json_get_integer(doc, member, -1);
    json_decref(doc);
    return n;
}
