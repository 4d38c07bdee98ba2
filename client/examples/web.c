// A tiny front end: answers page.get with a page, for which it asks acme/db. Shows a call inside a call.
#include <stdio.h>
#include <string.h>

#include "env/env.h"

#define DB_TIMEOUT_MS 5000

// Asks the database and writes the page.
static void make_page(struct env *env, const struct env_message *request, char *out, size_t cap)
{
    struct env_outgoing query = {
        .to = "db", .subject = "db.query", .body = request->body, .body_len = request->body_len};
    struct env_message *reply;
    int rc = env_call(env, &query, DB_TIMEOUT_MS, &reply);
    if (rc != 0) {
        snprintf(out, cap, "the database gave no answer: %s\n", env_error(env));
        return;
    }
    snprintf(out, cap, "%s says: %s\n", reply->from, (const char *)reply->body);
    env_message_free(reply);
}

int main(void)
{
    struct env *env;
    struct env_message *request;
    if (env_open(&env) < 0) {
        fprintf(stderr, "web: %s\n", env_error(NULL));
        return 1;
    }
    printf("web: ready as %s/%s\n", env_identity(env)->tenant, env_identity(env)->name);
    fflush(stdout);
    while (env_recv(env, -1, &request) == 0) {
        char page[1024];
        make_page(env, request, page, sizeof page);
        struct env_outgoing reply = {.body = page, .body_len = strlen(page)};
        if (request->kind == MESSAGE_CALL && env_reply(env, request, &reply) != 0)
            fprintf(stderr, "web: reply to %s: %s\n", request->from, env_error(env));
        env_ack(env, request);
        env_message_free(request);
    }
    env_close(env);
    return 0;
}
