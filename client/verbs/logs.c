// envctl logs: what an environment printed. To a terminal, control characters of the guest are made harmless;
// to a file or pipe the bytes go as they are.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "harmless.h"
#include "verbs/verbs.h"

struct output {
    bool terminal;
    struct harmless state;
};

static bool print(void *arg, const char *data, size_t len)
{
    struct output *output = arg;
    if (output->terminal)
        harmless_write(&output->state, stdout, data, len);
    else
        fwrite(data, 1, len, stdout);
    return fflush(stdout) == 0;
}

int verb_logs(struct cli *cli, int argc, char **argv)
{
    bool follow = false;
    const char *tail = NULL;
    const struct cli_option options[] = {{"follow", 'f', CLI_FLAG, &follow},
                                         {"tail", 'n', CLI_STRING, &tail}};
    int n, rest;
    int rc = cli_options(cli, options, 2, argc, argv, &n, &rest);
    unsigned lines = 0;
    char more;
    if (rc == 0 && n != 1)
        rc = cli_usage(cli);
    if (rc == 0 && tail && (sscanf(tail, "%u%c", &lines, &more) != 1 || lines > 100000))
        rc = cli_fail(cli, CLI_USAGE, "--tail %s: lines, 0 to 100000", tail);
    char suffix[64];
    snprintf(suffix, sizeof suffix, "/logs?follow=%s", follow ? "true" : "false");
    if (tail)
        snprintf(suffix + strlen(suffix), sizeof suffix - strlen(suffix), "&tail=%u", lines);
    char path[API_PATH_CAP];
    if (rc == 0)
        rc = api_environment_path(cli, argv[0], suffix, path);
    struct output output = {.terminal = isatty(STDOUT_FILENO)};
    if (rc == 0)
        rc = api_stream(cli, path, print, &output);
    harmless_flush(&output.state, stdout);
    return rc;
}
