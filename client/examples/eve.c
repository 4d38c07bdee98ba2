// A curious program of another tenant: when prompted, it queries the environment that the prompt names, and
// says what came of it. Shows how a refusal looks from inside: a code, and no word about whether the other
// exists.
#include <stdio.h>
#include <string.h>

#include "env/env.h"

static void attempt(struct env *env, const char *target, char *out, size_t cap)
{
    struct env_outgoing query = {.to = target, .subject = "db.query", .body = "who is 7?", .body_len = 9};
    int rc = env_send(env, &query, NULL);
    if (rc == 0)
        snprintf(out, cap, "eve: %s took my message\n", target);
    else
        snprintf(out, cap, "eve: %s: refused: %s\n", target, env_error(env));
}

int main(void)
{
    struct env *env;
    struct env_message *prompt;
    if (env_open(&env) < 0) {
        fprintf(stderr, "eve: %s\n", env_error(NULL));
        return 1;
    }
    while (env_recv(env, -1, &prompt) == 0) {
        char result[1024];
        attempt(env, prompt->body, result, sizeof result);
        fputs(result, stdout);
        fflush(stdout);
        struct env_outgoing reply = {.body = result, .body_len = strlen(result)};
        if (prompt->kind == MESSAGE_CALL)
            env_reply(env, prompt, &reply);
        env_ack(env, prompt);
        env_message_free(prompt);
    }
    env_close(env);
    return 0;
}
