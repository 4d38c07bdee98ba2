// envctl trace: the stages of one message on the host that is asked, with the time spent in each.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "format.h"
#include "proto/name.h"
#include "verbs/verbs.h"

// Adds the times as people read them: hosts are compared by them.
static void add_texts(json_t *stage)
{
    json_int_t at_ms = json_integer_value(json_object_get(stage, "at"));
    json_int_t after_us = json_integer_value(json_object_get(stage, "after_us"));
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    char text[32] = "-";
    if (gmtime_r(&seconds, &tm))
        strftime(text, sizeof text, "%FT%T", &tm);
    json_object_set_new(stage, "time", json_sprintf("%s.%03dZ", text, (int)(at_ms % 1000)));
    json_object_set_new(stage, "after",
                        json_sprintf("%lld.%03d ms", (long long)(after_us / 1000), (int)(after_us % 1000)));
}

static void print_trace(const json_t *trace)
{
    static const struct format_column columns[] = {{"TIME", "time"},
                                                   {"AFTER", "after"},
                                                   {"STAGE", "stage"},
                                                   {"ENVIRONMENT", "environment"},
                                                   {"CODE", "code"}};
    static const char *const members[] = {"from", "to", "subject", "kind"};
    const json_t *message = json_object_get(trace, "message");
    json_t *stages = json_object_get(trace, "stages"), *stage;
    char text[256];
    size_t i;
    for (i = 0; message && i < sizeof members / sizeof members[0]; i++)
        printf("%-8s %s\n", members[i], format_member(message, members[i], text, sizeof text));
    json_array_foreach(stages, i, stage)
    {
        add_texts(stage);
    }
    format_table(stages, columns, sizeof columns / sizeof columns[0]);
}

int verb_trace(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    struct id id;
    char path[API_PATH_CAP];
    struct api_reply reply;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n != 1)
        rc = cli_usage(cli);
    if (rc == 0 && !id_parse(argv[0], strlen(argv[0]), &id))
        rc = cli_fail(cli, CLI_USAGE, "%s is no message id", argv[0]);
    if (rc != 0)
        return rc;
    snprintf(path, sizeof path, "/v1/messages/%s/trace", argv[0]);
    rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        print_trace(reply.body);
    api_reply_done(&reply);
    return 0;
}
