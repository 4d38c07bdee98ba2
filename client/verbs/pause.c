// envctl pause and resume: environments stand still, or go on.
#include "lifecycle.h"
#include "verbs/verbs.h"

static int run(struct cli *cli, const struct lifecycle *l, int argc, char **argv)
{
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n < 1)
        rc = cli_usage(cli);
    return rc ? rc : lifecycle_run(cli, l, argv, n);
}

int verb_pause(struct cli *cli, int argc, char **argv)
{
    static const struct lifecycle pause = {"pause", "paused", "pausing", "POST", "/pause", -1};
    return run(cli, &pause, argc, argv);
}

int verb_resume(struct cli *cli, int argc, char **argv)
{
    static const struct lifecycle resume = {"resume", "resumed", "resuming", "POST", "/resume", -1};
    return run(cli, &resume, argc, argv);
}
