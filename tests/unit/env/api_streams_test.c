// The API's images, logs, events, policy, messages and explanations, against the whole daemon in one process.
#include "api_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "env/logfile.h"

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

static void a_large_object_is_left_out_of_its_event(void **state)
{
    struct daemon *d = *state;
    static char text[100001];
    memset(text, '#', sizeof text - 1); // one comment
    char *body = NULL;
    assert_true(asprintf(&body, "{\"text\":\"%s\"}", text) > 0);
    call_ok(d, 200, "PUT", "/v1/policies/main", body);
    free(body);
    _cleanup_close_ int fd = open_stream(d, "/v1/events?since=0", NULL);
    assert_null(strstr(read_until(d, fd, "\"kind\":\"policy\""), "\"object\""));
    make_tenant(d, "acme");
    read_until(d, fd, "\"object\"");
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

static void a_message_that_is_sent_again_with_its_id_is_delivered_once(void **state)
{
    struct daemon *d = *state;
    struct router_stats stats;
    make_tenant(d, "acme");
    make_environment(d, "acme", "web");
    call_ok(d, 200, "PUT", "/v1/policies/main", POLICY);
    for (int i = 0; i < 2; i++) {
        call_ok(d, 200, "POST", "/v1/messages",
                "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"id\":\"018f4d2c-0001-7000-8000-000000000001\"}");
        assert_string_equal(text_at("code"), "accepted");
        assert_string_equal(text_at("id"), "018f4d2c-0001-7000-8000-000000000001");
    }
    router_get_stats(d->router, &stats);
    assert_int_equal(stats.depth, 1);
    assert_int_equal(stats.duplicates, 1);
    call_ok(d, 422, "POST", "/v1/messages", "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"id\":\"1\"}");
    call_ok(d, 422, "POST", "/v1/messages", "{\"to\":\"acme/web\",\"subject\":\"a.b\",\"priority\":10}");
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
        TEST(a_large_object_is_left_out_of_its_event),
        TEST(a_policy_is_put_kept_and_in_force_again_after_a_restart),
        TEST(a_wrong_policy_leaves_the_old_one_in_force),
        TEST(a_message_gets_its_receipt_and_its_explanation),
        TEST(a_message_that_is_sent_again_with_its_id_is_delivered_once),
        TEST(a_call_that_nobody_answers_expires),
        TEST(a_caller_that_goes_away_is_forgotten),
        TEST(what_would_be_decided_can_be_asked),
    };
    return cmocka_run_group_tests_name("daemon_api_streams", tests, NULL, NULL);
}
