// Owns envctl's HTTP: libcurl over the Unix socket. Called by the verbs; knows no noun of the API but
// operations.
#include "api.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "format.h"
#include "progress.h"
#include "proto/name.h"

#define REPLY_MAX (64u << 20) // more than this from envd is not a reply
// As long as envd gives a Linux guest to boot, unless told otherwise, and a little: it says itself why it
// failed.
#define OPERATION_TIMEOUT_S 130

struct buffer {
    char *data;
    size_t len;
};

// Where a body goes: collected, or to a sink when the status is good.
struct receiver {
    CURL *curl;
    struct buffer buffer;
    api_sink *sink;
    void *arg;
    bool stopped;
};

static size_t collect(struct buffer *b, const char *data, size_t len)
{
    if (len > REPLY_MAX - b->len)
        return 0;
    char *grown = realloc(b->data, b->len + len + 1);
    if (!grown)
        return 0;
    memcpy(grown + b->len, data, len);
    b->data = grown;
    b->len += len;
    grown[b->len] = '\0';
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct receiver *r = arg;
    long status = 0;
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    if (!r->sink || status >= 400)
        return collect(&r->buffer, data, size * n);
    if (r->sink(r->arg, data, size * n))
        return size * n;
    r->stopped = true;
    return 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct api_reply *reply = arg;
    static const char name[] = "envd-operation:";
    size_t len = size * n;
    if (len > sizeof name - 1 && strncasecmp(data, name, sizeof name - 1) == 0)
        snprintf(reply->operation, sizeof reply->operation, "%.*s", (int)strcspn(data + sizeof name, "\r\n"),
                 data + sizeof name);
    return len;
}

int api_explain_connection(struct cli *cli, int curl_code)
{
    CURLcode rc = (CURLcode)curl_code;
    struct stat st;
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return cli_fail(cli, CLI_TIMEOUT, "no answer from envd within %d s", cli->timeout_s);
    if (rc != CURLE_COULDNT_CONNECT)
        return cli_fail(cli, CLI_UNAVAILABLE, "talk to envd at %s: %s", cli->socket, curl_easy_strerror(rc));
    if (stat(cli->socket, &st) < 0) {
        cli_fail(cli, CLI_UNAVAILABLE, "reach envd at %s: %s", cli->socket, strerror(errno));
        return cli_hint(cli, CLI_UNAVAILABLE,
                        "start envd, or say where its socket is: --socket PATH or ENVCTL_SOCKET=PATH");
    }
    cli_fail(cli, CLI_UNAVAILABLE, "reach envd at %s: nobody answers there, or you may not connect",
             cli->socket);
    return cli_hint(cli, CLI_UNAVAILABLE,
                    "is envd running? its socket is for root and the configured administrators");
}

static int exit_of_status(long status)
{
    switch (status) {
    case 403:
        return CLI_REFUSED;
    case 404:
        return CLI_NOT_FOUND;
    case 409:
    case 412:
    case 428:
        return CLI_CONFLICT;
    case 502:
    case 503:
    case 507:
        return CLI_UNAVAILABLE;
    case 504:
        return CLI_TIMEOUT;
    default:
        return CLI_ERROR;
    }
}

int api_explain_problem(struct cli *cli, long status, const json_t *problem)
{
    int code = exit_of_status(status);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const char *member = json_string_value(json_object_get(problem, "member"));
    const char *remedy = json_string_value(json_object_get(problem, "remedy"));
    if (!detail)
        return cli_fail(cli, code, "envd answered with status %ld and no explanation", status);
    cli_fail(cli, code, "%s%s%s", member ? member : "", member ? ": " : "", detail);
    return remedy ? cli_hint(cli, code, "%s", remedy) : code;
}

struct request {
    const char *method;
    const char *path;
    const char *body;
    const char *content_type;
    const char *if_match;
    FILE *upload;
    uint64_t upload_size;
    const char *label; // of the upload's progress
    long timeout_s;    // 0: none
};

static struct curl_slist *request_headers(const struct request *q)
{
    char line[160];
    struct curl_slist *headers = NULL;
    if (q->content_type) {
        snprintf(line, sizeof line, "Content-Type: %s", q->content_type);
        headers = curl_slist_append(headers, line);
    }
    if (q->if_match) {
        bool any = strcmp(q->if_match, "*") == 0;
        snprintf(line, sizeof line, any ? "If-Match: *" : "If-Match: \"%s\"", q->if_match);
        headers = curl_slist_append(headers, line);
    }
    // No waiting for "100 Continue" on a local socket.
    return curl_slist_append(headers, "Expect:");
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t total, curl_off_t done)
{
    const struct request *q = arg;
    (void)down_total;
    (void)down;
    progress_show(q->label, (uint64_t)done, (uint64_t)total);
    return 0;
}

static void set_options(CURL *curl, const struct cli *cli, const struct request *q, struct receiver *receiver,
                        struct api_reply *reply)
{
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
    curl_easy_setopt(curl, CURLOPT_NOBODY, strcmp(q->method, "HEAD") == 0 ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, q->timeout_s);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, receiver);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    if (q->body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(q->body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body);
    }
    if (q->upload) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READDATA, q->upload);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->upload_size);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)q);
        curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 18);
    }
}

// One connection serves all requests of a run of envctl.
static CURL *shared_curl(void)
{
    static CURL *curl;
    if (!curl && curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK)
        curl = curl_easy_init();
    if (curl)
        curl_easy_reset(curl);
    return curl;
}

static int perform(struct cli *cli, const struct request *q, api_sink *sink, void *arg, struct api_reply *ret)
{
    CURL *curl = shared_curl();
    if (!curl)
        return cli_fail(cli, CLI_ERROR, "no memory for a connection");
    struct receiver receiver = {.curl = curl, .sink = sink, .arg = arg};
    char url[1024];
    snprintf(url, sizeof url, "http://envd%s", q->path);
    struct curl_slist *headers = request_headers(q);
    set_options(curl, cli, q, &receiver, ret);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_slist_free_all(headers);
    if (receiver.buffer.len > 0)
        ret->body = json_loadb(receiver.buffer.data, receiver.buffer.len, JSON_REJECT_DUPLICATES, NULL);
    free(receiver.buffer.data);
    // A refusal may come, and the connection end, while much is still to be sent: what it says is the cause.
    if (rc != CURLE_OK && !receiver.stopped && !(ret->status >= 400 && ret->body))
        return api_explain_connection(cli, (int)rc);
    return ret->status >= 400 ? api_explain_problem(cli, ret->status, ret->body) : 0;
}

void api_reply_done(struct api_reply *reply)
{
    json_decref(reply->body);
    *reply = (struct api_reply){0};
}

int api_call(struct cli *cli, const char *method, const char *path, json_t *body, const char *if_match,
             struct api_reply *ret)
{
    _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    bool failed = body && !text;
    json_decref(body);
    if (failed)
        return cli_fail(cli, CLI_ERROR, "no memory for the request");
    struct request q = {.method = method,
                        .path = path,
                        .body = text,
                        .content_type = text ? "application/json" : NULL,
                        .if_match = if_match,
                        .timeout_s = cli->timeout_s + 30L};
    *ret = (struct api_reply){0};
    int rc = perform(cli, &q, NULL, NULL, ret);
    if (rc != 0)
        api_reply_done(ret);
    return rc;
}

int api_show(struct cli *cli, const char *path)
{
    struct api_reply reply;
    int rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        format_object(reply.body);
    api_reply_done(&reply);
    return 0;
}

int api_exists(struct cli *cli, const char *path, bool *ret_exists)
{
    struct request q = {.method = "HEAD", .path = path, .timeout_s = cli->timeout_s};
    struct api_reply reply = {0};
    int rc = perform(cli, &q, NULL, NULL, &reply);
    *ret_exists = reply.status >= 200 && reply.status < 300;
    bool answered = *ret_exists || reply.status == 404;
    api_reply_done(&reply);
    return answered ? 0 : rc;
}

int api_upload(struct cli *cli, const char *path, int fd, uint64_t size, const char *label,
               struct api_reply *ret)
{
    int copy = dup(fd);
    _cleanup_fclose_ FILE *file = copy < 0 ? NULL : fdopen(copy, "rb");
    if (!file) {
        if (copy >= 0)
            close(copy);
        return cli_fail(cli, CLI_ERROR, "read what is to be uploaded: %s", strerror(errno));
    }
    rewind(file);
    struct request q = {.method = "PUT",
                        .path = path,
                        .content_type = "application/octet-stream",
                        .upload = file,
                        .upload_size = size,
                        .label = label};
    *ret = (struct api_reply){0};
    int rc = perform(cli, &q, NULL, NULL, ret);
    progress_end();
    if (rc != 0)
        api_reply_done(ret);
    return rc;
}

int api_stream(struct cli *cli, const char *path, api_sink *sink, void *arg)
{
    struct request q = {.method = "GET", .path = path};
    struct api_reply reply = {0};
    int rc = perform(cli, &q, sink, arg, &reply);
    api_reply_done(&reply);
    return rc;
}

int api_wait(struct cli *cli, const char *operation, const char *what)
{
    if (!cli->wait)
        return 0;
    if (!cli->timeout_given)
        cli->timeout_s = OPERATION_TIMEOUT_S;
    char path[API_PATH_CAP];
    snprintf(path, sizeof path, "/v1/operations/%s?wait=%d", operation, cli->timeout_s * 1000);
    struct api_reply reply;
    int rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    const json_t *status = json_object_get(reply.body, "status");
    const char *state = json_string_value(json_object_get(status, "state"));
    const json_t *error = json_object_get(status, "error");
    const char *detail = json_string_value(json_object_get(error, "detail"));
    const char *remedy = json_string_value(json_object_get(error, "remedy"));
    if (state && strcmp(state, "failed") == 0) {
        rc = cli_fail(cli, CLI_ERROR, "%s: %s", what, detail ? detail : "failed");
        if (remedy)
            cli_hint(cli, rc, "%s", remedy);
    } else if (!state || strcmp(state, "done") != 0) {
        cli_fail(cli, CLI_TIMEOUT, "%s: not done after %d s; it goes on", what, cli->timeout_s);
        rc = cli_hint(cli, CLI_TIMEOUT, "look with envctl show, or wait longer with --timeout SECONDS");
    }
    api_reply_done(&reply);
    return rc;
}

int api_environment_path(struct cli *cli, const char *address, const char *suffix, char out[API_PATH_CAP])
{
    struct address a;
    const char *wrong = address_parse(address, strlen(address), &a);
    if (!wrong && (a.is_service || a.tenant[0] == '\0'))
        wrong = "an environment is named TENANT/NAME here";
    if (wrong) {
        cli_fail(cli, CLI_USAGE, "%s: %s", address, wrong);
        return cli_hint(cli, CLI_USAGE,
                        "as in acme/web: lower-case letters, digits and dashes, at most 63 each");
    }
    snprintf(out, API_PATH_CAP, "/v1/tenants/%s/environments/%s%s", a.tenant, a.name, suffix);
    return 0;
}
