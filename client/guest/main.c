// envctl inside an environment: looks the verb up and runs it. Static, without fork and exec, so that it runs
// as the only program of a cell as well as in a Linux guest.
#include <stdio.h>
#include <string.h>

#include "guest.h"

#define MESSAGE_OPTIONS                                                                                      \
    "  -f, --file FILE     the body is in FILE; - is standard input\n"                                       \
    "  --subject S         what it is about, dots between words (default: message)\n"                        \
    "  --content-type T    what the body is, as in application/json\n"                                       \
    "  --header NAME=VALUE may be repeated\n"                                                                \
    "  --priority N        0 to 9\n"                                                                         \
    "  --id UUID           send again with the same id after an unknown outcome\n"

const struct verb verbs[] = {
    {"send", verb_send, "send ADDRESS [BODY... | - | -f FILE] [options]", "send a message; prints its id",
     MESSAGE_OPTIONS "  --event             to every server of the service that ADDRESS names\n"
                     "  --expires TIME      worthless after that long, as in 30s\n"},
    {"call", verb_call, "call ADDRESS [BODY... | - | -f FILE] [options]",
     "send a call and print the reply's body",
     MESSAGE_OPTIONS "  --timeout TIME      how long to wait, as in 250ms, 10s or 2m (default: 10s)\n"},
    {"recv", verb_recv, "recv [-n N] [--timeout TIME] [--format text|json]",
     "receive messages and print their bodies",
     "  -n, --count N       how many (default: 1; 0: without end)\n"
     "  --timeout TIME      how long to wait for each (default: for ever)\n"
     "  --format json       one object a line, with everything that is known of a message; also --json\n"},
    {"serve", verb_serve, "serve [--service NAME]... {--echo | --reply TEXT | --exec COMMAND} [options]",
     "answer calls",
     "  --echo              the reply is the call's body\n"
     "  --reply TEXT        the reply is TEXT\n"
     "  --exec COMMAND      run by /bin/sh for each message: the body is its standard input, its standard\n"
     "                      output the reply; ENV_FROM, ENV_TO, ENV_SUBJECT, ENV_ID, ENV_KIND,\n"
     "                      ENV_CONTENT_TYPE, ENV_CORRELATION, ENV_EXPIRES_MS and ENV_HEADER_NAME say the\n"
     "                      rest. Exit status 0: processed; 100: given up, no reply; else: the message "
     "comes\n"
     "                      again, later each time\n"
     "  --jobs N            so many commands at once, and no more messages are taken (default: 1)\n"
     "  --service NAME      serve :NAME too; may be repeated\n"
     "  --subject-prefix S  answer only subjects that begin with S\n"
     "  -n, --count N       end after N messages\n"},
    {"monitor", verb_monitor, "monitor ADDRESS... [-n N] [--timeout TIME] [--format text|json]",
     "say when other environments go away",
     "A line for each time: ADDRESS gone certain|unknown REASON. Certain: it ended, or it was not running.\n"
     "Unknown: its host cannot be reached. The policy must allow messages to it with subject \"monitor\".\n"
     "  -n, --count N       end after N lines (default: never)\n"
     "  --timeout TIME      how long to wait for each (default: for ever)\n"
     "  --format json       one object a line; also --json\n"},
    {"whoami", verb_whoami, "whoami", "print this environment's address", ""},
    {"clock", verb_clock, "clock", "print the host's time, in UTC", ""},
    {"help", verb_help, "help [VERB]", "say how a verb is called", ""},
    {0},
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        verb_help(1, argv);
        return EXIT_USAGE;
    }
    const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help" : argv[1];
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v->run(argc - 1, argv + 1);
    fprintf(stderr, "envctl: there is no verb \"%s\" inside an environment; try: envctl help\n", name);
    return EXIT_USAGE;
}
