// envctl show: everything about one environment.
#include "api.h"
#include "format.h"
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
    struct api_reply reply;
    if (rc == 0)
        rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        format_object(reply.body);
    api_reply_done(&reply);
    return 0;
}
