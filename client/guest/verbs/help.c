// envctl help: the verbs, from the table in main.c.
#include <stdio.h>
#include <string.h>

#include "guest.h"

int verb_help(int argc, char **argv)
{
    if (argc > 1) {
        for (const struct verb *v = verbs; v->name; v++) {
            if (strcmp(v->name, argv[1]) != 0)
                continue;
            printf("usage: envctl %s\n\n%s.\n\n%s", v->usage, v->summary, v->options);
            return 0;
        }
        return guest_fail("help", EXIT_USAGE, "try: envctl help", "there is no verb \"%s\"", argv[1]);
    }
    printf("envctl, inside an environment: messages to and from other environments.\n\n");
    for (const struct verb *v = verbs; v->name; v++)
        printf("  %-8s %s\n", v->name, v->summary);
    printf("\nenvctl help VERB says how a verb is called. An ADDRESS is NAME, TENANT/NAME, :SERVICE or "
           "TENANT/:SERVICE.\n"
           "Exit codes: 0 done, 1 failed, 2 wrong usage, 124 nothing came in time,\n"
           "and when the host refuses:");
    for (unsigned code = 1; code < RECEIPT_CODE_COUNT; code++)
        printf(" %d %s%s", receipt_exit_code((enum receipt_code)code),
               receipt_code_name((enum receipt_code)code), code + 1 < RECEIPT_CODE_COUNT ? "," : ".\n");
    return 0;
}
