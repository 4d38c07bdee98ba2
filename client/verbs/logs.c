// envctl logs: what an environment printed. To a terminal, control characters of the guest are made harmless;
// to a file or pipe the bytes go as they are.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "verbs/verbs.h"

static bool to_terminal(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    return true;
}

static bool print(void *arg, const char *data, size_t len)
{
    const bool *terminal = arg;
    bool ok = *terminal ? to_terminal(data, len) : fwrite(data, 1, len, stdout) == len;
    return ok && fflush(stdout) == 0;
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
        rc = cli_usage(cli, "logs TENANT/NAME [-f] [--tail LINES]");
    if (rc == 0 && tail && (sscanf(tail, "%u%c", &lines, &more) != 1 || lines > 100000))
        rc = cli_fail(cli, CLI_USAGE, "--tail %s: lines, 0 to 100000", tail);
    char suffix[64];
    snprintf(suffix, sizeof suffix, "/logs?follow=%s", follow ? "true" : "false");
    if (tail)
        snprintf(suffix + strlen(suffix), sizeof suffix - strlen(suffix), "&tail=%u", lines);
    char path[API_PATH_CAP];
    if (rc == 0)
        rc = api_environment_path(cli, argv[0], suffix, path);
    bool terminal = isatty(STDOUT_FILENO);
    return rc ? rc : api_stream(cli, path, print, &terminal);
}
