// envctl events: every change, as server-sent events, until interrupted.
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "verbs/verbs.h"

static bool print(void *arg, const char *data, size_t len)
{
    (void)arg;
    return fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0;
}

int verb_events(struct cli *cli, int argc, char **argv)
{
    const char *since = NULL;
    const struct cli_option options[] = {{"since", 0, CLI_STRING, &since}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    unsigned long long revision = 0;
    char more;
    if (rc == 0 && (n != 0 || (since && sscanf(since, "%llu%c", &revision, &more) != 1)))
        rc = cli_usage(cli);
    char path[API_PATH_CAP];
    snprintf(path, sizeof path, since ? "/v1/events?since=%llu" : "/v1/events", revision);
    return rc ? rc : api_stream(cli, path, print, NULL);
}
