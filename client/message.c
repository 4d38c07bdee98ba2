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

// All of standard input. 0 or an exit code.
static int read_stdin(struct cli *cli, char **ret_data, size_t *ret_len)
{
    char *data = malloc(ENVELOPE_BODY_MAX + 1);
    if (!data)
        return cli_fail(cli, CLI_ERROR, "no memory for the body");
    size_t len = fread(data, 1, ENVELOPE_BODY_MAX + 1, stdin);
    if (ferror(stdin) || len > ENVELOPE_BODY_MAX) {
        free(data);
        return ferror(stdin) ? cli_fail(cli, CLI_ERROR, "read the body: %s", strerror(errno))
                             : cli_fail(cli, CLI_ERROR, "the body is over %u MiB", ENVELOPE_BODY_MAX >> 20);
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
    for (int code = 0; code < RECEIPT_CODE_COUNT; code++)
        if (strcmp(receipt_code_name((enum receipt_code)code), name) == 0)
            return receipt_exit_code((enum receipt_code)code);
    return CLI_ERROR;
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

static int fill_body(struct cli *cli, json_t *request, const char *arg)
{
    if (arg && strcmp(arg, "-") != 0 && json_object_set_new(request, "body", json_string(arg)) == 0)
        return 0;
    char *data = NULL;
    size_t len = 0;
    if (arg && strcmp(arg, "-") == 0) {
        int rc = read_stdin(cli, &data, &len);
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

int message_run(struct cli *cli, bool is_call, int argc, char **argv)
{
    const char *content_type = NULL;
    const struct cli_option options[] = {{"content-type", 0, CLI_STRING, &content_type}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc == 0 && (n < 2 || n > 3)) {
        cli_usage(cli);
        rc = cli_hint(cli, CLI_USAGE, "envctl %s acme/db db.query 'select 1'", is_call ? "call" : "send");
    }
    if (rc != 0)
        return rc;
    json_t *request =
        json_pack("{s:s, s:s, s:s}", "to", argv[0], "subject", argv[1], "kind", is_call ? "call" : "send");
    if (!request)
        return cli_fail(cli, CLI_USAGE, "addresses and subjects are plain ASCII");
    if (content_type)
        json_object_set_new(request, "content_type", json_string(content_type));
    if (is_call)
        json_object_set_new(request, "timeout_ms", json_integer(cli->timeout_s * 1000LL));
    rc = fill_body(cli, request, n == 3 ? argv[2] : NULL);
    if (rc != 0) {
        json_decref(request);
        return rc;
    }
    struct api_reply reply;
    rc = api_call(cli, "POST", "/v1/messages", request, NULL, &reply);
    if (rc != 0)
        return rc;
    rc = show_receipt(cli, argv[0], is_call, reply.body);
    api_reply_done(&reply);
    return rc;
}
