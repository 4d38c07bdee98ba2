// envctl stop and restart: tells environments to finish; what has not ended after the grace time is ended.
// restart then starts them.
#include <stdio.h>

#include "lifecycle.h"
#include "verbs/verbs.h"

static int run(struct cli *cli, struct lifecycle *l, int argc, char **argv)
{
    const char *grace = NULL;
    const struct cli_option options[] = {{"grace", 0, CLI_STRING, &grace}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    unsigned seconds = 0;
    char more;
    if (rc == 0 && n < 1)
        rc = cli_usage(cli);
    if (rc == 0 && grace && (sscanf(grace, "%u%c", &seconds, &more) != 1 || seconds > 600))
        rc = cli_fail(cli, CLI_USAGE, "--grace %s: seconds, 0 to 600", grace);
    if (rc != 0)
        return rc;
    l->grace_ms = grace ? (int)(seconds * 1000) : -1;
    return lifecycle_run(cli, l, argv, n);
}

int verb_stop(struct cli *cli, int argc, char **argv)
{
    struct lifecycle stop = {"stop", "stopped", "stopping", "POST", "/stop", -1};
    return run(cli, &stop, argc, argv);
}

int verb_restart(struct cli *cli, int argc, char **argv)
{
    struct lifecycle restart = {"restart", "restarted", "restarting", "POST", "/restart", -1};
    return run(cli, &restart, argc, argv);
}
