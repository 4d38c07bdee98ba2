// envctl trace: the stages of one message on all hosts that saw it, with the time spent in each.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "format.h"
#include "proto/name.h"
#include "verbs/verbs.h"

// "1.204 ms", and "~1.204 ms" when it is by the clocks of two hosts.
static json_t *after_text(const json_t *stage)
{
    const json_t *after = json_object_get(stage, "after_us"), *error = json_object_get(stage, "error_us");
    json_int_t us = json_integer_value(after), error_us = json_integer_value(error);
    if (!after)
        return json_string("-");
    if (!error)
        return json_sprintf("%lld.%03d ms", (long long)(us / 1000), (int)(us % 1000));
    return json_sprintf("~%lld.%03d ms +-%lld.%03d", (long long)(us / 1000), (int)(us % 1000),
                        (long long)(error_us / 1000), (int)(error_us % 1000));
}

// Adds the times as people read them.
static void add_texts(json_t *stage)
{
    json_int_t at_ms = json_integer_value(json_object_get(stage, "at"));
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    char text[32] = "-";
    if (gmtime_r(&seconds, &tm))
        strftime(text, sizeof text, "%FT%T", &tm);
    json_object_set_new(stage, "time", json_sprintf("%s.%03dZ", text, (int)(at_ms % 1000)));
    json_object_set_new(stage, "after", after_text(stage));
}

static void print_clock(const json_t *host, const char *name)
{
    const json_t *clock = json_object_get(host, "clock");
    json_int_t ahead_us = json_integer_value(json_object_get(clock, "ahead_us"));
    json_int_t error_us = json_integer_value(json_object_get(clock, "error_us"));
    if (ahead_us >= -error_us && ahead_us <= error_us)
        return; // as far as is known it is right
    printf("%s: its clock is %lld ms %s, give or take %lld ms: its times are its own\n", name,
           (long long)((ahead_us < 0 ? -ahead_us : ahead_us) / 1000), ahead_us < 0 ? "behind" : "ahead",
           (long long)(error_us + 999) / 1000);
}

// What is missing, and whose times are to be read with care.
static void print_hosts(const json_t *trace)
{
    static const struct {
        const char *state, *text;
    } states[] = {{"late", "did not answer within a second: its stages are missing"},
                  {"silent", "has not been heard of for a while: its stages are missing"},
                  {"unreadable", "answered what this host does not understand"}};
    const json_t *hosts = json_object_get(trace, "hosts"), *host;
    char name[NAME_CAP], state[32], why[256];
    size_t i;
    json_array_foreach(hosts, i, host)
    {
        format_member(host, "name", name, sizeof name);
        format_member(host, "state", state, sizeof state);
        for (size_t k = 0; k < sizeof states / sizeof states[0]; k++)
            if (strcmp(states[k].state, state) == 0)
                printf("%s %s\n", name, states[k].text);
        if (json_is_true(json_object_get(host, "more")))
            printf("%s remembers more stages than these\n", name);
        print_clock(host, name);
    }
    if (json_object_get(trace, "not_asked"))
        printf("the other hosts were not asked: %s\n", format_member(trace, "not_asked", why, sizeof why));
}

static void print_trace(const json_t *trace)
{
    static const struct format_column columns[] = {{"TIME", "time"},
                                                   {"HOST", "host"},
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
    print_hosts(trace);
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
