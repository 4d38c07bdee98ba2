// envctl send: a message from host/operator, under the policy like everybody's.
#include "message.h"
#include "verbs/verbs.h"

int verb_send(struct cli *cli, int argc, char **argv)
{
    return message_run(cli, false, argc, argv);
}
