// Owns the sending of an operator's message and the showing of its receipt. Called by the verbs send and
// call.
#include "message.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "format.h"
#include "harmless.h"
#include "proto/envelope.h"
#include "proto/receipt.h"

#define EXPIRES_MS_MAX 600000u // what the API takes

struct message_options {
    const char *content_type, *file, *id, *priority, *expires;
    struct cli_list headers;
};

// All of a file, "-" is standard input. 0 or an exit code.
static int read_file(struct cli *cli, const char *path, char **ret_data, size_t *ret_len)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (!f)
        return cli_fail(cli, CLI_ERROR, "open %s: %s", path, strerror(errno));
    char *data = malloc(ENVELOPE_BODY_MAX + 1);
    size_t len = data ? fread(data, 1, ENVELOPE_BODY_MAX + 1, f) : 0;
    int rc = !data       ? cli_fail(cli, CLI_ERROR, "no memory for the body")
             : ferror(f) ? cli_fail(cli, CLI_ERROR, "read %s: %s", path, strerror(errno))
             : len > ENVELOPE_BODY_MAX
                 ? cli_fail(cli, CLI_ERROR, "the body is over %u MiB", ENVELOPE_BODY_MAX >> 20)
                 : 0;
    if (!is_stdin)
        fclose(f);
    if (rc != 0) {
        free(data);
        return rc;
    }
    *ret_data = data;
    *ret_len = len;
    return 0;
}

static json_t *base64(const char *data, size_t len)
{
    unsigned char *text = malloc(len / 3 * 4 + 5);
    if (!text)
        return NULL;
    EVP_EncodeBlock(text, (const unsigned char *)data, (int)len);
    json_t *value = json_string((const char *)text);
    free(text);
    return value;
}

// Byte for byte into a file or pipe; to a terminal without control characters.
static void print_body(const char *data, size_t len)
{
    struct harmless state = {0};
    if (isatty(STDOUT_FILENO))
        harmless_write(&state, stdout, data, len);
    else
        fwrite(data, 1, len, stdout);
    harmless_flush(&state, stdout);
}

static int print_reply(struct cli *cli, const json_t *reply)
{
    const char *text = json_string_value(json_object_get(reply, "body"));
    const char *encoded = json_string_value(json_object_get(reply, "body_base64"));
    if (text) {
        print_body(text, strlen(text));
        return 0;
    }
    size_t len = encoded ? strlen(encoded) : 0;
    unsigned char *data = malloc(len + 1);
    int n = data ? EVP_DecodeBlock(data, (const unsigned char *)(encoded ? encoded : ""), (int)len) : -1;
    for (size_t i = len; i > 0 && encoded[i - 1] == '=' && n > 0; i--)
        n--; // the padding was decoded as zeros
    if (n >= 0)
        print_body((const char *)data, (size_t)n);
    free(data);
    return n < 0 ? cli_fail(cli, CLI_ERROR, "envd sent a reply that cannot be read") : 0;
}

static int receipt_exit(const char *name)
{
    enum receipt_code code;
    return receipt_code_parse(name, strlen(name), &code) ? receipt_exit_code(code) : CLI_ERROR;
}

static int show_receipt(struct cli *cli, const char *to, bool is_call, const json_t *receipt)
{
    const char *code_or_null = json_string_value(json_object_get(receipt, "code"));
    const char *code = code_or_null ? code_or_null : "no receipt";
    const char *detail = json_string_value(json_object_get(receipt, "detail"));
    const char *hint = json_string_value(json_object_get(receipt, "hint"));
    const char *id = json_string_value(json_object_get(receipt, "id"));
    int rc = receipt_exit(code);
    if (cli->json)
        format_json(receipt);
    if (rc != 0) {
        cli_fail(cli, CLI_ERROR, "%s: %s%s%s", to, code, detail && *detail ? ": " : "", detail ? detail : "");
        return id && strcmp(code, "denied") == 0 ? cli_hint(cli, rc, "envctl explain %s", id)
               : hint                            ? cli_hint(cli, rc, "%s", hint)
                                                 : rc;
    }
    const json_t *reply = json_object_get(receipt, "reply");
    if (is_call && !reply) {
        cli_fail(cli, CLI_TIMEOUT, "%s: no reply within %d s", to, cli->timeout_s);
        return cli_hint(cli, CLI_TIMEOUT,
                        "see whether it serves: envctl logs %s; or wait longer with --timeout", to);
    }
    if (!cli->json && is_call)
        return print_reply(cli, reply);
    if (!cli->json)
        fprintf(stderr, "accepted %s\n", id ? id : "");
    return 0;
}

static int fill_body(struct cli *cli, json_t *request, const char *arg, const char *file)
{
    if (!file && arg && strcmp(arg, "-") == 0)
        file = arg;
    if (!file && arg && json_object_set_new(request, "body", json_string(arg)) == 0)
        return 0;
    char *data = NULL;
    size_t len = 0;
    if (file) {
        int rc = read_file(cli, file, &data, &len);
        if (rc != 0)
            return rc;
    } else if (arg) { // not UTF-8
        data = strdup(arg);
        len = data ? strlen(data) : 0;
    }
    int rc = json_object_set_new(request, "body_base64", base64(data ? data : "", len));
    free(data);
    return rc < 0 ? cli_fail(cli, CLI_ERROR, "no memory for the body") : 0;
}

static int fill_headers(struct cli *cli, json_t *request, const struct cli_list *list)
{
    json_t *headers = json_object();
    json_object_set_new(request, "headers", headers);
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (!equals || equals == list->items[i])
            return cli_fail(cli, CLI_USAGE, "--header %s: NAME=VALUE is wanted", list->items[i]);
        char *name = strndup(list->items[i], (size_t)(equals - list->items[i]));
        int rc = name ? json_object_set_new(headers, name, json_string(equals + 1)) : -1;
        free(name);
        if (rc < 0)
            return cli_fail(cli, CLI_USAGE, "--header %s: UTF-8 is wanted", list->items[i]);
    }
    return 0;
}

// "250ms", "30s" or "30", "2m": up to what the API takes.
static int fill_expiry(struct cli *cli, json_t *request, const char *text)
{
    static const struct {
        const char *name;
        unsigned ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}};
    char *end;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    for (size_t i = 0; n > 0 && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) != 0 || n > EXPIRES_MS_MAX / units[i].ms)
            continue;
        json_object_set_new(request, "timeout_ms", json_integer((json_int_t)n * units[i].ms));
        return 0;
    }
    return cli_fail(cli, CLI_USAGE, "--expires %s: a time of at most 10 minutes is wanted, as in 30s", text);
}

static int fill_options(struct cli *cli, json_t *request, bool is_call, const struct message_options *o)
{
    if (o->content_type)
        json_object_set_new(request, "content_type", json_string(o->content_type));
    if (o->id)
        json_object_set_new(request, "id", json_string(o->id));
    if (o->priority && (strlen(o->priority) != 1 || *o->priority < '0' || *o->priority > '9'))
        return cli_fail(cli, CLI_USAGE, "--priority %s: 0 to 9 is wanted", o->priority);
    if (o->priority)
        json_object_set_new(request, "priority", json_integer(*o->priority - '0'));
    if (is_call)
        json_object_set_new(request, "timeout_ms", json_integer(cli->timeout_s * 1000LL));
    int rc = o->headers.n > 0 ? fill_headers(cli, request, &o->headers) : 0;
    return rc == 0 && o->expires ? fill_expiry(cli, request, o->expires) : rc;
}

static int make_request(struct cli *cli, bool is_call, char **argv, const char *body,
                        const struct message_options *o, json_t **ret)
{
    json_t *request =
        json_pack("{s:s, s:s, s:s}", "to", argv[0], "subject", argv[1], "kind", is_call ? "call" : "send");
    if (!request)
        return cli_fail(cli, CLI_USAGE, "addresses and subjects are plain ASCII");
    int rc = fill_options(cli, request, is_call, o);
    if (rc == 0)
        rc = fill_body(cli, request, body, o->file);
    if (rc == 0)
        *ret = request;
    else
        json_decref(request);
    return rc;
}

static int post(struct cli *cli, bool is_call, const char *to, json_t *request)
{
    struct api_reply reply;
    int rc = api_call(cli, "POST", "/v1/messages", request, NULL, &reply);
    if (rc != 0)
        return rc;
    rc = show_receipt(cli, to, is_call, reply.body);
    api_reply_done(&reply);
    return rc;
}

int message_run(struct cli *cli, bool is_call, int argc, char **argv)
{
    struct message_options o = {0};
    const struct cli_option options[] = {
        {"content-type", 0, CLI_STRING, &o.content_type},
        {"file", 'f', CLI_STRING, &o.file},
        {"header", 0, CLI_LIST, &o.headers},
        {"id", 0, CLI_STRING, &o.id},
        {"priority", 0, CLI_STRING, &o.priority},
        {"expires", 0, CLI_STRING, &o.expires},
    };
    size_t n_options = sizeof options / sizeof options[0] - is_call; // a call's end is --timeout
    int n, rest;
    int rc = cli_options(cli, options, n_options, argc, argv, &n, &rest);
    if (rc == 0 && (n < 2 || n > 3 || (n == 3 && o.file))) {
        cli_usage(cli);
        rc = cli_hint(cli, CLI_USAGE, "envctl %s acme/db db.query 'select 1'", is_call ? "call" : "send");
    }
    json_t *request = NULL;
    if (rc == 0)
        rc = make_request(cli, is_call, argv, n == 3 ? argv[2] : NULL, &o, &request);
    if (rc == 0)
        rc = post(cli, is_call, argv[0], request);
    cli_list_free(&o.headers);
    return rc;
}
