// Answers every call with its body.
#include <stdio.h>

#include "env/env.h"

int main(void)
{
    struct env *env;
    struct env_message *m;
    if (env_open(&env) < 0) {
        fprintf(stderr, "echo: %s\n", env_error(NULL));
        return 1;
    }
    env_set_window(env, 16);
    while (env_recv(env, -1, &m) == 0) {
        const struct env_outgoing reply = {.body = m->body, .body_len = m->body_len};
        if (env_reply(env, m, &reply) != 0)
            fprintf(stderr, "echo: %s\n", env_error(env));
        env_ack(env, m);
        env_message_free(m);
    }
    env_close(env);
    return 0;
}
