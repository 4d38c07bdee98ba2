// The verbs of envctl, one file each. All take the verb's own name as argv[0] and return an exit code.
#pragma once

#include "cli.h"

int verb_create(struct cli *cli, int argc, char **argv);
int verb_start(struct cli *cli, int argc, char **argv);
int verb_stop(struct cli *cli, int argc, char **argv);
int verb_restart(struct cli *cli, int argc, char **argv);
int verb_pause(struct cli *cli, int argc, char **argv);
int verb_resume(struct cli *cli, int argc, char **argv);
int verb_top(struct cli *cli, int argc, char **argv);
int verb_broker(struct cli *cli, int argc, char **argv);
int verb_delete(struct cli *cli, int argc, char **argv);
int verb_list(struct cli *cli, int argc, char **argv);
int verb_show(struct cli *cli, int argc, char **argv);
int verb_logs(struct cli *cli, int argc, char **argv);
int verb_exec(struct cli *cli, int argc, char **argv);
int verb_cp(struct cli *cli, int argc, char **argv);
int verb_console(struct cli *cli, int argc, char **argv);
int verb_send(struct cli *cli, int argc, char **argv);
int verb_call(struct cli *cli, int argc, char **argv);
int verb_mailbox(struct cli *cli, int argc, char **argv);
int verb_dead_letter(struct cli *cli, int argc, char **argv);
int verb_trace(struct cli *cli, int argc, char **argv);
int verb_policy(struct cli *cli, int argc, char **argv);
int verb_explain(struct cli *cli, int argc, char **argv);
int verb_image(struct cli *cli, int argc, char **argv);
int verb_tenant(struct cli *cli, int argc, char **argv);
int verb_events(struct cli *cli, int argc, char **argv);
int verb_version(struct cli *cli, int argc, char **argv);
int verb_help(struct cli *cli, int argc, char **argv);
