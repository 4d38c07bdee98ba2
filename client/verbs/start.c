// envctl start: asks for environments to run and waits until their agents have said hello.
#include "lifecycle.h"
#include "verbs/verbs.h"

int verb_start(struct cli *cli, int argc, char **argv)
{
    static const struct lifecycle start = {"start", "started", "starting", "POST", "/start", -1};
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n < 1)
        rc = cli_usage(cli);
    return rc ? rc : lifecycle_run(cli, &start, argv, n);
}
