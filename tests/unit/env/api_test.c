// The API, request by request, against the whole daemon in one process (no envpriv, no KVM).
#include "api_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "env/logfile.h"

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

static size_t n_items(void)
{
    size_t n = 0;
    char path[24];
    for (;; n++) {
        snprintf(path, sizeof path, "items.%zu.kind", n);
        if (text_at(path)[0] == '\0')
            return n;
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

// --- images ---

#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void an_image_is_stored_once(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 404, "GET", "/v1/images/" ABC, NULL);
    call_ok(d, 201, "PUT", "/v1/images/" ABC, "abc");
    assert_int_equal(number_in("status.size"), 3);
    assert_string_equal(text_at("status.type"), "other");
    call_ok(d, 200, "PUT", "/v1/images/" ABC, "abc");
    call_ok(d, 200, "HEAD", "/v1/images/" ABC, NULL);
    call_ok(d, 204, "DELETE", "/v1/images/" ABC, NULL);
    assert_false(images_has(d->images, ABC));
    call_ok(d, 404, "DELETE", "/v1/images/" ABC, NULL);
}

static void an_image_whose_file_is_lost_can_be_uploaded_again(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 201, "PUT", "/v1/images/" ABC, "abc");
    images_remove(d->images, ABC);
    call_ok(d, 201, "PUT", "/v1/images/" ABC, "abc");
    assert_true(images_has(d->images, ABC));
}

static void an_image_in_chunks_is_taken_too(void **state)
{
    struct daemon *d = *state;
    _cleanup_close_ int fd =
        open_stream(d, "/v1/images/" ABC, NULL); // a GET first, so that the connection is known to work
    read_until(d, fd, "no-such-image");
    static const char request[] =
        "PUT /v1/images/" ABC " HTTP/1.1\r\nHost: envd\r\nTransfer-Encoding: chunked\r\n\r\n"
        "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
    assert_int_equal(write(fd, request, sizeof request - 1), sizeof request - 1);
    read_until(d, fd, "201 Created");
}

static void too_large_an_image_is_refused_in_time(void **state)
{
    struct daemon *d = *state;
    size_t n = (1 << 20) + 1;
    char *large = malloc(n + 1);
    memset(large, 'x', n);
    large[n] = '\0';
    call_ok(d, 413, "PUT", "/v1/images/" ABC, large);
    free(large);
    assert_false(images_has(d->images, ABC));
}

// --- logs ---

static void print_log(struct daemon *d, const char *text)
{
    struct logring ring = {0};
    struct logring_span spans[2];
    struct err err;
    uint8_t raw[32];
    _cleanup_close_ int fd = logfile_open(d->logs, "acme", "web", 8192, &err);
    assert_true(fd >= 0 && logfile_header(fd, &ring) == 0);
    size_t len = strlen(text), done = 0, n = logring_spans(&ring, ring.total, len, spans);
    for (size_t i = 0; i < n; done += spans[i].len, i++)
        assert_int_equal(pwrite(fd, text + done, spans[i].len, (off_t)spans[i].file_offset), spans[i].len);
    ring.total += len;
    logring_header_write(&ring, raw);
    assert_int_equal(pwrite(fd, raw, sizeof raw, 0), sizeof raw);
}

// What a chunked body says, without its framing: good enough for texts without line ends of the framing's
// kind.
static void assert_log(struct daemon *d, const char *query, const char *want)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/tenants/acme/environments/web/logs%s", query);
    const struct reply *r = call_ok(d, 200, "GET", path, NULL);
    if (*want)
        assert_non_null(strstr(r->body, want));
    else
        assert_string_equal(r->body, "0\r\n\r\n");
}

static void a_log_is_read_from_where_it_is_wanted(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    assert_log(d, "", "");
    print_log(d, "one\ntwo\nthree\n");
    assert_log(d, "", "e\r\none\ntwo\nthree\n\r\n0\r\n\r\n");
    assert_log(d, "?since=4", "a\r\ntwo\nthree\n\r\n0\r\n\r\n");
    assert_log(d, "?tail=1", "6\r\nthree\n\r\n0\r\n\r\n");
    assert_log(d, "?since=14", "");
    assert_log(d, "?since=999", "");
    assert_non_null(strstr(call(d, "GET", "/v1/tenants/acme/environments/web/logs?tail=1", NULL, NULL)->head,
                           "Envd-Log-Offset: 8\r\n"));
}

static void a_followed_log_ends_with_its_environment(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    _cleanup_close_ int fd = open_stream(d, "/v1/tenants/acme/environments/web/logs?follow=true", NULL);
    read_until(d, fd, "200 OK");
    call_ok(d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    read_until(d, fd, "0\r\n\r\n");
}

static void a_reader_that_goes_away_is_forgotten(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    int fd = open_stream(d, "/v1/tenants/acme/environments/web/logs?follow=true", NULL);
    read_until(d, fd, "200 OK");
    close(fd);
    call_ok(d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    call_ok(d, 200, "GET", "/v1/environments", NULL);
}

// --- events ---

static void events_are_replayed_and_go_on(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    _cleanup_close_ int fd = open_stream(d, "/v1/events?since=0", NULL);
    const char *text = read_until(d, fd, "\"name\":\"acme\"");
    assert_non_null(strstr(text, "event: put"));
    assert_null(strstr(text, "usage")); // inner documents are nobody's business
    make_environment(d, "acme", "web");
    text = read_until(d, fd, "\"kind\":\"environment\"");
    assert_non_null(strstr(text, "\"tenant\":\"acme\""));
    call_ok(d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    read_until(d, fd, "event: delete");
}

static void events_go_on_from_the_last_id(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    call_ok(d, 200, "GET", "/v1/tenants", NULL);
    char header[64];
    snprintf(header, sizeof header, "Last-Event-ID: %lld\r\n", (long long)number_in("revision"));
    _cleanup_close_ int fd = open_stream(d, "/v1/events", header);
    read_until(d, fd, "200 OK");
    make_tenant(d, "beta");
    assert_null(strstr(read_until(d, fd, "\"name\":\"beta\""), "\"name\":\"acme\""));
}

static void a_revision_that_never_was_means_a_resync(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    _cleanup_close_ int fd = open_stream(d, "/v1/events?since=100000", NULL);
    read_until(d, fd, "event: resync");
    make_tenant(d, "beta");
    read_until(d, fd, "\"name\":\"beta\""); // and goes on live
}

// --- policy, messages, explanations ---

#define POLICY "{\"text\":\"a.* host/operator acme/web allow\\n\",\"file\":\"p\"}"

static void a_policy_is_put_kept_and_in_force_again_after_a_restart(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 200, "GET", "/v1/policies/main", NULL);
    assert_int_equal(number_in("revision"), 0);
    assert_non_null(strstr(text_at("status.note"), "denied"));
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    assert_int_equal(number_in("status.rules"), 1);
    call_ok(d, 428, "PUT", "/v1/policies/main", POLICY);
    assert_int_equal(call(d, "PUT", "/v1/policies/main", "If-Match: \"1\"\r\n", POLICY)->status, 200);
    assert_int_equal(call(d, "PUT", "/v1/policies/main", "If-Match: \"1\"\r\n", POLICY)->status, 412);
    daemon_stop(d);
    daemon_start(d);
    call_ok(d, 200, "GET", "/v1/policies/main", NULL);
    assert_int_equal(number_in("status.rules"), 1);
    assert_int_equal(number_in("revision"), policy_revision(mediator_policy(d->mediator)));
    call_ok(d, 200, "GET", "/v1/policies/main/versions", NULL);
    assert_int_equal(n_items(), 2);
}

static void a_wrong_policy_leaves_the_old_one_in_force(void **state)
{
    struct daemon *d = *state;
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    const struct reply *r = call(d, "PUT", "/v1/policies/main", "If-Match: *\r\n",
                                 "{\"text\":\"* * * allow\\na.b x/y\\n\",\"file\":\"q\"}");
    assert_int_equal(r->status, 422);
    assert_string_equal(text_at("code"), "policy-invalid");
    assert_int_equal(number_in("line"), 2);
    assert_int_equal(policy_n_rules(mediator_policy(d->mediator)), 1);
}

static void a_message_gets_its_receipt_and_its_explanation(void **state)
{
    struct daemon *d = *state;
    char path[96];
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    call_ok(d, 200, "POST", "/v1/messages", "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"body\":\"x\"}");
    assert_string_equal(text_at("code"), "accepted");
    call_ok(d, 200, "POST", "/v1/messages", "{\"to\":\"acme/web\",\"subject\":\"b\"}");
    assert_string_equal(text_at("code"), "denied");
    assert_true(text_at("hint")[0] != '\0');
    snprintf(path, sizeof path, "/v1/explain/%s", text_at("id"));
    call_ok(d, 200, "GET", path, NULL);
    assert_string_equal(text_at("decision"), "deny");
    assert_string_equal(text_at("reason"), "no-match");
    assert_string_equal(text_at("message.from"), "host/operator");
    assert_int_equal(number_in("nearest.line"), 1);
}

static void a_call_that_nobody_answers_expires(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    call_ok(d, 200, "POST", "/v1/messages",
            "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"kind\":\"call\",\"timeout_ms\":50}");
    assert_string_equal(text_at("code"), "expired");
}

static void a_caller_that_goes_away_is_forgotten(void **state)
{
    struct daemon *d = *state;
    static const char body[] =
        "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"kind\":\"call\",\"timeout_ms\":60000}";
    char request[256];
    struct router_stats stats;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    int fd = open_stream(d, "/livez", NULL);
    read_until(d, fd, "alive");
    int n = snprintf(request, sizeof request,
                     "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                     sizeof body - 1, body);
    assert_int_equal(write(fd, request, (size_t)n), n);
    do {
        call_ok(d, 200, "GET", "/livez", NULL);
        router_get_stats(d->router, &stats);
    } while (stats.calls_waiting == 0);
    close(fd);
    // Its end comes later: it must find nobody to tell.
    call_ok(d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    do {
        call_ok(d, 200, "GET", "/livez", NULL);
        router_get_stats(d->router, &stats);
    } while (stats.calls_waiting > 0);
}

static void what_would_be_decided_can_be_asked(void **state)
{
    struct daemon *d = *state;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    call_ok(d, 200, "POST", "/v1/explain",
            "{\"from\":\"host/operator\",\"to\":\"acme/web\",\"subject\":\"a.b\"}");
    assert_string_equal(text_at("decision"), "allow");
    assert_string_equal(text_at("rule.file"), "p");
    assert_int_equal(number_in("rule.line"), 1);
    call_ok(d, 200, "POST", "/v1/explain", "{\"from\":\"acme/web\",\"to\":\"acme/web\",\"subject\":\"a.b\"}");
    assert_string_equal(text_at("decision"), "deny");
    call_ok(d, 422, "POST", "/v1/explain",
            "{\"from\":\"acme/:svc\",\"to\":\"acme/web\",\"subject\":\"a.b\"}");
    assert_string_equal(text_at("member"), "/from");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, daemon_setup, daemon_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_documented),
        cmocka_unit_test(everything_documented_has_a_route),
        TEST(the_document_is_served),
        TEST(without_envpriv_it_is_alive_and_not_ready),
        TEST(metrics_count_what_there_is),
        TEST(a_new_object_has_revision_and_etag),
        TEST(a_change_with_the_seen_revision_is_made_once),
        TEST(an_environment_shows_defaults_and_address),
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
        TEST(an_image_is_stored_once),
        TEST(an_image_whose_file_is_lost_can_be_uploaded_again),
        TEST(an_image_in_chunks_is_taken_too),
        TEST(too_large_an_image_is_refused_in_time),
        TEST(a_log_is_read_from_where_it_is_wanted),
        TEST(a_followed_log_ends_with_its_environment),
        TEST(a_reader_that_goes_away_is_forgotten),
        TEST(events_are_replayed_and_go_on),
        TEST(events_go_on_from_the_last_id),
        TEST(a_revision_that_never_was_means_a_resync),
        TEST(a_policy_is_put_kept_and_in_force_again_after_a_restart),
        TEST(a_wrong_policy_leaves_the_old_one_in_force),
        TEST(a_message_gets_its_receipt_and_its_explanation),
        TEST(a_call_that_nobody_answers_expires),
        TEST(a_caller_that_goes_away_is_forgotten),
        TEST(what_would_be_decided_can_be_asked),
    };
    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
