// envctl policy: shows the policy in force, or replaces it as a whole.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "format.h"
#include "verbs/verbs.h"

#define POLICY_MAX (1u << 20)

static int policy_show(struct cli *cli)
{
    struct api_reply reply;
    int rc = api_call(cli, "GET", "/v1/policies/main", NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    const char *text = json_string_value(json_object_get(json_object_get(reply.body, "spec"), "text"));
    if (cli->json)
        format_json(reply.body);
    else
        fputs(text ? text : "", stdout);
    api_reply_done(&reply);
    return 0;
}

// The revision that the new text replaces.
static int current_revision(struct cli *cli, char out[32])
{
    struct api_reply reply;
    int rc = api_call(cli, "GET", "/v1/policies/main", NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    format_member(reply.body, "revision", out, 32);
    api_reply_done(&reply);
    return 0;
}

static int policy_set(struct cli *cli, const char *file)
{
    _cleanup_free_ char *text = malloc(POLICY_MAX + 1);
    if (!text)
        return cli_fail(cli, CLI_ERROR, "no memory");
    ssize_t n = io_read_file(file, text, POLICY_MAX);
    if (n < 0)
        return cli_fail(cli, CLI_ERROR, "read %s: %s", file, strerror((int)-n));
    const char *slash = strrchr(file, '/');
    json_t *body = json_pack("{s:s%, s:s}", "text", text, (size_t)n, "file", slash ? slash + 1 : file);
    if (!body)
        return cli_fail(cli, CLI_ERROR, "%s: not valid UTF-8", file);
    char revision[32];
    int rc = current_revision(cli, revision);
    if (rc != 0) {
        json_decref(body);
        return rc;
    }
    struct api_reply reply;
    rc =
        api_call(cli, "PUT", "/v1/policies/main", body, strcmp(revision, "0") == 0 ? NULL : revision, &reply);
    if (rc != 0)
        return rc;
    char rules[32];
    if (cli->json)
        format_json(reply.body);
    else
        fprintf(stderr, "policy set: %s rules, revision %s\n",
                format_member(reply.body, "status.rules", rules, 32),
                format_member(reply.body, "revision", revision, 32));
    api_reply_done(&reply);
    return 0;
}

int verb_policy(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 1 && strcmp(argv[0], "show") == 0)
        return policy_show(cli);
    if (n == 2 && strcmp(argv[0], "set") == 0)
        return policy_set(cli, argv[1]);
    return cli_usage(cli);
}
