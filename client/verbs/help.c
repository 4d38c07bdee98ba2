// envctl help: the verbs, from the table in main.c.
#include <stdio.h>
#include <string.h>

#include "verbs/verbs.h"

int verb_help(struct cli *cli, int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-') {
        const struct verb *verb = verb_find(argv[1]);
        if (!verb)
            return cli_hint(cli, cli_fail(cli, CLI_USAGE, "there is no verb %s", argv[1]), "envctl help");
        printf("envctl %s\n    %s\n", verb->usage, verb->summary);
        return 0;
    }
    printf("envctl manages environments: isolated virtual machines that talk through mediated messages.\n\n");
    for (const struct verb *v = verbs; v->name; v++)
        printf("  %-11s %s\n", v->name, v->summary);
    printf("\nEvery verb takes --format table|json, --timeout SECONDS, --no-wait and --socket PATH (or "
           "ENVCTL_SOCKET).\n"
           "envctl help VERB shows how a verb is called; the manual is envctl(1).\n");
    return 0;
}
