// A server that says the same always, on envd's own HTTP codec. Called by envctl_world.c.
#include "scripted_server.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/server.h"

static FILE *request_log;

static void note(void *arg, struct http_request *req)
{
    const char *match = http_request_header(req, "If-Match");
    size_t len;
    const char *body = http_request_body(req, &len);
    (void)arg;
    fprintf(request_log, "%s %s", http_request_method(req), http_request_path(req));
    for (size_t i = 0; i < http_request_n_query(req); i++) {
        const char *name, *value;
        http_request_query_at(req, i, &name, &value);
        fprintf(request_log, " %s=%s", name, value);
    }
    fprintf(request_log, "%s%s %.*s\n", match ? " if-match " : "", match ? match : "", (int)len,
            body ? body : "");
    fflush(request_log);
}

static void reply_text(struct http_request *req, int status, const char *json)
{
    http_reply_bytes(req, status, "application/json", json, strlen(json));
}

// /v1/tenants/TENANT/environments/NAME answers as NAME says.
static void on_show(void *arg, struct http_request *req)
{
    const char *name = http_request_param(req, "name");
    static const struct {
        const char *name;
        int status;
    } problems[] = {{"missing", 404}, {"forbidden", 403}, {"taken", 409},  {"moved", 412},
                    {"away", 503},    {"full", 507},      {"broken", 500}, {"late", 504}};
    note(arg, req);
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        if (strcmp(problems[i].name, name) == 0) {
            http_reply_problem(req, problems[i].status, "a-code",
                               json_pack("{s:s}", "remedy", "Do something else"), "%s is so", name);
            return;
        }
    }
    reply_text(
        req, 200,
        "{\"kind\":\"environment\",\"tenant\":\"acme\",\"name\":\"web\",\"spec\":{\"args\":[\"-x\"]},"
        "\"status\":{\"state\":\"ready\",\"reason\":{\"text\":\"a\\u001b[31mb\\u009bc\"}},\"revision\":7}");
}

static void on_list(void *arg, struct http_request *req)
{
    note(arg, req);
    bool second = http_request_query(req, "cursor") != NULL;
    reply_text(
        req, 200,
        second ? "{\"kind\":\"list\",\"items\":[{\"tenant\":\"beta\",\"name\":\"eve\",\"status\":{\"state\":"
                 "\"stopped\"}}],\"revision\":9}"
               : "{\"kind\":\"list\",\"items\":[{\"tenant\":\"acme\",\"name\":\"web\",\"status\":{\"state\":"
                 "\"ready\",\"ipv4\":\"10.77.0.2\"},\"spec\":{\"memory_mib\":16}}],\"revision\":9,"
                 "\"cursor\":\"a/b\"}");
}

static void on_change(void *arg, struct http_request *req)
{
    const char *name = http_request_param(req, "name");
    note(arg, req);
    if (strcmp(name, "missing") == 0 || strcmp(name, "gone") == 0) {
        http_reply_problem(req, 404, "no-such-environment", NULL, "there is no environment %s", name);
        return;
    }
    http_reply_json(req, 202, json_pack("{s:s, s:s}", "kind", "operation", "name", name));
}

static void on_operation(void *arg, struct http_request *req)
{
    const char *name = http_request_param(req, "id");
    note(arg, req);
    if (strcmp(name, "fails") == 0)
        reply_text(
            req, 200,
            "{\"kind\":\"operation\",\"name\":\"fails\",\"status\":{\"state\":\"failed\",\"error\":{\"code\":"
            "\"guest-fault\",\"detail\":\"the guest faulted\",\"remedy\":\"Look at its log\"}}}");
    else
        http_reply_json(req, 200,
                        json_pack("{s:s, s:s, s:{s:s}}", "kind", "operation", "name", name, "status", "state",
                                  strcmp(name, "slow") == 0 ? "running" : "done"));
}

static void on_create(void *arg, struct http_request *req)
{
    note(arg, req);
    http_reply_header(req, "Envd-Operation", "starting");
    reply_text(req, 201, "{\"kind\":\"environment\",\"tenant\":\"acme\",\"name\":\"web\",\"revision\":3}");
}

static void on_get_image(void *arg, struct http_request *req)
{
    static const char known[] =
        "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"; // "foo"
    note(arg, req);
    if (strcmp(http_request_param(req, "image"), known) == 0)
        reply_text(req, 200, "{}");
    else
        http_reply_problem(req, 404, "no-such-image", NULL, "it is not here");
}

static void on_put_image(void *arg, struct http_request *req)
{
    note(arg, req);
    reply_text(req, 201, "{\"kind\":\"image\"}");
}

static void on_message(void *arg, struct http_request *req)
{
    size_t len;
    const char *body = http_request_body(req, &len);
    note(arg, req);
    if (memmem(body, len, "denied", 6))
        reply_text(
            req, 200,
            "{\"kind\":\"receipt\",\"id\":\"01a1fd98-3a32-7f52-8dfa-96b3de557c65\",\"code\":\"denied\","
            "\"detail\":\"no rule allows it\"}");
    else
        reply_text(
            req, 200,
            "{\"kind\":\"receipt\",\"id\":\"01a1fd98-3a32-7f52-8dfa-96b3de557c65\",\"code\":\"accepted\","
            "\"reply\":{\"from\":\"acme/db\",\"body_base64\":\"AP8KQQ==\"}}");
}

static void on_logs(void *arg, struct http_request *req)
{
    note(arg, req);
    http_reply_bytes(req, 200, "text/plain", "one\n\x1b[2Jtwo\n", 12);
}

static void on_policy(void *arg, struct http_request *req)
{
    note(arg, req);
    if (strcmp(http_request_method(req), "GET") == 0)
        reply_text(req, 200, "{\"kind\":\"policy\",\"spec\":{\"text\":\"* * * deny\\n\"},\"revision\":12}");
    else
        http_reply_problem(req, 422, "policy-invalid", NULL, "main:3:9: no such action \"alow\"");
}

static void on_mailbox(void *arg, struct http_request *req)
{
    note(arg, req);
    reply_text(req, 200, "{\"kind\":\"mailbox\",\"class\":\"host\",\"messages\":3}");
}

static void on_mailbox_list(void *arg, struct http_request *req)
{
    const char *dead = http_request_query(req, "dead");
    note(arg, req);
    reply_text(
        req, 200,
        dead ? "{\"kind\":\"list\",\"items\":[{\"id\":\"i2\",\"kind\":\"send\",\"from\":\"acme/"
               "web\",\"subject\":"
               "\"q\",\"size\":5,\"since\":9,\"reason\":{\"code\":\"released-too-often\"}}]}"
             : "{\"kind\":\"list\",\"items\":[{\"id\":\"i1\",\"state\":\"queued\",\"kind\":\"call\",\"from\":"
               "\"acme/web\",\"subject\":\"q\",\"priority\":4,\"size\":5,\"releases\":0,\"arrived\":7}]}");
}

static void on_mailbox_change(void *arg, struct http_request *req)
{
    note(arg, req);
    reply_text(req, 200, "{\"kind\":\"purged\",\"messages\":4}");
}

static void on_broker_dead(void *arg, struct http_request *req)
{
    note(arg, req);
    reply_text(
        req, 200,
        "{\"kind\":\"list\",\"items\":[{\"id\":\"x\",\"user\":\"client.app\",\"from\":\"acme/"
        "web\",\"to\":\"acme.db\","
        "\"size\":3,\"host\":\"h1\",\"reason\":{\"code\":\"denied\",\"text\":\"no rule allows it\"}}]}");
}

static void on_broker_dead_change(void *arg, struct http_request *req)
{
    note(arg, req);
    const char *cursor = http_request_query(req, "cursor");
    reply_text(req, 200,
               cursor
                   ? "{\"kind\":\"replayed\",\"messages\":2,\"kept\":0}"
                   : "{\"kind\":\"replayed\",\"messages\":5,\"kept\":1,\"cursor\":\"1\",\"reason\":{\"code\":"
                     "\"expired\",\"text\":\"its time is over\"}}");
}

static void on_trace(void *arg, struct http_request *req)
{
    note(arg, req);
    reply_text(req, 200,
               "{\"kind\":\"trace\",\"message\":{\"from\":\"acme/web\",\"to\":\"acme/"
               "db\",\"subject\":\"q\",\"kind\":"
               "\"send\"},\"stages\":[{\"stage\":\"submitted\",\"host\":\"one\",\"at\":1700000000007,"
               "\"environment\":\"acme/web\"},{\"stage\":\"sent\",\"host\":\"one\",\"at\":1700000000009,"
               "\"after_us\":2034},{\"stage\":\"arrived\",\"host\":\"two\",\"at\":1700000000990,"
               "\"after_us\":310,\"error_us\":1200},{\"stage\":\"acknowledged\",\"host\":\"two\",\"at\":"
               "1700000000990,\"environment\":\"acme/db\",\"error_us\":1200}],\"hosts\":[{\"name\":\"one\","
               "\"state\":\"here\",\"stages\":2},{\"name\":\"two\",\"state\":\"answered\",\"stages\":2,"
               "\"more\":true,"
               "\"clock\":{\"ahead_us\":980000,\"error_us\":1200}},{\"name\":\"three\",\"state\":\"late\"},"
               "{\"name\":\"four\",\"state\":\"silent\"}]}");
}

#define ENVIRONMENT "/v1/tenants/{tenant}/environments/{name}"

static const struct http_route ROUTES[] = {
    {"GET", "/v1/environments", HTTP_BODY_NONE, 0, on_list},
    {"POST", "/v1/tenants/{tenant}/environments", HTTP_BODY_COLLECT, 65536, on_create},
    {"GET", ENVIRONMENT, HTTP_BODY_NONE, 0, on_show},
    {"DELETE", ENVIRONMENT, HTTP_BODY_NONE, 0, on_change},
    {"POST", ENVIRONMENT "/start", HTTP_BODY_COLLECT, 65536, on_change},
    {"POST", ENVIRONMENT "/stop", HTTP_BODY_COLLECT, 65536, on_change},
    {"GET", ENVIRONMENT "/mailbox", HTTP_BODY_NONE, 0, on_mailbox},
    {"GET", ENVIRONMENT "/mailbox/messages", HTTP_BODY_NONE, 0, on_mailbox_list},
    {"DELETE", ENVIRONMENT "/mailbox/messages", HTTP_BODY_NONE, 0, on_mailbox_change},
    {"POST", ENVIRONMENT "/mailbox/dead/replay", HTTP_BODY_COLLECT, 65536, on_mailbox_change},
    {"POST", ENVIRONMENT "/mailbox/dead/{id}/replay", HTTP_BODY_COLLECT, 65536, on_mailbox_change},
    {"GET", ENVIRONMENT "/logs", HTTP_BODY_NONE, 0, on_logs},
    {"GET", "/v1/operations/{id}", HTTP_BODY_NONE, 0, on_operation},
    {"GET", "/v1/images/{image}", HTTP_BODY_NONE, 0, on_get_image},
    {"PUT", "/v1/images/{image}", HTTP_BODY_COLLECT, 1 << 20, on_put_image},
    {"POST", "/v1/messages", HTTP_BODY_COLLECT, 65536, on_message},
    {"GET", "/v1/broker/dead", HTTP_BODY_NONE, 0, on_broker_dead},
    {"DELETE", "/v1/broker/dead", HTTP_BODY_NONE, 0, on_broker_dead_change},
    {"POST", "/v1/broker/dead/replay", HTTP_BODY_COLLECT, 65536, on_broker_dead_change},
    {"DELETE", "/v1/broker/dead/{letter}", HTTP_BODY_NONE, 0, on_mailbox_change},
    {"POST", "/v1/broker/dead/{letter}/replay", HTTP_BODY_COLLECT, 65536, on_mailbox_change},
    {"GET", "/v1/messages/{id}/trace", HTTP_BODY_NONE, 0, on_trace},
    {"GET", "/v1/policies/main", HTTP_BODY_NONE, 0, on_policy},
    {"PUT", "/v1/policies/main", HTTP_BODY_COLLECT, 65536, on_policy},
};

_Noreturn void scripted_server(const char *socket, const char *requests, int ready_fd)
{
    struct event_base *base = event_base_new();
    struct http_server *server;
    struct err err;
    const struct http_server_config config = {
        .base = base, .routes = ROUTES, .n_routes = sizeof ROUTES / sizeof ROUTES[0]};
    request_log = fopen(requests, "a");
    if (!request_log || http_server_new(&config, &server, &err) < 0 ||
        http_server_listen_unix(server, socket, 0600, (gid_t)-1, &err) < 0)
        _exit(1);
    close(ready_fd);
    event_base_dispatch(base);
    _exit(1);
}
