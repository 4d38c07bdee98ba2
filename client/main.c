// envctl: the operators' command line. Owns the verb table and the way a failure is shown: one message and
// what to try next, on standard error; exit codes are in cli.h.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "verbs/verbs.h"

#define SOCKET_DEFAULT "/run/envd/envd.sock"

const struct verb verbs[] = {
    {"create",
     "create TENANT/NAME --program FILE [--files FOLDER|ARCHIVE] [--env KEY=VALUE]... [OPTIONS] [-- "
     "ARGUMENTS]\n"
     "       create TENANT/NAME [--kind linux] --image NAME|DIGEST [--vcpus N] [--disk SIZE]\n"
     "       [--volume NAME=SIZE]... [--cmdline WORDS] [--watchdog SECONDS] [OPTIONS]\n"
     "       options: [--memory SIZE] [--cpu-weight N] [--label KEY=VALUE]... [--limit NAME=NUMBER]...\n"
     "       [--restart never|on-failure|always] [--mailbox host|queue] [--start]",
     "make an environment", verb_create},
    {"start", "start TENANT/NAME...", "start environments", verb_start},
    {"stop", "stop TENANT/NAME... [--grace SECONDS]", "stop environments", verb_stop},
    {"restart", "restart TENANT/NAME... [--grace SECONDS]", "stop environments and start them again",
     verb_restart},
    {"pause", "pause TENANT/NAME...", "have environments stand still", verb_pause},
    {"resume", "resume TENANT/NAME...", "have paused environments go on", verb_resume},
    {"delete", "delete TENANT/NAME...", "remove environments for good", verb_delete},
    {"list", "list [TENANT] [--selector LABELS]", "list environments", verb_list},
    {"show", "show TENANT/NAME", "show an environment", verb_show},
    {"top", "top [TENANT] [--sort cpu|memory|net|disk|messages|name] [--interval SECONDS] [--once]",
     "show what environments use, live", verb_top},
    {"broker", "broker", "show the link to the message broker", verb_broker},
    {"logs", "logs TENANT/NAME [-f | --follow] [--tail LINES]", "print what an environment printed",
     verb_logs},
    {"exec",
     "exec [-i] [-t] [--user USER] [--cwd FOLDER] [--env KEY=VALUE]... TENANT/NAME -- COMMAND [ARGUMENTS]",
     "run a command in a Linux environment", verb_exec},
    {"cp", "cp [-r] SOURCE TARGET, one of them TENANT/NAME:PATH",
     "copy files into or out of a Linux environment", verb_cp},
    {"console", "console TENANT/NAME [--detach-key KEY]", "attach to a Linux environment's console",
     verb_console},
    {"send",
     "send TENANT/NAME SUBJECT [BODY | - | --file FILE] [--content-type TYPE] [--header NAME=VALUE]... "
     "[--priority N] [--expires TIME] [--id ID]",
     "send a message as the operator", verb_send},
    {"call",
     "call TENANT/NAME SUBJECT [BODY | - | --file FILE] [--content-type TYPE] [--header NAME=VALUE]... "
     "[--priority N] [--id ID]",
     "send a call, print its reply", verb_call},
    {"mailbox",
     "mailbox show TENANT/NAME | mailbox peek TENANT/NAME [--dead] | mailbox purge TENANT/NAME [--dead]",
     "look at what waits for an environment, or throw it away", verb_mailbox},
    {"dead-letter",
     "dead-letter list TENANT/NAME | dead-letter replay TENANT/NAME [MESSAGE-ID] |"
     "\n       dead-letter list --broker | dead-letter show|replay|purge --broker [LETTER]",
     "list what an environment or a host would not take, queue it again, or throw it away", verb_dead_letter},
    {"policy", "policy show | policy set FILE", "show or replace the policy", verb_policy},
    {"explain", "explain FROM TO SUBJECT [--kind send|call|event] | explain MESSAGE-ID",
     "say what the policy decides, and why", verb_explain},
    {"trace", "trace MESSAGE-ID", "show what happened to a message on all hosts, and when", verb_trace},
    {"image",
     "image build SOURCE [--kernel FILE] [--initrd FILE] [--kernel-from IMAGE] [--no-disk] [--size SIZE]\n"
     "       [--cmdline WORDS] [--label KEY=VALUE]... [--name NAME] [--output FILE] [--max-size SIZE] "
     "[--max-files N]\n"
     "       | image import FILE|- [--name NAME] | image export IMAGE FILE|- | image list [--type TYPE]\n"
     "       | image show IMAGE | image delete IMAGE... | image gc [--older-than SECONDS] [--all]",
     "build, carry and manage images of Linux environments", verb_image},
    {"tenant",
     "tenant create NAME [--max-environments N] [--max-memory SIZE] [--max-vcpus N]\n"
     "       [--max-disk SIZE] | tenant delete NAME | tenant list",
     "manage tenants", verb_tenant},
    {"events", "events [--since REVISION]", "follow every change", verb_events},
    {"version", "version", "versions of envctl and envd", verb_version},
    {"help", "help [VERB]", "this list, or a verb's usage", verb_help},
    {NULL, NULL, NULL, NULL},
};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

// Edit distance of short words, for "did you mean".
static size_t distance(const char *a, const char *b)
{
    size_t row[32];
    size_t n = strlen(b);
    if (n >= 32)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            size_t change = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < change ? replace : change;
        }
    }
    return row[n];
}

static int unknown_verb(struct cli *cli, const char *name)
{
    const struct verb *best = NULL;
    size_t best_distance = 3;
    for (const struct verb *v = verbs; v->name; v++) {
        size_t d = distance(name, v->name);
        if (d < best_distance) {
            best = v;
            best_distance = d;
        }
    }
    cli_fail(cli, CLI_USAGE, "there is no verb %s", name);
    return best ? cli_hint(cli, CLI_USAGE, "did you mean envctl %s?", best->name)
                : cli_hint(cli, CLI_USAGE, "envctl help lists the verbs");
}

int main(int argc, char **argv)
{
    const char *socket = getenv("ENVCTL_SOCKET");
    struct cli cli = {.socket = socket && *socket ? socket : SOCKET_DEFAULT, .wait = true, .timeout_s = 30};
    int rc;
    if (argc < 2) {
        rc = verb_help(&cli, 1, argv);
    } else if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        rc = verb_help(&cli, 2, argv); // looks at argv[1] only
    } else {
        const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help"
                           : strcmp(argv[1], "--version") == 0                          ? "version"
                                                                                        : argv[1];
        const struct verb *verb = verb_find(name);
        cli.verb = verb;
        rc = verb ? verb->run(&cli, argc - 1, argv + 1) : unknown_verb(&cli, name);
    }
    if (rc != 0)
        cli_report(&cli);
    if (fflush(stdout) != 0 && rc == 0) {
        perror("envctl: write the output");
        rc = CLI_ERROR;
    }
    return rc;
}
