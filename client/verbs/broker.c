// envctl broker: the link to the message broker, and what to look at when it is not well.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "verbs/verbs.h"

// By state: what to try.
static const struct {
    const char *state, *remedy;
} remedies[] = {
    {"blocked", "free memory or disk at the broker: messages wait until its alarm ends"},
    {"refused", "look at the user's password and permissions at the broker, and at its virtual host"},
    {"untrusted",
     "look at the certificates: the broker's, its authority's (--broker-ca), this host's (--broker-cert)"},
    {"silent", "restart the broker, or look at what else answers at that address"},
    {"unreachable", "look whether the broker runs, and at --broker"},
};

static void hint(const char *state)
{
    for (size_t i = 0; i < sizeof remedies / sizeof remedies[0]; i++)
        if (strcmp(state, remedies[i].state) == 0)
            fprintf(stderr, "  try: %s\n", remedies[i].remedy);
}

int verb_broker(struct cli *cli, int argc, char **argv)
{
    int n, rest;
    char state[32];
    struct api_reply reply;
    int rc = cli_options(cli, NULL, 0, argc, argv, &n, &rest);
    if (rc == 0 && n != 0)
        rc = cli_usage(cli);
    if (rc == 0)
        rc = api_call(cli, "GET", "/v1/broker", NULL, NULL, &reply);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(reply.body);
    else
        format_object(json_object_get(reply.body, "status"));
    hint(format_member(reply.body, "status.state", state, sizeof state));
    api_reply_done(&reply);
    return 0;
}
