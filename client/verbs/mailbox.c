// envctl mailbox and envctl dead-letter: what waits for an environment, and what its programs would not take.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "pages.h"
#include "proto/name.h"
#include "verbs/verbs.h"

static const struct format_column waiting_columns[] = {
    {"ID", "id"},           {"STATE", "state"},       {"KIND", "kind"}, {"FROM", "from"},
    {"SUBJECT", "subject"}, {"PRIORITY", "priority"}, {"SIZE", "size"}, {"RELEASES", "releases"},
    {"ARRIVED", "arrived"}, {"EXPIRES", "expires"},
};
static const struct format_column dead_columns[] = {
    {"ID", "id"},     {"KIND", "kind"},   {"FROM", "from"},          {"SUBJECT", "subject"},
    {"SIZE", "size"}, {"SINCE", "since"}, {"REASON", "reason.code"},
};

static const struct format_column refused_columns[] = {
    {"ID", "id"},     {"USER", "user"},          {"FROM", "from"},
    {"TO", "to"},     {"SUBJECT", "subject"},    {"SIZE", "size"},
    {"HOST", "host"}, {"REASON", "reason.code"}, {"TEXT", "reason.text"},
};

static int show(struct cli *cli, const char *address)
{
    char path[API_PATH_CAP];
    int rc = api_environment_path(cli, address, "/mailbox", path);
    return rc == 0 ? api_show(cli, path) : rc;
}

static int list(struct cli *cli, const char *address, bool dead)
{
    char path[API_PATH_CAP];
    int rc =
        api_environment_path(cli, address, dead ? "/mailbox/messages?dead=true" : "/mailbox/messages", path);
    if (rc != 0)
        return rc;
    return dead ? pages_show(cli, path, dead_columns, sizeof dead_columns / sizeof dead_columns[0])
                : pages_show(cli, path, waiting_columns, sizeof waiting_columns / sizeof waiting_columns[0]);
}

// What hosts refused of the broker's deliveries.
static int list_refused(struct cli *cli)
{
    struct api_reply reply;
    int rc = api_call(cli, "GET", "/v1/broker/dead", NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    const json_t *items = json_object_get(reply.body, "items");
    if (cli->json)
        format_json(items);
    else
        format_table(items, refused_columns, sizeof refused_columns / sizeof refused_columns[0]);
    api_reply_done(&reply);
    return 0;
}

// A request that answers with a number of messages; done: "thrown away".
static int change(struct cli *cli, const char *method, const char *address, const char *suffix,
                  const char *done)
{
    char path[API_PATH_CAP], n[24];
    struct api_reply reply;
    int rc = api_environment_path(cli, address, suffix, path);
    if (rc == 0)
        rc = api_call(cli, method, path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        fprintf(stderr, "%s: %s %s\n", address, format_member(reply.body, "messages", n, sizeof n), done);
    api_reply_done(&reply);
    return 0;
}

int verb_mailbox(struct cli *cli, int argc, char **argv)
{
    bool dead = false;
    const struct cli_option options[] = {{"dead", 0, CLI_FLAG, &dead}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 2 && strcmp(argv[0], "show") == 0 && !dead)
        return show(cli, argv[1]);
    if (n == 2 && strcmp(argv[0], "peek") == 0)
        return list(cli, argv[1], dead);
    if (n == 2 && strcmp(argv[0], "purge") == 0)
        return change(cli, "DELETE", argv[1], dead ? "/mailbox/messages?dead=true" : "/mailbox/messages",
                      dead ? "dead letters thrown away" : "messages thrown away");
    return cli_usage(cli);
}

static int replay(struct cli *cli, const char *address, const char *id)
{
    struct id parsed;
    char suffix[ID_TEXT_CAP + sizeof "/mailbox/dead//replay"];
    if (id && !id_parse(id, strlen(id), &parsed))
        return cli_fail(cli, CLI_USAGE, "%s is no message id", id);
    snprintf(suffix, sizeof suffix, "/mailbox/dead/%s%sreplay", id ? id : "", id ? "/" : "");
    return change(cli, "POST", address, suffix, "dead letters queued again");
}

int verb_dead_letter(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 1 && strcmp(argv[0], "list") == 0)
        return list_refused(cli);
    if (n == 2 && strcmp(argv[0], "list") == 0)
        return list(cli, argv[1], true);
    if ((n == 2 || n == 3) && strcmp(argv[0], "replay") == 0)
        return replay(cli, argv[1], n == 3 ? argv[2] : NULL);
    return cli_usage(cli);
}
