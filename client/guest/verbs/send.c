// envctl send: a message without answer; its id goes to standard output.
#include <stdio.h>

#include "guest.h"

int verb_send(int argc, char **argv)
{
    struct guest_message m;
    struct env *env = NULL;
    struct id id;
    char text[ID_TEXT_CAP];
    int exit_code = guest_message_parse(&m, argc, argv, "send", false);
    if (exit_code == 0)
        exit_code = guest_open("send", &env);
    if (exit_code == 0) {
        if (m.expires_in_ms > 0)
            m.out.expires_ms = env_now_ms(env) + (uint64_t)m.expires_in_ms;
        int rc = env_send(env, &m.out, &id);
        id_format(&id, text);
        if (rc != 0)
            exit_code = guest_report("send", env, rc, m.out.to);
        if (rc == RECEIPT_UNKNOWN_OUTCOME)
            fprintf(stderr, "  To send it again: --id %s\n", text);
        text[ID_TEXT_CAP - 1] = '\n';
        if (rc == 0)
            exit_code = guest_print("send", text, ID_TEXT_CAP);
    }
    env_close(env);
    guest_message_done(&m);
    return exit_code;
}
