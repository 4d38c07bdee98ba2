// The ledger of the crash story: prints every note that it is sent, once it is sure to be printed, and
// acknowledges it. It is never killed, so whatever it prints twice was delivered twice.
#include <stdio.h>

#include "env/env.h"

int main(void)
{
    struct env *env;
    struct env_message *note;
    if (env_open(&env) < 0)
        return 1;
    env_set_window(env, 64);
    while (env_recv(env, -1, &note) == 0) {
        char id[ID_TEXT_CAP];
        id_format(&note->id, id);
        printf("note %s %s %s\n", id, note->from, (const char *)note->body);
        fflush(stdout);
        env_ack(env, note);
        env_message_free(note);
    }
    env_close(env);
    return 0;
}
