// envctl show: everything about one environment.
#include "api.h"
#include "verbs/verbs.h"

int verb_show(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n != 1)
        rc = cli_usage(cli);
    char path[API_PATH_CAP];
    if (rc == 0)
        rc = api_environment_path(cli, argv[0], "", path);
    return rc == 0 ? api_show(cli, path) : rc;
}
