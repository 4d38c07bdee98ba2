// Does not process its messages: the first argument says how often it gives one back; then it ends. Without
// an argument it takes what comes, until nothing has come for two seconds. Prints what it does.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/env.h"

#define IDLE_MS 2000

int main(int argc, char **argv)
{
    struct env *env;
    struct env_message *m;
    int left = argc > 1 ? atoi(argv[1]) : 0;
    if (env_open(&env) < 0) {
        fprintf(stderr, "spurn: %s\n", env_error(NULL));
        return 1;
    }
    bool spurns = argc > 1, ends = false;
    while (!ends && env_recv(env, IDLE_MS, &m) == 0) {
        printf("spurn: %s %s\n", spurns ? "gave back" : "took", (const char *)m->body);
        fflush(stdout);
        ends = (spurns ? env_release(env, m) : env_ack(env, m)) != 0 || (spurns && --left == 0);
        env_message_free(m);
    }
    printf("spurn: done\n");
    env_close(env);
    return 0;
}
