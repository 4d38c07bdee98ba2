// Takes messages and prints them, but dies of those that say "poison", with more of them in its window.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"

int main(void)
{
    struct env *env;
    struct env_message *m;
    if (env_open(&env) < 0) {
        fprintf(stderr, "mortal: %s\n", env_error(NULL));
        return 1;
    }
    env_set_window(env, 8);
    while (env_recv(env, -1, &m) == 0) {
        printf("mortal: %s\n", (const char *)m->body);
        fflush(stdout);
        if (strcmp(m->body, "poison") == 0)
            abort();
        env_ack(env, m);
        env_message_free(m);
    }
    return 0;
}
