// What may be done to objects (server/daemon/env/objects_*.c), on a real store.
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ENVIRONMENT(name, more)                                                                              \
    "{\"name\":\"" name "\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A "\"" more "}}"

static int setup(void **state)
{
    int rc = fixture_setup(state);
    struct fixture *f = *state;
    assert_int_equal(
        add_tenant(f, "{\"name\":\"acme\",\"spec\":{\"quota\":{\"environments\":2,\"memory_mib\":64}}}"), 0);
    assert_int_equal(add_image(f, DIGEST_A, "static-elf"), 0);
    return rc;
}

struct target {
    const char *tenant, *name;
    json_t *patch;
    struct precondition pre;
    const char *uid;
};

static int build_change(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    struct target *t = arg;
    return environment_change(store, txn, t->tenant, t->name, t->patch, &t->pre, &f->why);
}

static int change(struct fixture *f, const char *name, const char *patch, uint64_t revision)
{
    struct target t = {
        "acme", name, json_loads(patch, JSON_DECODE_ANY, NULL), {true, revision == 0, revision}, NULL};
    int rc = mutate(f, build_change, &t);
    json_decref(t.patch);
    return rc;
}

static int build_remove(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    struct target *t = arg;
    return environment_remove(store, txn, t->tenant, t->name, t->uid, &f->why);
}

static int remove_environment(struct fixture *f, const char *name)
{
    char key[DOC_KEY_CAP];
    doc_key_of(key, DOC_ENVIRONMENTS, "acme", name);
    json_t *doc = load(f, key);
    struct target t = {.tenant = "acme", .name = name, .uid = json_get_string(doc, "uid", "")};
    int rc = mutate(f, build_remove, &t);
    json_decref(doc);
    return rc;
}

static int build_start(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    struct id operation = {{9}};
    return environment_start(store, txn, "acme", arg, &operation, &f->why);
}

static int build_delete(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    struct id operation = {{8}};
    return environment_delete(store, txn, "acme", arg, NULL, &operation, &f->why);
}

static int build_delete_tenant(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return tenant_delete(store, txn, arg, NULL, &f->why);
}

static int build_delete_image(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return image_delete(store, txn, arg, &f->why);
}

static int build_cancel(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return operation_cancel(store, txn, arg, &f->why);
}

// --- tenants ---

static void a_tenant_gets_the_lowest_free_network(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_tenant(f, "{\"name\":\"beta\"}"), 0);
    assert_int_equal(number_at(f, "tenants/acme", "net"), 0);
    assert_int_equal(number_at(f, "tenants/beta", "net"), 1);
    assert_int_equal(mutate(f, build_delete_tenant, (void *)"acme"), 0);
    assert_int_equal(add_tenant(f, "{\"name\":\"gamma\"}"), 0);
    assert_int_equal(number_at(f, "tenants/gamma", "net"), 0);
}

static void a_tenant_exists_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_tenant(f, "{\"name\":\"acme\"}"), -EEXIST);
    assert_int_equal(f->why.status, 409);
    assert_string_equal(f->why.code, "tenant-exists");
}

static void the_host_is_no_tenant(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_tenant(f, "{\"name\":\"host\"}"), -EINVAL);
    assert_string_equal(f->why.code, "name-reserved");
}

static void a_full_pool_refuses_the_next_tenant(void **state)
{
    struct fixture *f = *state;
    struct err err;
    assert_int_equal(ipam_pool_parse("10.77.0.0/24", &f->pool, &err), 0);
    assert_int_equal(add_tenant(f, "{\"name\":\"beta\"}"), -ENOSPC);
    assert_string_equal(f->why.code, "network-exhausted");
}

static void a_tenant_with_environments_stays(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("web", "")), 0);
    assert_int_equal(mutate(f, build_delete_tenant, (void *)"acme"), -ENOTEMPTY);
    assert_string_equal(f->why.code, "tenant-not-empty");
}

// --- environments ---

static void an_environment_takes_address_quota_and_reference(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("web", "")), 0);
    assert_int_equal(number_at(f, "environments/acme/web", "host"), 2);
    assert_non_null(store_get(f->store, "net/0000/002"));
    assert_int_equal(number_at(f, "usage/acme", "environments"), 1);
    assert_int_equal(number_at(f, "usage/acme", "memory_mib"), 16);
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 1);
}

static void a_removal_gives_everything_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("web", "")), 0);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("db", "")), 0);
    assert_int_equal(remove_environment(f, "web"), 0);
    assert_null(store_get(f->store, "environments/acme/web"));
    assert_null(store_get(f->store, "net/0000/002"));
    assert_int_equal(number_at(f, "usage/acme", "environments"), 1);
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 1);
    assert_int_equal(number_at(f, "environments/acme/db", "host"), 3); // addresses stay while environments do
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("third", "")), 0);
    assert_int_equal(number_at(f, "environments/acme/third", "host"), 2);
}

static void a_removal_spares_a_namesake(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("web", "")), 0);
    struct target t = {.tenant = "acme", .name = "web", .uid = "00000000-0000-0000-0000-000000000000"};
    assert_int_equal(mutate(f, build_remove, &t), -ENOENT);
    assert_non_null(store_get(f->store, "environments/acme/web"));
}

static void the_number_of_environments_is_limited_on_creation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("b", "")), 0);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("c", "")), -EDQUOT);
    assert_string_equal(f->why.code, "quota-exceeded");
    assert_null(store_get(f->store, "environments/acme/c"));
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 2);
}

static void memory_is_limited_on_creation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", ",\"memory_mib\":65")), -EDQUOT);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", ",\"memory_mib\":64")), 0);
}

static void memory_is_limited_on_change(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(change(f, "a", "{\"spec\":{\"memory_mib\":65}}", 0), -EDQUOT);
    assert_int_equal(number_at(f, "usage/acme", "memory_mib"), 16);
    assert_int_equal(change(f, "a", "{\"spec\":{\"memory_mib\":64}}", 0), 0);
    assert_int_equal(number_at(f, "usage/acme", "memory_mib"), 64);
    assert_int_equal(change(f, "a", "{\"spec\":{\"memory_mib\":null}}", 0), 0);
    assert_int_equal(number_at(f, "usage/acme", "memory_mib"), 16);
}

static void a_program_that_is_none_is_refused_with_the_remedy(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_image(f, DIGEST_B, "other"), 0);
    assert_int_equal(add_environment(f, "acme",
                                     "{\"name\":\"a\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_B
                                     "\"}}"),
                     -ENOEXEC);
    assert_int_equal(f->why.status, 422);
    assert_string_equal(f->why.code, "program-not-static-elf");
    assert_non_null(strstr(f->why.detail, "is a script"));
    assert_non_null(strstr(f->why.remedy, "statically"));
    assert_string_equal(f->why.member, "/spec/program");
}

static void an_archive_that_is_none_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_image(f, DIGEST_B, "other"), 0);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", ",\"archive\":\"" DIGEST_B "\"")), -ENOEXEC);
    assert_string_equal(f->why.code, "archive-not-newc");
}

static void an_image_that_is_not_there_is_named(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme",
                                     "{\"name\":\"a\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_B
                                     "\"}}"),
                     -ENOENT);
    assert_string_equal(f->why.code, "no-such-image");
    assert_non_null(strstr(f->why.detail, DIGEST_B));
}

static void too_many_bytes_of_arguments_are_refused(void **state)
{
    struct fixture *f = *state;
    static char text[200000];
    size_t n = (size_t)snprintf(text, sizeof text,
                                "{\"name\":\"a\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A
                                "\",\"args\":[");
    for (int i = 0; i < 5; i++) {
        text[n++] = '"';
        memset(text + n, 'a', 30000);
        n += 30000;
        n += (size_t)snprintf(text + n, sizeof text - n, "\"%s", i < 4 ? "," : "]}}");
    }
    assert_int_equal(add_environment(f, "acme", text), -E2BIG);
    assert_string_equal(f->why.member, "/spec/args");
}

static void an_image_in_use_stays(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(mutate(f, build_delete_image, (void *)DIGEST_A), -EBUSY);
    assert_string_equal(f->why.code, "image-in-use");
    assert_int_equal(remove_environment(f, "a"), 0);
    assert_int_equal(mutate(f, build_delete_image, (void *)DIGEST_A), 0);
    assert_null(store_get(f->store, "images/" DIGEST_A));
}

static void another_program_moves_the_reference(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_image(f, DIGEST_B, "static-elf"), 0);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(change(f, "a", "{\"spec\":{\"program\":\"" DIGEST_B "\"}}", 0), 0);
    assert_int_equal(number_at(f, "images/" DIGEST_A, "refs"), 0);
    assert_int_equal(number_at(f, "images/" DIGEST_B, "refs"), 1);
}

static void a_change_needs_the_present_revision(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    uint64_t revision = store_get(f->store, "environments/acme/a")->revision;
    assert_int_equal(change(f, "a", "{\"labels\":{\"x\":\"1\"}}", revision), 0);
    assert_int_equal(change(f, "a", "{\"labels\":{\"x\":\"2\"}}", revision), -ENOENT);
    assert_int_equal(f->why.status, 412);
}

static void a_change_is_held_against_the_table(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    static const char *const wrong[] = {"{\"spec\":{\"memory_mib\":4}}",
                                        "{\"spec\":{\"colour\":\"red\"}}",
                                        "{\"status\":{}}",
                                        "{\"spec\":{\"program\":null}}",
                                        "{\"labels\":{\"x\":\"a b\"}}",
                                        "{\"name\":\"b\"}",
                                        "{\"spec\":{\"restart\":\"maybe\"}}",
                                        "[]",
                                        "7"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(change(f, "a", wrong[i], 0), -EINVAL);
        assert_int_equal(f->why.status, 422);
    }
}

static void each_wish_to_run_is_a_new_generation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(number_at(f, "environments/acme/a", "generation"), 0);
    assert_int_equal(change(f, "a", "{\"spec\":{\"run\":true}}", 0), 0);
    assert_int_equal(number_at(f, "environments/acme/a", "generation"), 1);
    assert_int_equal(change(f, "a", "{\"spec\":{\"run\":true}}", 0), 0);
    assert_int_equal(number_at(f, "environments/acme/a", "generation"), 1);
    assert_int_equal(mutate(f, build_start, (void *)"a"), 0);
    assert_int_equal(number_at(f, "environments/acme/a", "generation"), 2);
}

static void a_creation_that_runs_stores_its_operation(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", ",\"run\":true")), 0);
    assert_int_equal(store_count(f->store, DOC_OPERATIONS), 1);
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("b", "")), 0);
    assert_int_equal(store_count(f->store, DOC_OPERATIONS), 1);
}

static void what_is_being_deleted_cannot_be_started(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(mutate(f, build_delete, (void *)"a"), 0);
    assert_int_equal(mutate(f, build_start, (void *)"a"), -EBUSY);
    assert_string_equal(f->why.code, "being-deleted");
}

static void only_a_start_that_is_under_way_is_cancelled(void **state)
{
    struct fixture *f = *state;
    char id[ID_TEXT_CAP];
    assert_int_equal(add_environment(f, "acme", ENVIRONMENT("a", "")), 0);
    assert_int_equal(mutate(f, build_start, (void *)"a"), 0);
    id_format(&(struct id){{9}}, id);
    assert_int_equal(mutate(f, build_cancel, id), 0);
    json_t *doc = load(f, "environments/acme/a");
    assert_string_equal(json_get_string(doc, "cancelled", ""), id);
    assert_false(json_get_boolean(json_object_get(doc, "spec"), "run", true));
    json_decref(doc);
    assert_int_equal(mutate(f, build_delete, (void *)"a"), 0);
    id_format(&(struct id){{8}}, id);
    assert_int_equal(mutate(f, build_cancel, id), -EPERM);
    assert_string_equal(f->why.code, "not-cancellable");
}

// --- contention ---

struct many {
    struct fixture *f;
    json_t *request[8];
    int at, done, good;
};

static int many_build(void *arg, const struct store *store, struct store_txn *txn)
{
    json_t **request = arg;
    struct refusal why;
    struct id id = {{(uint8_t)(uintptr_t)arg, (uint8_t)((uintptr_t)arg >> 8), 1}};
    return environment_create(store, txn, "acme", *request, &id, &id, &why);
}

static struct many *all_of_them;

static void many_done(void *arg, const struct store_result *result)
{
    (void)arg;
    all_of_them->done++;
    all_of_them->good += result->rc == 0;
}

// All at once and without the queue: each sees the same quota, and only as many as it allows get through.
static void creations_at_once_do_not_overrun_the_quota(void **state)
{
    static const struct mutation_ops ops = {many_build, many_done};
    struct many m = {.f = *state};
    all_of_them = &m;
    for (int i = 0; i < 8; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"name\":\"e%d\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A "\"}}", i);
        m.request[i] = json_loads(text, 0, NULL);
        assert_int_equal(mutate_at_once(m.f->mutator, &ops, &m.request[i]), 0);
    }
    while (m.done < 8)
        event_base_loop(m.f->base, EVLOOP_ONCE);
    for (int i = 0; i < 8; i++)
        json_decref(m.request[i]);
    assert_int_equal(m.good, 2);
    assert_int_equal(number_at(m.f, "usage/acme", "environments"), 2);
    assert_int_equal(store_count(m.f->store, "environments/"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tenant_gets_the_lowest_free_network),
        TEST(a_tenant_exists_once),
        TEST(the_host_is_no_tenant),
        TEST(a_full_pool_refuses_the_next_tenant),
        TEST(a_tenant_with_environments_stays),
        TEST(an_environment_takes_address_quota_and_reference),
        TEST(a_removal_gives_everything_back),
        TEST(a_removal_spares_a_namesake),
        TEST(the_number_of_environments_is_limited_on_creation),
        TEST(memory_is_limited_on_creation),
        TEST(memory_is_limited_on_change),
        TEST(a_program_that_is_none_is_refused_with_the_remedy),
        TEST(an_archive_that_is_none_is_refused),
        TEST(an_image_that_is_not_there_is_named),
        TEST(too_many_bytes_of_arguments_are_refused),
        TEST(an_image_in_use_stays),
        TEST(another_program_moves_the_reference),
        TEST(a_change_needs_the_present_revision),
        TEST(a_change_is_held_against_the_table),
        TEST(each_wish_to_run_is_a_new_generation),
        TEST(a_creation_that_runs_stores_its_operation),
        TEST(what_is_being_deleted_cannot_be_started),
        TEST(only_a_start_that_is_under_way_is_cancelled),
        TEST(creations_at_once_do_not_overrun_the_quota),
    };
    return cmocka_run_group_tests_name("env_objects", tests, NULL, NULL);
}
