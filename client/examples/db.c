// A tiny database: answers db.query with a record. Shows how a program serves calls.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"

static const char *const records[] = {"nobody", "Ada",     "Grace", "Barbara",
                                      "Edsger", "Frances", "Alan",  "Margaret"};

// The answer to a query: the record whose number occurs in it.
static void look_up(const struct env_message *query, char *out, size_t cap)
{
    const char *digits = strpbrk(query->body, "0123456789");
    unsigned long n = digits ? strtoul(digits, NULL, 10) : 0;
    snprintf(out, cap, "%s", n < sizeof records / sizeof records[0] ? records[n] : records[0]);
}

int main(void)
{
    struct env *env;
    struct env_message *query;
    if (env_open(&env) < 0) {
        fprintf(stderr, "db: %s\n", env_error(NULL));
        return 1;
    }
    printf("db: ready as %s/%s\n", env_identity(env)->tenant, env_identity(env)->name);
    fflush(stdout);
    while (env_recv(env, -1, &query) == 0) {
        char answer[64];
        look_up(query, answer, sizeof answer);
        struct env_outgoing reply = {.body = answer, .body_len = strlen(answer)};
        // A reply that comes too late is refused; there is nothing to do about it here.
        if (query->kind == MESSAGE_CALL && env_reply(env, query, &reply) != 0)
            fprintf(stderr, "db: reply to %s: %s\n", query->from, env_error(env));
        env_ack(env, query);
        printf("db: %s asked: %s\n", query->from, (const char *)query->body);
        fflush(stdout);
        env_message_free(query);
    }
    printf("db: %s\n", env_error(env));
    env_close(env);
    return 0;
}
