// A receiver of the crash story: tells the ledger of each message, and acknowledges it when the ledger's
// mailbox has the note. Dies when it is told to. Its body: "STREAM NUMBER", or "die".
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "env/env.h"

// A note of one id until it is accepted: what is sent again is not noted twice.
static int note(struct env *env, const struct env_message *m)
{
    char id[ID_TEXT_CAP], text[128];
    id_format(&m->id, id);
    snprintf(text, sizeof text, "%s %s", id, (const char *)m->body);
    struct env_outgoing note = {
        .to = "ledger", .subject = "crash.note", .body = text, .body_len = strlen(text)};
    int rc;
    while ((rc = env_send(env, &note, &note.id)) != 0) {
        printf("note of %s: %s\n", text, env_error(env));
        fflush(stdout);
        if (rc < 0)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return 0;
}

int main(void)
{
    struct env *env;
    struct env_message *m;
    if (env_open(&env) < 0)
        return 1;
    env_set_window(env, 16);
    while (env_recv(env, -1, &m) == 0) {
        if (strcmp(m->body, "die") == 0) {
            env_ack(env, m);
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            _exit(3);
        }
        if (note(env, m) < 0)
            return 1;
        env_ack(env, m);
        env_message_free(m);
    }
    env_close(env);
    return 0;
}
