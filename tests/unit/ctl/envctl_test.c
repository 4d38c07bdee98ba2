// Tests of the envctl executable against a scripted server on envd's own HTTP codec: requests, output, exit
// codes.
#include "testing.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "http/server.h"

#define OUTPUT_CAP 65536

struct world {
    char dir[64];
    char socket[96];
    char requests[96]; // the server appends a line for each request
    char file[96];     // something to upload
    pid_t server;
    char out[OUTPUT_CAP];
    char err[OUTPUT_CAP];
};

// --- the server: a process of its own, for envctl blocks ---

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

static _Noreturn void serve(struct world *w, int ready_fd)
{
    struct event_base *base = event_base_new();
    struct http_server *server;
    struct err err;
    const struct http_server_config config = {
        .base = base, .routes = ROUTES, .n_routes = sizeof ROUTES / sizeof ROUTES[0]};
    request_log = fopen(w->requests, "a");
    if (!request_log || http_server_new(&config, &server, &err) < 0 ||
        http_server_listen_unix(server, w->socket, 0600, (gid_t)-1, &err) < 0)
        _exit(1);
    close(ready_fd);
    event_base_dispatch(base);
    _exit(1);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int fds[2];
    char byte;
    snprintf(w->dir, sizeof w->dir, "/tmp/envd-ctl-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->socket, sizeof w->socket, "%s/s", w->dir);
    snprintf(w->requests, sizeof w->requests, "%s/requests", w->dir);
    snprintf(w->file, sizeof w->file, "%s/file", w->dir);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    w->server = fork();
    assert_true(w->server >= 0);
    if (w->server == 0)
        serve(w, fds[1]);
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 0); // closed: it listens
    close(fds[0]);
    *state = w;
    return 0;
}

static void stop_server(struct world *w)
{
    int status;
    if (w->server <= 0)
        return;
    kill(w->server, SIGKILL);
    waitpid(w->server, &status, 0);
    w->server = 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    stop_server(w);
    unlink(w->socket);
    unlink(w->requests);
    unlink(w->file);
    rmdir(w->dir);
    free(w);
    return 0;
}

// --- running envctl ---

static void read_all(int fd, char *text)
{
    size_t len = 0;
    ssize_t n;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, text + len, OUTPUT_CAP - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
}

static int temporary(void)
{
    char path[] = "/tmp/envd-ctl-out-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

// Runs envctl with n arguments; out_fd < 0: standard output is kept in w->out. Returns its status.
static int run_to(struct world *w, int out_fd, const char *const *args, size_t n)
{
    const char *argv[32] = {"envctl"};
    assert_true(n < 31);
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = args[i];
    int out = out_fd < 0 ? temporary() : out_fd, err = temporary(), status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        if (!getenv("ENVCTL_SOCKET"))
            setenv("ENVCTL_SOCKET", w->socket, 1);
        execv(ENVCTL, (char *const *)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (out_fd < 0)
        read_all(out, w->out);
    read_all(err, w->err);
    close(out);
    close(err);
    return WEXITSTATUS(status);
}

#define ARGS(...)                                                                                            \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)
#define run(w, ...) run_to(w, -1, ARGS(__VA_ARGS__))

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" has no \"%s\"", text, part);
}

// What the server was asked so far.
static const char *requests_of(struct world *w)
{
    static char text[OUTPUT_CAP];
    ssize_t n = io_read_file(w->requests, text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

// --- exit codes and messages ---

static void each_class_of_failure_has_its_exit_code(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *address;
        int code;
    } cases[] = {{"acme/web", 0},       {"acme/broken", 1}, {"acme/missing", 3},
                 {"acme/forbidden", 4}, {"acme/taken", 5},  {"acme/moved", 5},
                 {"acme/away", 6},      {"acme/full", 6},   {"acme/late", 124}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(run(w, "show", cases[i].address), cases[i].code);
}

static void a_problem_is_told_with_its_remedy_on_standard_error(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show", "acme/missing"), 3);
    assert_string_equal(w->out, "");
    assert_string_equal(w->err, "envctl: missing is so\n  try: Do something else\n");
}

static void a_missing_socket_says_how_to_go_on(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list", "--socket", "/nonexistent/s"), 6);
    assert_has(w->err, "reach envd at /nonexistent/s: No such file or directory");
    assert_has(w->err, "start envd");
}

static void a_socket_that_nobody_serves_says_so(void **state)
{
    struct world *w = *state;
    stop_server(w);
    assert_int_equal(run(w, "list"), 6);
    assert_has(w->err, "is envd running?");
}

static void an_unknown_verb_offers_the_nearest(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "strat"), 2);
    assert_has(w->err, "did you mean envctl start?");
    assert_int_equal(run(w, "frobnicate"), 2);
    assert_has(w->err, "envctl help lists the verbs");
}

static void help_knows_every_verbs_usage(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "help"), 0);
    assert_has(w->out, "  explain     say what the policy decides, and why\n");
    assert_int_equal(run(w, "help", "stop"), 0);
    assert_string_equal(w->out, "envctl stop TENANT/NAME... [--grace SECONDS]\n    stop environments\n");
    assert_int_equal(run(w, "stop", "--help"), 0);
    assert_has(w->out, "--grace");
    assert_int_equal(run(w, "stop"), 2);
    assert_string_equal(w->err, "envctl: usage: envctl stop TENANT/NAME... [--grace SECONDS]\n");
}

static void a_wrong_command_line_asks_the_server_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show"), 2);
    assert_int_equal(run(w, "show", "ACME/web"), 2);
    assert_int_equal(run(w, "show", "web"), 2);
    assert_int_equal(run(w, "list", "--bogus"), 2);
    assert_int_equal(run(w, "list", "--format", "xml"), 2);
    assert_int_equal(run(w, "create", "acme/web"), 2);
    assert_int_equal(run(w, "stop", "acme/web", "--grace", "soon"), 2);
    assert_int_equal(run(w, "logs", "acme/web", "--tail", "-1"), 2);
    assert_string_equal(requests_of(w), "");
}

static void output_that_cannot_be_written_is_a_failure(void **state)
{
    struct world *w = *state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(run_to(w, full, ARGS("list")), 1);
    assert_has(w->err, "No space left on device");
}

// --- output ---

static void a_list_follows_its_pages_into_one_table(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list"), 0);
    assert_string_equal(w->out, "TENANT  NAME  STATE    IPV4       MEMORY-MIB  REASON\n"
                                "acme    web   ready    10.77.0.2  16          -\n"
                                "beta    eve   stopped  -          -           -\n");
    assert_string_equal(w->err, "");
    assert_has(requests_of(w), "GET /v1/environments limit=1000 cursor=a/b");
}

static void json_output_is_one_document(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "list", "--format", "json"), 0);
    json_t *all = json_loads(w->out, 0, NULL);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void control_characters_of_guests_do_not_reach_the_terminal(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "show", "acme/web"), 0);
    assert_has(w->out, "a [31mb  c\n");
    assert_null(strchr(w->out, 0x1b));
}

static void logs_go_to_a_pipe_as_they_are(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "logs", "acme/web", "--tail", "5"), 0);
    assert_string_equal(w->out, "one\n\x1b[2Jtwo\n");
    assert_has(requests_of(w), "/logs follow=false tail=5");
}

static void the_reply_of_a_call_is_written_byte_for_byte(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "call", "acme/db", "db.query", "select"), 0);
    assert_memory_equal(w->out, "\x00\xff\nA", 5);
}

// --- life cycle ---

static void a_change_is_waited_for(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/web", "--timeout", "7"), 0);
    assert_string_equal(w->err, "acme/web started\n");
    assert_has(requests_of(w), "GET /v1/operations/web wait=7000");
}

static void without_waiting_no_operation_is_looked_at(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "delete", "acme/web", "--no-wait"), 0);
    assert_null(strstr(requests_of(w), "operations"));
}

static void an_operation_that_failed_is_explained(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/fails"), 1);
    assert_string_equal(w->err, "envctl: start acme/fails: the guest faulted\n  try: Look at its log\n");
}

static void an_operation_that_takes_too_long_is_a_timeout(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "stop", "acme/slow", "--timeout", "1"), 124);
    assert_has(w->err, "not done after 1 s; it goes on");
}

static void of_several_failures_each_is_told_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "start", "acme/missing", "acme/gone", "acme/web"), 3);
    assert_string_equal(w->err,
                        "envctl: there is no environment missing\nenvctl: there is no environment gone\n"
                        "acme/web started\n");
    assert_int_equal(run(w, "start", "acme/missing", "acme/gone"), 3);
    assert_string_equal(w->err,
                        "envctl: there is no environment missing\nenvctl: there is no environment gone\n");
}

// --- create ---

static void create_uploads_what_the_server_lacks(void **state)
{
    struct world *w = *state;
    write_file(w->file, "bar");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file), 0);
    assert_has(requests_of(w),
               "PUT /v1/images/sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9");
}

static void create_uploads_nothing_that_is_there(void **state)
{
    struct world *w = *state;
    write_file(w->file, "foo");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file), 0);
    assert_has(requests_of(w), "HEAD /v1/images/sha256:2c26b46b");
    assert_null(strstr(requests_of(w), "PUT "));
}

static void create_says_all_that_was_asked_for(void **state)
{
    struct world *w = *state;
    write_file(w->file, "foo");
    assert_int_equal(run(w, "create", "acme/web", "--program", w->file, "--memory", "64MiB", "--env", "A=b=c",
                         "--label", "role=ci", "--restart", "always", "--mailbox", "host", "--start", "--",
                         "-v", "--socket"),
                     0);
    const char *post = strstr(requests_of(w), "POST /v1/tenants/acme/environments ");
    assert_non_null(post);
    assert_has(post, "\"name\":\"web\"");
    assert_has(post, "\"labels\":{\"role\":\"ci\"}");
    assert_has(post, "\"memory_mib\":64");
    assert_has(post, "\"env\":{\"A\":\"b=c\"}");
    assert_has(post, "\"args\":[\"-v\",\"--socket\"]");
    assert_has(post, "\"restart\":\"always\"");
    assert_has(post, "\"mailbox\":\"host\"");
    assert_has(post, "\"run\":true");
    assert_has(post, "GET /v1/operations/starting");
    assert_string_equal(w->err, "acme/web started\n");
}

// --- messages and policy ---

static void a_refused_message_has_its_receipts_exit_code(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "denied"), 21);
    assert_string_equal(w->err, "envctl: acme/db: denied: no rule allows it\n"
                                "  try: envctl explain 01a1fd98-3a32-7f52-8dfa-96b3de557c65\n");
}

static void an_accepted_message_prints_its_id(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "x"), 0);
    assert_string_equal(w->out, "");
    assert_string_equal(w->err, "accepted 01a1fd98-3a32-7f52-8dfa-96b3de557c65\n");
}

static void a_message_says_all_that_it_was_given(void **state)
{
    struct world *w = *state;
    write_file(w->file, "\xff\n");
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--file", w->file, "--header", "a=b=c", "--header",
                         "d=", "--priority", "7", "--expires", "2m", "--id",
                         "01a1fd98-3a32-7f52-8dfa-96b3de557c65"),
                     0);
    const char *request = requests_of(w);
    assert_has(request, "\"body_base64\":\"/wo=\"");
    assert_has(request, "\"headers\":{\"a\":\"b=c\",\"d\":\"\"}");
    assert_has(request, "\"priority\":7");
    assert_has(request, "\"timeout_ms\":120000");
    assert_has(request, "\"id\":\"01a1fd98-3a32-7f52-8dfa-96b3de557c65\"");
}

static void wrong_options_of_a_message_are_not_sent(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "send", "acme/db", "db.query", "x", "--file", w->file), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--header", "novalue"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--priority", "10"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--expires", "11m"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--expires", "soon"), 2);
    assert_int_equal(run(w, "call", "acme/db", "db.query", "--expires", "1s"), 2);
    assert_int_equal(run(w, "send", "acme/db", "db.query", "--file", "/nonexistent"), 1);
    assert_null(strstr(requests_of(w), "messages"));
}

static void a_policy_replaces_the_revision_that_was_read(void **state)
{
    struct world *w = *state;
    write_file(w->file, "* * * alow\n");
    assert_int_equal(run(w, "policy", "set", w->file), 1);
    assert_has(w->err, "main:3:9: no such action");
    assert_has(requests_of(w), "PUT /v1/policies/main if-match \"12\"");
    assert_int_equal(run(w, "policy", "show"), 0);
    assert_string_equal(w->out, "* * * deny\n");
}

// --- mailboxes ---

static void a_mailbox_is_shown_and_peeked_into(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "show", "acme/db"), 0);
    assert_has(w->out, "class                    host\n");
    assert_int_equal(run(w, "mailbox", "peek", "acme/db"), 0);
    assert_string_equal(w->out,
                        "ID  STATE   KIND  FROM      SUBJECT  PRIORITY  SIZE  RELEASES  ARRIVED  EXPIRES\n"
                        "i1  queued  call  acme/web  q        4         5     0         7        -\n");
}

static void dead_letters_are_listed_with_their_reason(void **state)
{
    struct world *w = *state;
    static const char wanted[] = "ID  KIND  FROM      SUBJECT  SIZE  SINCE  REASON\n"
                                 "i2  send  acme/web  q        5     9      released-too-often\n";
    assert_int_equal(run(w, "dead-letter", "list", "acme/db"), 0);
    assert_string_equal(w->out, wanted);
    assert_int_equal(run(w, "mailbox", "peek", "acme/db", "--dead"), 0);
    assert_string_equal(w->out, wanted);
}

static void without_an_environment_the_brokers_dead_letters_are_listed(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "list"), 0);
    assert_string_equal(
        w->out,
        "LETTER  ID  USER        FROM      TO       SUBJECT  SIZE  HOST  REASON  TEXT\n"
        "-       x   client.app  acme/web  acme.db  -        3     h1    denied  no rule allows it\n");
}

static void purging_says_what_and_how_many(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "purge", "acme/db"), 0);
    assert_string_equal(w->err, "acme/db: 4 messages thrown away\n");
    assert_null(strstr(requests_of(w), "dead"));
    assert_int_equal(run(w, "mailbox", "purge", "acme/db", "--dead"), 0);
    assert_string_equal(w->err, "acme/db: 4 dead letters thrown away\n");
    assert_has(requests_of(w), "DELETE /v1/tenants/acme/environments/db/mailbox/messages dead=true");
}

static void one_dead_letter_is_replayed_or_all(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db"), 0);
    assert_has(requests_of(w), "POST /v1/tenants/acme/environments/db/mailbox/dead/replay");
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(requests_of(w), "/mailbox/dead/01a1fd98-3a32-7f52-8dfa-96b3de557c65/replay");
}

static void the_brokers_dead_letters_are_replayed_until_none_is_left(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "dead-letter", "replay", "--broker"), 0);
    assert_string_equal(w->err,
                        "broker: 7 dead letters replayed\n  1 kept, the last: expired: its time is over\n");
    assert_int_equal(run(w, "dead-letter", "purge", "--broker"), 0);
    assert_has(requests_of(w), "DELETE /v1/broker/dead");
    assert_int_equal(run(w, "dead-letter", "replay", "--broker", "0a1b2c3d4e5f6071"), 0);
    assert_has(requests_of(w), "POST /v1/broker/dead/0a1b2c3d4e5f6071/replay");
    assert_int_equal(run(w, "dead-letter", "purge", "--broker", "../x"), 2);
    assert_int_equal(run(w, "dead-letter", "show", "--broker"), 2);
}

static void a_trace_shows_when_and_after_how_long(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "trace", "nonsense"), 2);
    assert_int_equal(run(w, "trace", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(w->out, "from     acme/web\nto       acme/db\nsubject  q\nkind     send\n");
    assert_has(w->out, "2023-11-14T22:13:20.007Z  one   -                  submitted     acme/web     -\n"
                       "2023-11-14T22:13:20.009Z  one   2.034 ms           sent          -            -\n"
                       "2023-11-14T22:13:20.990Z  two   ~0.310 ms +-1.200  arrived       -            -\n"
                       "2023-11-14T22:13:20.990Z  two   -                  acknowledged  acme/db      -\n");
}

static void a_trace_says_who_is_missing_and_whose_clock_is_wrong(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "trace", "01a1fd98-3a32-7f52-8dfa-96b3de557c65"), 0);
    assert_has(w->out, "two remembers more stages than these\n"
                       "two: its clock is 980 ms ahead, give or take 2 ms: its times are its own\n"
                       "three did not answer within a second: its stages are missing\n"
                       "four has not been heard of for a while: its stages are missing\n");
}

static void a_wrong_mailbox_command_changes_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(run(w, "mailbox", "purge"), 2);
    assert_int_equal(run(w, "mailbox", "drop", "acme/db"), 2);
    assert_int_equal(run(w, "mailbox", "show", "acme/db", "--dead"), 2);
    assert_int_equal(run(w, "dead-letter", "replay", "acme/db", "7"), 2);
    assert_string_equal(requests_of(w), "");
}

int main(void)
{
    unsetenv("ENVCTL_SOCKET");
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(each_class_of_failure_has_its_exit_code),
        T(a_problem_is_told_with_its_remedy_on_standard_error),
        T(a_missing_socket_says_how_to_go_on),
        T(a_socket_that_nobody_serves_says_so),
        T(an_unknown_verb_offers_the_nearest),
        T(help_knows_every_verbs_usage),
        T(a_wrong_command_line_asks_the_server_nothing),
        T(output_that_cannot_be_written_is_a_failure),
        T(a_list_follows_its_pages_into_one_table),
        T(json_output_is_one_document),
        T(control_characters_of_guests_do_not_reach_the_terminal),
        T(logs_go_to_a_pipe_as_they_are),
        T(the_reply_of_a_call_is_written_byte_for_byte),
        T(a_change_is_waited_for),
        T(without_waiting_no_operation_is_looked_at),
        T(an_operation_that_failed_is_explained),
        T(an_operation_that_takes_too_long_is_a_timeout),
        T(of_several_failures_each_is_told_once),
        T(create_uploads_what_the_server_lacks),
        T(create_uploads_nothing_that_is_there),
        T(create_says_all_that_was_asked_for),
        T(a_refused_message_has_its_receipts_exit_code),
        T(an_accepted_message_prints_its_id),
        T(a_message_says_all_that_it_was_given),
        T(wrong_options_of_a_message_are_not_sent),
        T(a_policy_replaces_the_revision_that_was_read),
        T(a_mailbox_is_shown_and_peeked_into),
        T(dead_letters_are_listed_with_their_reason),
        T(without_an_environment_the_brokers_dead_letters_are_listed),
        T(purging_says_what_and_how_many),
        T(one_dead_letter_is_replayed_or_all),
        T(the_brokers_dead_letters_are_replayed_until_none_is_left),
        T(a_trace_shows_when_and_after_how_long),
        T(a_trace_says_who_is_missing_and_whose_clock_is_wrong),
        T(a_wrong_mailbox_command_changes_nothing),
    };
    return cmocka_run_group_tests_name("ctl/envctl", tests, NULL, NULL);
}
