// envctl delete: ends environments and removes them with their addresses and logs.
#include "lifecycle.h"
#include "verbs/verbs.h"

int verb_delete(struct cli *cli, int argc, char **argv)
{
    static const struct lifecycle delete = {"delete", "deleted", "being deleted", "DELETE", "", -1};
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n < 1)
        rc = cli_usage(cli);
    return rc ? rc : lifecycle_run(cli, &delete, argv, n);
}
