// envctl version: its own and the daemon's, and what the daemon found on its host.
#include <stdio.h>

#include "api.h"
#include "format.h"
#include "verbs/verbs.h"

int verb_version(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n != 0)
        rc = cli_usage(cli);
    if (rc != 0)
        return rc;
    if (!cli->json)
        printf("envctl %s\n", ENVD_VERSION);
    struct api_reply reply;
    rc = api_call(cli, "GET", "/v1", NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    char text[128], kvm[32], cgroup[32];
    if (cli->json)
        format_json(reply.body);
    else
        printf("envd %s (KVM %s, cgroup %s)\n", format_member(reply.body, "version", text, sizeof text),
               format_member(reply.body, "host.kvm", kvm, sizeof kvm),
               format_member(reply.body, "host.cgroup", cgroup, sizeof cgroup));
    api_reply_done(&reply);
    return 0;
}
