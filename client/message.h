// What send and call share: one message from the operator.
#pragma once

#include "cli.h"

// Runs `envctl send` or `envctl call` from its arguments. The exit code is the receipt's.
int message_run(struct cli *cli, bool is_call, int argc, char **argv);
