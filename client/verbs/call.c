// envctl call: a message that wants an answer; the reply's body goes to standard output, byte for byte.
#include "message.h"
#include "verbs/verbs.h"

int verb_call(struct cli *cli, int argc, char **argv)
{
    return message_run(cli, true, argc, argv);
}
