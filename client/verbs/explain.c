// envctl explain: which rule decides, or decided, and which would have allowed it. An explained denial is a
// success.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "proto/name.h"
#include "verbs/verbs.h"

static void print_rule(const char *title, const json_t *rule)
{
    char file[128], line[32], text[512];
    if (json_is_object(rule))
        printf("%-9s %s:%s: %s\n", title, format_member(rule, "file", file, sizeof file),
               format_member(rule, "line", line, sizeof line),
               format_member(rule, "text", text, sizeof text));
}

static void print_explanation(const json_t *e)
{
    char text[2048];
    printf("%-9s %s\n", "decision", format_member(e, "decision", text, sizeof text));
    printf("%-9s %s\n", "because", format_member(e, "text", text, sizeof text));
    print_rule("rule", json_object_get(e, "rule"));
    print_rule("nearest", json_object_get(e, "nearest"));
    if (json_object_get(e, "nearest_text"))
        printf("%-9s %s\n", "", format_member(e, "nearest_text", text, sizeof text));
}

static int ask(struct cli *cli, char **argv, int n, const char *kind, struct api_reply *reply)
{
    struct id id;
    char path[API_PATH_CAP];
    if (n == 1 && !id_parse(argv[0], strlen(argv[0]), &id))
        return cli_fail(cli, CLI_USAGE, "%s is no message id", argv[0]);
    if (n == 1) {
        snprintf(path, sizeof path, "/v1/explain/%s", argv[0]);
        return api_call(cli, "GET", path, NULL, NULL, reply);
    }
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "from", argv[0], "to", argv[1], "subject", argv[2],
                             "kind", kind ? kind : "send");
    if (!body)
        return cli_fail(cli, CLI_USAGE, "addresses and subjects are plain ASCII");
    return api_call(cli, "POST", "/v1/explain", body, NULL, reply);
}

int verb_explain(struct cli *cli, int argc, char **argv)
{
    const char *kind = NULL;
    const struct cli_option options[] = {{"kind", 0, CLI_STRING, &kind}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc == 0 && n != 1 && n != 3) {
        cli_usage(cli);
        rc = cli_hint(cli, CLI_USAGE, "envctl explain beta/eve acme/db db.query");
    }
    struct api_reply reply = {0};
    if (rc == 0)
        rc = ask(cli, argv, n, kind, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        print_explanation(reply.body);
    api_reply_done(&reply);
    return 0;
}
