// The API, request by request, against the whole daemon in one process (no envpriv, no KVM).
#include "api_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- the document ---

extern const char api_openapi_start[], api_openapi_end[];

// The document's lines "  /path:" and, below it, "    method:".
static bool documented(const char *method, const char *pattern)
{
    char line[160], lower[16], path[128] = "";
    size_t n = 0;
    for (; method[n]; n++)
        lower[n] = (char)(method[n] | 0x20);
    lower[n] = '\0';
    for (const char *p = api_openapi_start; p < api_openapi_end;) {
        size_t len = strcspn(p, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, p);
        p += len + 1;
        char got[32];
        if (strncmp(line, "  /", 3) == 0)
            snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 2, ":"), line + 2);
        if (strncmp(line, "    ", 4) == 0 && line[4] != ' ' && strcmp(path, pattern) == 0 &&
            sscanf(line, "    %31[^:]:", got) == 1 && strcmp(got, lower) == 0)
            return true;
    }
    return false;
}

static void every_route_is_documented(void **state)
{
    (void)state;
    size_t n;
    const struct http_route *routes = api_routes(&n);
    for (size_t i = 0; i < n; i++)
        if (!documented(routes[i].method, routes[i].pattern))
            fail_msg("%s %s is not in openapi.yaml", routes[i].method, routes[i].pattern);
    assert_false(documented("GET", "/v1/nothing"));
}

static bool routed(const char *method, const char *pattern)
{
    size_t n;
    const struct http_route *routes = api_routes(&n);
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(routes[i].method, method) == 0 && strcmp(routes[i].pattern, pattern) == 0)
            return true;
    return strcasecmp(method, "head") == 0; // served by GET
}

static void everything_documented_has_a_route(void **state)
{
    (void)state;
    static const char *const methods[] = {"get", "put", "post", "patch", "delete", "head"};
    char path[128] = "", line[160];
    size_t n_found = 0;
    for (const char *p = api_openapi_start; p < api_openapi_end && strncmp(p, "components:", 11) != 0;) {
        size_t len = strcspn(p, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, p);
        p += len + 1;
        if (strncmp(line, "  /", 3) == 0)
            snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 2, ":"), line + 2);
        for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
            char start[16];
            snprintf(start, sizeof start, "    %s:", methods[i]);
            if (strncmp(line, start, strlen(start)) != 0)
                continue;
            n_found++;
            if (!routed(methods[i], path))
                fail_msg("%s %s has no route", methods[i], path);
        }
    }
    assert_true(n_found > 30);
}

static void the_document_is_served(void **state)
{
    struct daemon *d = *state;
    const struct reply *r = call_ok(d, 200, "GET", "/v1/openapi.yaml", NULL);
    assert_int_equal(r->len, api_openapi_end - api_openapi_start);
    assert_memory_equal(r->body, api_openapi_start, r->len);
}

// The line of member in schema's block ("    Schema:" … "        member: {"), or false.
static bool schema_line(const char *schema, const char *member, char line[400])
{
    char head[64], start[64];
    bool inside = false;
    snprintf(head, sizeof head, "    %s:", schema);
    snprintf(start, sizeof start, "%s: {", member);
    for (const char *p = api_openapi_start; p < api_openapi_end;) {
        size_t len = strcspn(p, "\n");
        snprintf(line, 400, "%.*s", (int)len, p);
        p += len + 1;
        if (strncmp(line, "    ", 4) == 0 && line[4] != ' ')
            inside = strncmp(line, head, strlen(head)) == 0;
        const char *text = line + strspn(line, " ");
        if (inside && strncmp(text, start, strlen(start)) == 0)
            return true;
    }
    return false;
}

static void assert_documented(const char *schema, const struct json_field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++) {
        char line[400], range[64];
        if (fields[i].kind == JSON_FIELD_OBJECT)
            continue; // its members are looked for by themselves
        if (!schema_line(schema, fields[i].name, line))
            fail_msg("%s of %s is not in openapi.yaml", fields[i].name, schema);
        snprintf(range, sizeof range, "minimum: %lld, maximum: %lld", (long long)fields[i].min,
                 (long long)fields[i].max);
        if (fields[i].kind == JSON_FIELD_INTEGER && !strstr(line, range))
            fail_msg("%s of %s: openapi.yaml does not say \"%s\"", fields[i].name, schema, range);
    }
}

static const struct json_field *member(const struct json_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    fail_msg("there is no member %s", name);
    return NULL;
}

static void what_requests_may_say_is_documented(void **state)
{
    (void)state;
    const struct json_field *spec = member(doc_environment_new_fields, doc_environment_new_n, "spec");
    assert_documented("EnvironmentNew", doc_environment_new_fields, doc_environment_new_n);
    assert_documented("EnvironmentSpec", spec->fields, spec->n_fields);
    const struct json_field *limits = member(spec->fields, spec->n_fields, "limits");
    for (size_t i = 0; i < limits->n_fields; i++)
        assert_documented("EnvironmentSpec", limits->fields[i].fields, limits->fields[i].n_fields);
    const struct json_field *volumes = member(spec->fields, spec->n_fields, "volumes");
    assert_documented("Volume", volumes->fields, volumes->n_fields);
    spec = member(doc_tenant_new_fields, doc_tenant_new_n, "spec");
    assert_documented("TenantNew", doc_tenant_new_fields, doc_tenant_new_n);
    const struct json_field *quota = member(spec->fields, spec->n_fields, "quota");
    assert_documented("TenantSpec", quota->fields, quota->n_fields);
}

// --- the server ---

static void without_envpriv_it_is_alive_and_not_ready(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 200, "GET", "/livez", NULL);
    call_ok(d, 503, "GET", "/readyz", NULL);
    assert_string_equal(text_at("code"), "privileged-helper-unreachable");
    call_ok(d, 200, "GET", "/v1", NULL);
    assert_string_equal(text_at("host.privileged_helper"), "unreachable");
    assert_string_equal(text_at("host.kvm"), "unknown");
}

static void metrics_count_what_there_is(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    const struct reply *r = call_ok(d, 200, "GET", "/metrics", NULL);
    assert_non_null(strstr(r->body, "envd_environments{state=\"defined\"} 1\n"));
    assert_non_null(strstr(r->body, "envd_privileged_helper_up 0\n"));
    assert_string_equal(r->body + r->len - 6, "# EOF\n");
}

// --- objects ---

static void a_new_object_has_revision_and_etag(void **state)
{
    struct daemon *d = *state;
    char etag[64];
    make_tenant(d, "acme");
    const struct reply *r = call_ok(d, 200, "GET", "/v1/tenants/acme", NULL);
    snprintf(etag, sizeof etag, "ETag: \"%lld\"\r\n", (long long)number_in("revision"));
    assert_non_null(strstr(r->head, etag));
    assert_string_equal(text_at("kind"), "tenant");
    assert_string_equal(text_at("status.subnet"), "10.77.0.0/24");
    assert_int_equal(number_in("spec.quota.environments"), 100);
}

static void a_change_with_the_seen_revision_is_made_once(void **state)
{
    struct daemon *d = *state;
    char header[64];
    make_tenant(d, "acme");
    call_ok(d, 200, "GET", "/v1/tenants/acme", NULL);
    snprintf(header, sizeof header, "If-Match: \"%lld\"\r\n", (long long)number_in("revision"));
    const struct reply *r = call(d, "PATCH", "/v1/tenants/acme", header, "{\"labels\":{\"tier\":\"gold\"}}");
    assert_int_equal(r->status, 200);
    assert_string_equal(text_at("labels.tier"), "gold");
    r = call(d, "PATCH", "/v1/tenants/acme", header, "{\"labels\":{\"tier\":\"tin\"}}");
    assert_int_equal(r->status, 412);
    call_ok(d, 200, "GET", "/v1/tenants/acme", NULL);
    assert_string_equal(text_at("labels.tier"), "gold");
}

static void an_environment_shows_defaults_and_address(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "GET", "/v1/tenants/acme/environments/web", NULL);
    assert_string_equal(text_at("status.state"), "defined");
    assert_string_equal(text_at("status.ipv4"), "10.77.0.2");
    assert_string_equal(text_at("status.mac"), "02:65:0a:4d:00:02");
    assert_int_equal(number_in("spec.memory_mib"), 16);
    assert_string_equal(text_at("spec.restart"), "never");
}

static void the_class_of_a_mailbox_is_host_or_queue_and_stays(void **state)
{
    static const char env[] = "/v1/tenants/acme/environments/web";
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    assert_int_equal(call(d, "PATCH", env, "If-Match: *\r\n", "{\"spec\":{\"mailbox\":\"box\"}}")->status,
                     422);
    assert_string_equal(text_at("code"), "invalid-member");
    assert_int_equal(call(d, "PATCH", env, "If-Match: *\r\n", "{\"spec\":{\"mailbox\":\"queue\"}}")->status,
                     422);
    assert_string_equal(text_at("code"), "fixed-member");
}

static void nothing_inner_is_shown(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    const struct reply *r = call_ok(d, 200, "GET", "/v1/tenants/acme/environments/web", NULL);
    assert_null(strstr(r->body, "uid"));
    assert_null(strstr(r->body, "generation"));
}

static void without_envpriv_a_start_is_refused_and_nothing_changed(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 503, "POST", "/v1/tenants/acme/environments/web/start", NULL);
    assert_string_equal(text_at("code"), "privileged-helper-unreachable");
    assert_int_equal(store_count(d->f->store, DOC_OPERATIONS), 0);
}

// --- lists ---

static void make_many(struct daemon *d)
{
    make_tenant(d, "acme");
    for (int i = 0; i < 5; i++) {
        char name[8], path[64], body[64];
        snprintf(name, sizeof name, "e%d", i);
        make_environment(d, "acme", name);
        snprintf(path, sizeof path, "/v1/tenants/acme/environments/%s", name);
        snprintf(body, sizeof body, "{\"labels\":{\"n\":\"%d\",\"%s\":\"\"}}", i % 2, i < 2 ? "low" : "high");
        assert_int_equal(call(d, "PATCH", path, "If-Match: *\r\n", body)->status, 200);
    }
}

static void a_list_comes_in_pages(void **state)
{
    struct daemon *d = *state;
    char path[128];
    make_many(d);
    call_ok(d, 200, "GET", "/v1/environments?limit=2", NULL);
    assert_int_equal(n_items(), 2);
    assert_string_equal(text_at("items.1.name"), "e1");
    snprintf(path, sizeof path, "/v1/environments?limit=2&cursor=%s", text_at("cursor"));
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("items.0.name"), "e2");
    snprintf(path, sizeof path, "/v1/environments?limit=2&cursor=%s", text_at("cursor"));
    call_ok(d, 200, "GET", path, NULL);
    assert_int_equal(n_items(), 1);
    assert_string_equal(text_at("cursor"), "");
}

static void a_selector_chooses_by_labels(void **state)
{
    struct daemon *d = *state;
    static const struct {
        const char *selector;
        size_t n;
    } cases[] = {{"n=1", 2},       {"n=0", 3},       {"n", 5},        {"!n", 0},
                 {"low", 2},       {"!low", 3},      {"n=1,high", 1}, {"n!=1,high", 2},
                 {"n=1,!high", 1}, {"nothing=1", 0}, {"n%21%3D7", 5}, {"", 5}};
    make_many(d);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[96];
        snprintf(path, sizeof path, "/v1/tenants/acme/environments?selector=%s", cases[i].selector);
        call_ok(d, 200, "GET", path, NULL);
        assert_int_equal(n_items(), cases[i].n);
    }
}

static void fields_choose_members(void **state)
{
    struct daemon *d = *state;
    make_many(d);
    const struct reply *r =
        call_ok(d, 200, "GET", "/v1/environments?limit=1&fields=status.state,labels.n,nothing.x", NULL);
    assert_string_equal(text_at("items.0.name"), "e0");
    assert_string_equal(text_at("items.0.status.state"), "defined");
    assert_string_equal(text_at("items.0.labels.n"), "0");
    assert_null(strstr(r->body, "ipv4"));
    assert_null(strstr(r->body, "spec"));
}

static void tenants_lists_do_not_mix(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_tenant(d, "acme-2");
    make_environment(d, "acme-2", "web");
    call_ok(d, 200, "GET", "/v1/tenants/acme/environments", NULL);
    assert_int_equal(n_items(), 0);
    call_ok(d, 200, "GET", "/v1/tenants/acme-2/environments", NULL);
    assert_int_equal(n_items(), 1);
}

// --- operations ---

static void an_environment_that_does_not_run_is_deleted_at_once(void **state)
{
    struct daemon *d = *state;
    char path[96];
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    assert_string_equal(text_at("spec.action"), "delete");
    snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "done");
    call_ok(d, 404, "GET", "/v1/tenants/acme/environments/web", NULL);
    call_ok(d, 204, "DELETE", "/v1/tenants/acme", NULL);
}

static void a_stop_of_what_does_not_run_is_done(void **state)
{
    struct daemon *d = *state;
    char path[96];
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 202, "POST", "/v1/tenants/acme/environments/web/stop", "{\"grace_ms\":0}");
    snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "done");
    assert_string_equal(text_at("status.environment_state"), "defined");
}

static int build_start(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    return environment_start(store, txn, "acme", "web", arg, &f->why);
}

// As if envpriv had gone away between the start's acceptance and its work.
static void start_without_helper(struct daemon *d, char path[96])
{
    struct id id = {{7, 7}};
    char text[ID_TEXT_CAP];
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    assert_int_equal(mutate(d->f, build_start, &id), 0);
    id_format(&id, text);
    snprintf(path, 96, "/v1/operations/%s", text);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    struct daemon *d = *state;
    char path[96], waiting[128];
    start_without_helper(d, path);
    snprintf(waiting, sizeof waiting, "%s?wait=50", path);
    call_ok(d, 200, "GET", waiting, NULL);
    assert_string_equal(text_at("status.state"), "pending");
}

static void a_cancelled_start_has_failed_and_is_not_wanted_any_more(void **state)
{
    struct daemon *d = *state;
    char path[96], waiting[128];
    start_without_helper(d, path);
    call_ok(d, 202, "DELETE", path, NULL);
    snprintf(waiting, sizeof waiting, "%s?wait=5000", path);
    call_ok(d, 200, "GET", waiting, NULL);
    assert_string_equal(text_at("status.state"), "failed");
    assert_string_equal(text_at("status.error.code"), "cancelled");
    call_ok(d, 200, "GET", "/v1/tenants/acme/environments/web", NULL);
    assert_string_equal(text_at("status.state"), "defined");
    call_ok(d, 409, "DELETE", path, NULL);
    assert_string_equal(text_at("code"), "not-cancellable");
}

static void a_stop_supersedes_a_start(void **state)
{
    struct daemon *d = *state;
    char path[96], waiting[128];
    start_without_helper(d, path);
    call_ok(d, 202, "POST", "/v1/tenants/acme/environments/web/stop", NULL);
    snprintf(waiting, sizeof waiting, "%s?wait=5000", path);
    call_ok(d, 200, "GET", waiting, NULL);
    assert_string_equal(text_at("status.error.code"), "superseded");
}

static void a_pending_operation_survives_a_restart(void **state)
{
    struct daemon *d = *state;
    char path[96];
    start_without_helper(d, path);
    daemon_stop(d);
    daemon_start(d);
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "pending");
    call_ok(d, 202, "DELETE", path, NULL);
    char waiting[128];
    snprintf(waiting, sizeof waiting, "%s?wait=5000", path);
    call_ok(d, 200, "GET", waiting, NULL);
    assert_string_equal(text_at("status.state"), "failed");
}

static int build_old_operations(struct fixture *f, const struct store *store, struct store_txn *txn,
                                void *arg)
{
    const uint8_t *block = arg;
    (void)f;
    (void)store;
    for (uint8_t i = 0; i < 100; i++) {
        char key[DOC_KEY_CAP], text[ID_TEXT_CAP];
        static const char doc[] = "{\"tenant\":\"acme\",\"spec\":{},\"status\":{\"state\":\"done\"}}";
        id_format(&(struct id){{*block, i}}, text);
        doc_key(key, DOC_OPERATIONS, text);
        assert_int_equal(store_txn_put(txn, key, doc, sizeof doc - 1), 0);
    }
    return 0;
}

static void many_finished_operations_are_trimmed(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    for (uint8_t block = 0; block < 11; block++)
        assert_int_equal(mutate(d->f, build_old_operations, &block), 0);
    for (int i = 0; i < 2; i++) {
        char path[96];
        call_ok(d, 202, "POST", "/v1/tenants/acme/environments/web/stop", NULL);
        snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
        call_ok(d, 200, "GET", path, NULL);
        assert_string_equal(text_at("status.state"), "done");
    }
    assert_true(store_count(d->f->store, DOC_OPERATIONS) < 1064);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, daemon_setup, daemon_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_documented),
        cmocka_unit_test(everything_documented_has_a_route),
        cmocka_unit_test(what_requests_may_say_is_documented),
        TEST(the_document_is_served),
        TEST(without_envpriv_it_is_alive_and_not_ready),
        TEST(metrics_count_what_there_is),
        TEST(a_new_object_has_revision_and_etag),
        TEST(a_change_with_the_seen_revision_is_made_once),
        TEST(an_environment_shows_defaults_and_address),
        TEST(the_class_of_a_mailbox_is_host_or_queue_and_stays),
        TEST(nothing_inner_is_shown),
        TEST(without_envpriv_a_start_is_refused_and_nothing_changed),
        TEST(a_list_comes_in_pages),
        TEST(a_selector_chooses_by_labels),
        TEST(fields_choose_members),
        TEST(tenants_lists_do_not_mix),
        TEST(an_environment_that_does_not_run_is_deleted_at_once),
        TEST(a_stop_of_what_does_not_run_is_done),
        TEST(a_wait_ends_when_its_time_is_over),
        TEST(a_cancelled_start_has_failed_and_is_not_wanted_any_more),
        TEST(a_stop_supersedes_a_start),
        TEST(a_pending_operation_survives_a_restart),
        TEST(many_finished_operations_are_trimmed),
    };
    return cmocka_run_group_tests_name("daemon_api", tests, NULL, NULL);
}
